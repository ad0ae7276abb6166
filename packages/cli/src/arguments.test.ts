// The command line: what each way of writing it means, and what mistakes are told.
import { VmmError } from '@cloister/core';
import { describe, expect, test } from 'vitest';
import { parseArguments } from './arguments.js';
import { DEFAULTS, resolveOptions } from './run-options.js';

const about = { version: '1.2.3', cwd: '/here' };
const parse = (...args: string[]) => parseArguments(args, about);

function flags(...args: string[]) {
  const invocation = parse('run', ...args);
  if (invocation.command !== 'run') throw new Error('not a run');
  return invocation;
}

const options = (...args: string[]) => resolveOptions([flags(...args).flags]).options;

function mistake(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(VmmError);
    return (error as VmmError).describe();
  }
  throw new Error('nothing was thrown');
}

test('help and version are results', () => {
  expect(parse('--version')).toEqual({ command: 'text', text: 'cloister 1.2.3\n' });
  for (const args of [['--help'], ['help'], ['-h']]) {
    expect(parse(...args)).toMatchObject({ text: expect.stringContaining('Usage: cloister') });
  }
  const runHelp = { text: expect.stringContaining('--on-reset') };
  expect(parse('run', '--help')).toMatchObject(runHelp);
  expect(parse('help', 'run')).toMatchObject(runHelp);
});

test('the help of a run names every option and every exit status', () => {
  const { text } = parse('run', '--help') as { text: string };
  const words =
    'backend cpu memory cpus kernel initrd append entry clock seed record replay timeout';
  const more = 'exits on-reset save save-at restore config debug protect policy';
  for (const word of `${words} ${more}`.split(' ')) {
    expect(text).toContain(`--${word} `);
  }
  for (const status of [0, 2, 3, 4, 5, 6, 130]) {
    expect(text).toMatch(new RegExp(`^  ${status} `, 'm'));
  }
  expect(text.split('\n').filter((line) => line.length > 100)).toEqual([]);
});

test('probe takes nothing', () => {
  expect(parse('probe')).toEqual({ command: 'probe' });
  expect(mistake(() => parse('probe', 'kvm'))).toContain('too many arguments');
});

/** A disk of which nothing is said. */
const DISK = {
  ...{ readOnly: false, overlay: undefined, serial: undefined },
  ...{ queues: undefined, bps: undefined, iops: undefined, latency: undefined },
};

