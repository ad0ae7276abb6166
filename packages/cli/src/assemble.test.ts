// The machine of a run on a scripted backend: console, statuses, recording, saving, bad options.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { definePlugin } from '@cloister/core';
import { type FakeOp, fakeBackend, print } from '@cloister/core/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parseArguments } from './arguments.js';
import { assembler } from './assemble.js';
import { backendPlugin } from './backends.js';
import { run } from './run.js';
import { resolveOptions } from './run-options.js';
import { FakeHost } from './testing/fake-host.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-assemble-'));
  writeFileSync(join(folder, 'k'), 'kernel');
});
afterEach(() => rmSync(folder, { recursive: true }));

const COM1 = 0x3f8;
const DEBUG_EXIT: FakeOp = { op: 'out', port: 0xf4, value: 5 };

/** Runs the words after `cloister run` on a backend with this program. */
async function cloister(
  program: readonly FakeOp[] | 'emulated',
  line: string,
  typed = '',
  host = new FakeHost(),
) {
  const words = ['run', ...line.split(' ').filter((word) => word !== '')];
  const invocation = parseArguments(words, { version: '0', cwd: folder });
  if (invocation.command !== 'run') throw new Error('not a run');
  const { options, given } = resolveOptions([invocation.flags]);
  const scripted = (ops: readonly FakeOp[]) =>
    definePlugin({
      name: 'scripted',
      version: '1.0.0',
      api: 1,
      setup: (context) => context.setBackend(fakeBackend({ programs: [{ main: ops }] })),
    });
  const backend = program === 'emulated' ? backendPlugin : async () => scripted(program);
  const assemble = assembler(given, backend);
  const status = await run({
    host,
    options,
    quiet: false,
    debug: false,
    assemble: (chosen, ports) => {
      if (typed !== '') host.stdin.emit('data', Buffer.from(typed));
      return assemble(chosen, ports);
    },
  });
  return { status, output: host.output, lines: host.lines, text: host.lines.join('\n') };
}

const KERNEL = '--kernel k --entry flat --memory 1M --seed 3';
const hello = [...print(COM1, 'hello\n'), DEBUG_EXIT];

test('the serial port is standard output, debug-exit the status', async () => {
  const { status, output, text } = await cloister(hello, KERNEL);
  expect(output).toBe('hello\n');
  expect(status).toBe(11);
  expect(text).toMatch(/^ {2}seed +3$/m);
  expect(text).toMatch(/^ {2}memory +1M, 1 CPU$/m);
  expect(text).toMatch(/^ {2}clock +instruction count \(no live input is attached\)$/m);
  expect(text).toMatch(/^ {2}exits +\d+: io \d+$/m);
  expect(text).toMatch(/^ {2}protection +none$/m);
});

test('the boot timer’s mark is told as boot time', async () => {
  const program: FakeOp[] = [
    { op: 'work', count: 2_000_000 },
    { op: 'out', port: 0x5f0, value: 1 },
    DEBUG_EXIT,
  ];
  const { text } = await cloister(program, KERNEL);
  expect(text).toMatch(/^ {2}boot time +mark 0x01 at 0\.002 s$/m);
});

test.each([
  ['triple fault', [{ op: 'shutdown' }], 3],
  ['reset by the keyboard controller', [{ op: 'out', port: 0x64, value: 0xfe }], 3],
  ['failure of the processor', [{ op: 'fail', code: 'c', message: 'm' }], 6],
] as [string, FakeOp[], number][])('%s decides the status', async (_what, program, expected) => {
  const { status, lines } = await cloister(program, KERNEL);
  expect(status).toBe(expected);
  expect(lines.some((line) => line.startsWith('  ended '))).toBe(true);
});

const echoFour: FakeOp[] = [
  // What a driver does when it starts: empties the receiver (FCR), then raises DTR and RTS (MCR).
  { op: 'work', count: 100_000 },
  { op: 'out', port: 0x3fa, value: 7 },
  { op: 'out', port: 0x3fc, value: 3 },
  // Waits for a byte: LSR.DR is not tested, an empty receiver reads as 0.
  { op: 'work', count: 100_000 },
  { op: 'in', port: COM1 },
  { op: 'out', port: COM1 },
  { op: 'jump', to: 3, times: 3 },
  DEBUG_EXIT,
];