describe('run', () => {
  test('has defaults', () => {
    expect(options('--kernel', 'k')).toEqual({ ...DEFAULTS, kernel: '/here/k' });
    expect(DEFAULTS).toMatchObject({ backend: 'emu', memory: 268435456, cpus: 1, onReset: 'stop' });
  });

  test('reads every option', () => {
    const line =
      '--backend kvm --memory 1G --cpus 2 --kernel k --initrd /i --entry flat --clock wall ' +
      '--seed 0x10 --record r --timeout 2.5 --exits e.jsonl --on-reset reboot --save s ' +
      '--save-at 1000 --restore t --flat-mode real --load-address 0x7c00 --plugin a --plugin ./b ' +
      '--disk d --disk /e,ro,serial=S1 --rng --virtio pci ' +
      '--disk f,overlay=g,queues=4,bps=10M,iops=500,latency=0 ' +
      '--net passt --net none --net passt,mac=52:54:00:01:02:03,mtu=1400,bps=10M,tcp=8080:80,' +
      'tcp=127.0.0.1/22,udp=5000-5002,pcap=p,pcap-limit=1M --net tap=tap0 ' +
      '--assist --balloon 64M --console virtio --vsock s,cid=7 --share d:ro ' +
      '--share /e,tag=home --protect sev --policy 0x1 ' +
      '--platform pl --session se --dh-cert dh --send-to ce ' +
      '--measure-out m --require-hardware --dump-memory /d --jit stress';
    expect(options(...line.split(' '), '--append', 'a=1 b')).toEqual({
      backend: 'kvm',
      memory: 2 ** 30,
      cpus: 2,
      kernel: '/here/k',
      initrd: '/i',
      append: 'a=1 b',
      entry: 'flat',
      flatMode: 'real',
      loadAddress: 0x7c00,
      clock: 'wall',
      seed: 16n,
      timeout: 2.5,
      onReset: 'reboot',
      exits: '/here/e.jsonl',
      record: '/here/r',
      replay: undefined,
      save: '/here/s',
      saveAt: 1000,
      restore: '/here/t',
      plugins: [
        { module: 'a', options: {}, from: '/here' },
        { module: './b', options: {}, from: '/here' },
      ],
      disks: [
        { ...DISK, file: '/here/d' },
        { ...DISK, file: '/e', readOnly: true, serial: 'S1' },
        {
          ...{ ...DISK, file: '/here/f', overlay: '/here/g' },
          ...{ queues: 4, bps: 10 << 20, iops: 500, latency: 0 },
        },
      ],
      nets: [
        {
          backend: 'passt',
          tap: undefined,
          mac: Uint8Array.of(0x52, 0x54, 0, 1, 2, 3),
          mtu: 1400,
          bps: 10 << 20,
          tcp: ['8080:80', '127.0.0.1/22'],
          udp: ['5000-5002'],
          pcap: '/here/p',
          pcapLimit: 1 << 20,
        },
        {
          backend: 'tap',
          tap: 'tap0',
          mac: undefined,
          mtu: undefined,
          bps: undefined,
          tcp: [],
          udp: [],
          pcap: undefined,
          pcapLimit: undefined,
        },
      ],
      vsock: { directory: '/here/s', cid: 7 },
      shares: [
        { directory: '/here/d', readOnly: true, tag: undefined },
        { directory: '/e', readOnly: false, tag: 'home' },
      ],
      rng: true,
      virtio: 'pci',
      assist: true,
      balloon: 64 << 20,
      console: 'virtio',
      protect: 'sev',
      policy: 1,
      platform: '/here/pl',
      session: '/here/se',
      dhCert: '/here/dh',
      sendTo: '/here/ce',
      measureOut: '/here/m',
      requireHardware: true,
      dumpMemory: '/d',
      jit: 'stress',
    });
  });

  test('"summary" is no file name', () => {
    expect(options('--kernel', 'k', '--exits', 'summary').exits).toBe('summary');
  });

  test('quiet and config are of the command', () => {
    const given = flags('--quiet', '--config', 'vm.json', '--debug');
    expect(given).toMatchObject({ quiet: true, config: 'vm.json' });
  });
});