test('piped input waits for the driver, and the clock counts', async () => {
  const { output, text } = await cloister(echoFour, KERNEL, 'ab');
  expect(output).toBe('ab\0\0');
  expect(text).toContain('no live input');
});

test('a recording replays without the input, and only with the same machine', async () => {
  const recorded = await cloister(echoFour, `${KERNEL} --record r --exits a`, 'abcd');
  expect(recorded.output).toBe('abcd');
  const replayed = await cloister(echoFour, '--kernel k --entry flat --replay r --exits b');
  expect(replayed.output).toBe('abcd');
  expect(replayed.status).toBe(recorded.status);
  expect(replayed.text).toMatch(/^ {2}memory +1M/m);
  expect(readFileSync(join(folder, 'b'), 'utf8')).toBe(readFileSync(join(folder, 'a'), 'utf8'));
  const other = await cloister(echoFour, '--kernel k --entry flat --replay r --memory 2M');
  expect(other.status).toBe(2);
  expect(other.lines.filter((line) => line !== '')).toHaveLength(1);
});

test('a recording is there when the run ends, and nothing of one that fails', async () => {
  await cloister(echoFour, `${KERNEL} --record r`, 'abcd');
  expect(readdirSync(folder).sort()).toEqual(['k', 'r']);
  const { status } = await cloister(echoFour, `${KERNEL.replace('l k', 'l none')} --record q`);
  expect(status).toBe(2);
  await cloister([{ op: 'fail', code: 'c', message: 'm' }], `${KERNEL} --record q`);
  expect(readdirSync(folder).sort()).toEqual(['k', 'q', 'r']);
  const { text } = await cloister(echoFour, `${KERNEL} --record no/where`, 'abcd');
  expect(text).toMatch(/^cloister: invalid-file: recording ".*where": no such file; nothing is/);
});

test.skipIf(!existsSync('/dev/full'))(
  'a recording that finds no space is an error (skipped without /dev/full)',
  async () => {
    const { status, lines } = await cloister(hello, `${KERNEL} --record /dev/full`);
    expect(status).toBe(11);
    const error = 'cloister: invalid-file: recording "/dev/full": no space left on the device';
    expect(lines.filter((line) => line.includes('recording'))).toEqual([error]);
  },
);

test('a run of another seed has another date, not another script', async () => {
  const { text } = await cloister(hello, KERNEL.replace('3', '4'));
  expect(text).toMatch(/^ {2}seed +4$/m);
});

test('a VM saved at an instruction goes on with the same bytes and exits', async () => {
  const program = [...print(COM1, '0123456789'), DEBUG_EXIT];
  const whole = await cloister(program, `${KERNEL} --exits whole`);
  const first = await cloister(program, `${KERNEL} --exits first --save s --save-at 4`);
  expect(first.status).toBe(0);
  expect(first.output).toBe('0123');
  expect(first.text).toContain('ended         reached --save-at');
  const second = await cloister(program, '--restore s --exits second');
  expect(second.status).toBe(11);
  expect(first.output + second.output).toBe(whole.output);
  const log = (name: string) => readFileSync(join(folder, name), 'utf8');
  expect(log('first') + log('second')).toBe(log('whole'));
  expect(second.text).toMatch(/^ {2}boot +restored$/m);
});

test('a slow reader changes neither the bytes nor where the VM is saved', async () => {
  const program: FakeOp[] = [
    ...print(COM1, '0123456789abcdef'),
    { op: 'jump', to: 0, times: 20_000 },
    DEBUG_EXIT,
  ];
  const slow = () => {
    const host = new FakeHost();
    host.stdout.write = (chunk, done) => {
      host.output += Buffer.from(chunk).toString();
      setTimeout(done, 1);
    };
    return host;
  };
  const whole = await cloister(program, KERNEL, '', slow());
  expect(whole.output).toBe('0123456789abcdef'.repeat(20_001));
  const first = await cloister(program, `${KERNEL} --save s --save-at 200000`, '', slow());
  expect(first.text).toMatch(/^ {2}instructions +200,000 /m);
  const second = await cloister(program, '--restore s', '', slow());
  expect(first.output + second.output).toBe(whole.output);
});