test.each([
  [['--memory', '0'], '--memory: "0" is not a size above 0 such as 256M or 1G'],
  [['--memory', 'lots'], '--memory: "lots" is not a size above 0 such as 256M or 1G'],
  [['--disk', ''], '--disk: no file is named'],
  [['--disk', 'a,rw'], '--disk: "rw" is not ro or overlay=, serial=, queues=, bps='],
  [['--disk', 'a,ro,overlay=b'], '--disk: a read-only disk has no overlay'],
  [['--disk', `a,serial=${'x'.repeat(21)}`], '--disk: a serial number has at most 20 ASCII'],
  [['--disk', 'a', '--disk', './a,ro'], '--disk: /here/a is written to, and used a second time'],
  [
    ['--disk', 'a,overlay=b', '--disk', 'c,overlay=b'],
    '--disk: /here/b is written to, and used a second time',
  ],
  [['--disk', 'a,overlay=a'], '--disk: /here/a is written to, and used a second time'],
  [['--net', 'slirp'], '--net: "slirp" is not passt, tap=NAME or none'],
  [['--net', 'tap'], '--net: "tap" is not passt, tap=NAME or none'],
  [['--net', 'passt,speed=1'], '--net: "speed=1" is not mac=MAC, mtu=N, bps=SIZE'],
  [['--net', 'passt,mac=1:2'], '--net: "1:2" is no address of a device'],
  [['--net', 'passt,mtu=67'], '--net: an MTU is from 68 to 65535'],
  [['--net', 'passt,bps=0'], '--net: "0" is no rate such as 10M'],
  [['--net', 'passt,tcp=80:0'], '--net: "80:0" is not [ADDRESS/]HOST[:GUEST]'],
  [['--net', 'passt,udp=x'], '--net: "x" is not [ADDRESS/]HOST[:GUEST]'],
  [['--net', 'tap=a/b'], '--net: "a/b" is no name of an interface'],
  [['--net', 'tap=t,tcp=80'], '--net: only passt forwards ports'],
  [['--net', 'passt,pcap-limit=1M'], '--net: without a capture it has no limit'],
  [['--net', 'passt,pcap=f,pcap-limit=9'], '--net: "9" is no length of a capture such as 100M'],
  [['--net', 'none,pcap=f'], '--net: none has no address, MTU, rate or capture'],
  [['--disk', 'a,queues=65'], '--disk: queues "65" is not a number from 1 to 64'],
  [['--disk', 'a,bps=fast'], '--disk: bps "fast" is not a number from 1'],
  [['--disk', 'a,latency=1000001'], 'is not a number from 0 to 1000000'],
  [['--vsock', ''], '--vsock: no directory is named'],
  [['--vsock', 's,port=1'], '--vsock: "port=1" is not cid=N'],
  [['--vsock', 's,cid=2'], '--vsock: "2" is no address of a guest, from 3 to 4294967294'],
  [['--share', ':ro'], '--share: no directory is named'],
  [['--share', 'd,ro'], '--share: "ro" is not tag=TAG'],
  [['--share', `d,tag=${'x'.repeat(37)}`], 'is no tag of 1 to 36 bytes'],
  [['--share', 'd', '--share', 'e,tag=share0'], '--share: two shares have the tag share0'],
  [['--cpus', '0'], '--cpus: "0" is not a whole number above 0'],
  [['--seed', 'x'], '--seed: "x" is not a whole number of at most 64 bits'],
  [['--timeout', '0'], '--timeout: "0" is not a number of seconds above 0'],
  [['--load-address', '-1'], '--load-address: "-1" is not a whole number'],
  [['--save-at', '1', '--kernel', 'k'], '--save-at needs --save FILE'],
  [['--policy', '1', '--kernel', 'k'], '--policy needs --protect'],
  [['--measure-out', 'm', '--kernel', 'k'], '--measure-out needs --protect'],
  [['--platform', 'p', '--kernel', 'k'], '--platform needs --protect'],
  [['--protect', 'sev', '--session', 's'], '--session and --dh-cert go together'],
  [['--protect', 'sev', '--session', 's', '--dh-cert', 'd'], '--session needs --platform'],
  [['--send-to', 'd', '--kernel', 'k'], '--send-to needs --protect'],
  [['--protect', 'sev', '--send-to', 'd', '--kernel', 'k'], '--send-to needs --save FILE'],
  [
    ['--protect', 'sev-es', '--save', 's', '--kernel', 'k'],
    '--save of a protected guest needs --platform',
  ],
  [
    ['--protect', 'sev', '--save', 's', '--kernel', 'k'],
    '--save of a protected guest needs --platform',
  ],
  [['--policy', 'x', '--protect', 'sev'], '--policy: "x" is not a whole number'],
  [['--protect', 'tdx'], 'is invalid. Allowed choices are sev, sev-es.'],
  [['--protect', 'sev-es', '--sev-host', 'xen'], 'Allowed choices are kvm, openbsd.'],
  [['--protect', 'sev', '--sev-host', 'kvm'], '--sev-host needs --protect sev-es'],
  [['--record', 'a', '--replay', 'b'], '--record and --replay exclude each other'],
  [['--kernel', 'k', '--entry', '64', '--flat-mode', 'real'], 'need --entry flat'],
  [[], 'no kernel (give --kernel FILE, or --restore FILE to go on with a saved VM)'],
  [['--entry', 'uefi'], 'is invalid. Allowed choices are 64, 32, pvh, multiboot, flat.'],
  [['--memroy', '1G'], "unknown option '--memroy' (Did you mean --memory?)"],
  [['--kernel'], "option '--kernel <file>' argument missing"],
  [['extra'], 'too many arguments'],
] as const)('run %j is refused', (args, text) => {
  const message = mistake(() => options(...args));
  expect(message).toContain(text);
  expect(message).toMatch(/^invalid-argument: /);
});

test.each([
  [['rnu'], "unknown command 'rnu'"],
  [[], 'no command (see cloister --help)'],
] as const)('%j is no command', (args, text) => {
  expect(mistake(() => parse(...args))).toContain(text);
});