test('input that is piped into a restored VM reaches it', async () => {
  await cloister(echoFour, `${KERNEL} --save s --save-at 10`);
  const { output } = await cloister(echoFour, '--restore s', 'xyz!');
  expect(output).toBe('xyz!');
});

test('a saved VM refuses a machine of another size', async () => {
  await cloister(hello, `${KERNEL} --save s --save-at 2`);
  const { status, lines } = await cloister(hello, '--restore s --memory 2M');
  expect(status).toBe(2);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('snapshot-mismatch');
});

test('a state file without a VM, and a damaged recording, are bad files', async () => {
  writeFileSync(join(folder, 'bad'), 'nothing');
  for (const option of ['--restore', '--replay']) {
    const { status, lines } = await cloister(hello, `--kernel k --entry flat ${option} bad`);
    expect(status).toBe(2);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^cloister: invalid-file: /);
  }
});

test('a plugin of the user is part of the machine', async () => {
  writeFileSync(
    join(folder, 'p.mjs'),
    `export default {
      name: 'p', version: '1.0.0', api: 1, requires: [], provides: [],
      setup: (context) => context.addSummary(() => [['greeting', 'from p']]),
    };`,
  );
  const { text } = await cloister(hello, `${KERNEL} --plugin ./p.mjs`);
  expect(text).toMatch(/^ {2}greeting +from p$/m);
});

test.each([
  ['--kernel none', 'invalid-file: kernel ".*none": no such file'],
  ['--kernel k', "invalid-file: kernel: .*no known kernel format; don't know how to enter it"],
  ['--kernel k --initrd none --entry flat', 'invalid-file: initrd ".*none": no such file'],
  ['--kernel k --entry flat --memory 5', 'invalid-config: memory: .*not between'],
  ['--kernel k --entry flat --memory 65537', 'invalid-config: memory: .*not a multiple of 4096'],
  ['--kernel k --entry flat --cpus 9999', 'invalid-config: cpus: '],
  ['--kernel k --entry 64', 'invalid-file: '],
  ['--kernel k --entry flat --protect sev --policy 4', 'invalid-argument: .*requires SEV-ES'],
  ['--kernel k --entry flat --require-hardware', 'missing-capability: .*no protection is in use'],
  ['--kernel k --flat-mode long --load-address 0x10000000', 'invalid-config: '],
  ['--kernel k --entry flat --plugin ./none.js', 'unknown-plugin: there is no plugin "./none.js"'],
  ['--kernel k --entry flat --record r --clock wall', 'invalid-config: clock: '],
])('run %s is one line and status 2', async (line, message) => {
  const { status, lines } = await cloister(hello, line);
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(new RegExp(`^cloister: ${message}`));
  expect(status).toBe(2);
});

test('the CPU goes to the backend, which refuses what it does not have', async () => {
  const chosen: unknown[] = [];
  const assemble = assembler(new Set(), async (name, choice) => {
    chosen.push(name, choice);
    return backendPlugin(name, choice);
  });
  const invocation = parseArguments(['run', '--kernel', 'k', '--cpu', ',+warp'], {
    version: '0',
    cwd: folder,
  });
  if (invocation.command !== 'run') throw new Error('not a run');
  const { options } = resolveOptions([invocation.flags]);
  const refused = { code: 'invalid-argument', message: 'unknown CPU feature "warp"' };
  await expect(assemble(options, {} as never)).rejects.toMatchObject(refused);
  expect(chosen).toEqual(['emu', { cpu: ',+warp' }]);
});

test('a restored VM gets the CPU that it was saved on, and no other', async () => {
  writeFileSync(join(folder, 'spin'), Uint8Array.of(0xeb, 0xfe));
  const cpu = '--cpu cloister-v1-rome,-rdrand';
  const kernel = '--kernel spin --entry flat --memory 1M';
  const first = await cloister('emulated', `${kernel} ${cpu} --save s --save-at 10`);
  expect(first.status, first.text).toBe(0);
  const second = await cloister('emulated', '--restore s --save t --save-at 20');
  expect(second.status, second.text).toBe(0);
  const third = await cloister('emulated', '--restore t --cpu cloister-v1');
  expect(third.status).toBe(2);
  expect(third.lines).toEqual([
    expect.stringContaining('the VM was saved with cpu "cloister-v1-rome,-rdrand"; this one has'),
  ]);
});
