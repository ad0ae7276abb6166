// Networks under Debian's unmodified kernel: passt and a TAP from a guest's shell, a recorded run
// that replays without them, a VM saved with traffic under way, and two VMs on a switch.

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emulated } from '@cloister/backend-emu';
import { createVm, decodeSnapshot, type Vm } from '@cloister/core';
import { boot, linux } from '@cloister/core/boot';
import { pc, serial } from '@cloister/core/devices';
import {
  type NetSwitch,
  netSwitch,
  parseMac,
  virtioMmio,
  virtioNet,
  virtioPci,
} from '@cloister/virtio';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { cloister, endAll, type Running, start } from './lib/command.js';
import { COMMAND_LINE, debian, type Guest, initrd, skipped } from './lib/guests.js';
import { makeTap } from './lib/host-tap.js';
import { ADDRESS, ask, freePort, NAME, type Servers, startServers } from './lib/net-servers.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
/** MiB that the guest fetches: 16 in a full run, as much as a sample needs otherwise. */
const MIB = FULL ? 16 : 1;
const MODULES = ['virtio_mmio', 'virtio_pci', 'virtio_net', 'virtio_blk'];

const has = (program: string) => spawnSync(program, ['--version']).error === undefined;
const guest = await debian();
const noPasst = has('passt') ? '' : ' (skipped: passt is not installed)';
const why = skipped(guest) || noPasst;
const tap = makeTap();

const script = (work: string) => `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module || echo NO-MODULE $module; done
ip link set lo up
${work}
poweroff -f
`;

/** Ports come as the kernel's parameters, which are init's environment. */
const PASST_WORK = `cat > /lease <<'END'
#!/bin/sh
[ $1 = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router
echo "router=$router" > /run/lease
END
chmod +x /lease
ip link set eth0 up
busybox udhcpc -i eth0 -n -q -f -s /lease -t 10 -T 1 && echo LEASED
. /run/lease
if [ -e /sys/class/net/eth1 ]; then
  ip addr add $TAP_GUEST/30 dev eth1
  ip link set eth1 up
  ping -c 3 $TAP_HOST | grep packets
fi
busybox nslookup -type=a -port=$DNS ${NAME} $router | grep -A 1 ${NAME}
cat > /answer <<'END'
#!/bin/sh
read line
echo "the guest heard $line"
END
chmod +x /answer
busybox nc -l -p 8080 -e /answer &
served=$!
until cat /proc/net/tcp /proc/net/tcp6 2> /dev/null | grep -q :1F90; do :; done
echo LISTENING
wait $served
wget -q -O /run/file http://$router:$HTTP/file
md5sum /run/file
( until [ -e /run/stop ]; do
  dd if=/dev/vda of=/dev/null bs=512 iflag=direct 2> /dev/null
done ) &
echo TRAFFIC
until busybox timeout 8 wget -q -O /run/slow http://$router:$HTTP/slow; do echo AGAIN; done
touch /run/stop
wait
md5sum /run/slow /dev/vda
echo DONE`;

let folder: string;
const path = (name: string) => join(folder, name);
const md5 = (bytes: Buffer) => createHash('md5').update(bytes).digest('hex');
const text = (bytes: Buffer) => bytes.toString('latin1').replaceAll('\r', '');

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-net-'));
});
afterAll(() => {
  endAll();
  tap?.remove();
  rmSync(folder, { recursive: true });
});
afterEach(endAll);

describe.skipIf(why !== '')(
  `a guest on passt${tap ? ' and a TAP' : ' (no TAP here)'}${why}`,
  () => {
    let servers: Servers;
    let line: string[];
    let live: Awaited<Running['finished']>;

    beforeAll(async () => {
      servers = await startServers(MIB * 2 ** 20);
      const forwarded = await freePort();
      writeFileSync(path('disk'), servers.slow);
      const init = await initrd(guest as Guest, script(PASST_WORK), MODULES);
      const ends = tap === null ? '' : ` TAP_HOST=${tap.host} TAP_GUEST=${tap.guest}`;
      const append = `${COMMAND_LINE} quiet HTTP=${servers.http} DNS=${servers.dns}${ends}`;
      line = [
        ...['run', '--memory', '128M', '--seed', '7', '--clock', 'icount'],
        ...['--kernel', (guest as Guest).kernelPath, '--initrd', init, '--append', append],
        ...[
          '--disk',
          `${path('disk')},ro,latency=100`,
          '--net',
          `passt,tcp=127.0.0.1/${forwarded}:8080,pcap=${path('pcap')}`,
        ],
        ...(tap === null ? [] : ['--net', `tap=${tap.name}`]),
      ];
      const record = ['--record', path('record'), '--exits', path('live'), '--save', path('vm')];
      const run = start([...line, ...record]);
      await run.until(/LISTENING/);
      expect(await ask(forwarded, 'hello\n')).toBe('the guest heard hello\n');
      await run.until(/TRAFFIC/);
      await saveInTraffic(run, servers);
      servers.release();
      live = await run.finished;
    });
    afterAll(() => servers?.close());

    test('has an address, names, a download and inbound connections', () => {
      expect(live.status, live.stderr).toBe(0);
      const out = text(live.stdout);
      expect(out).toContain('LEASED');
      expect(out).toMatch(new RegExp(`${NAME}\n.*${ADDRESS}`));
      expect(out).toContain(`${md5(servers.file)}  /run/file`);
      expect(out).toContain(
        `${md5(servers.slow)}  /run/slow\n${md5(servers.slow)}  /dev/vda\nDONE`,
      );
      if (tap) expect(out).toContain('3 packets transmitted, 3 packets received');
      expect(out).not.toContain('NO-MODULE');
    });

    test.skipIf(!has('tshark'))('is captured for tshark (skipped without it)', () => {
      const protocols = execFileSync('tshark', [
        '-r',
        path('pcap'),
        '-Tfields',
        '-e',
        '_ws.col.Protocol',
      ]);
      const seen = new Set(protocols.toString().split('\n'));
      for (const one of ['DHCP', 'ARP', 'DNS', 'TCP', 'HTTP']) expect([...seen]).toContain(one);
      const lost = ['-r', path('pcap'), '-Y', '_ws.malformed'];
      expect(execFileSync('tshark', lost).toString()).toBe('');
    });

    test('replays without any network', async () => {
      const pcap = readFileSync(path('pcap'));
      const replay = await cloister([
        ...line,
        '--replay',
        path('record'),
        '--exits',
        path('replay'),
      ]);
      expect(replay.status, replay.stderr).toBe(0);
      expect(text(replay.stdout)).toBe(text(live.stdout));
      expect(Buffer.compare(readFileSync(path('replay')), readFileSync(path('live')))).toBe(0);
      expect(Buffer.compare(readFileSync(path('pcap')), pcap)).toBe(0);
    });

    test('goes on in a new process from where it was saved, traffic under way', async () => {
      const second = await cloister([...line, '--restore', path('vm')]);
      expect(second.status, second.stderr).toBe(0);
      const out = text(second.stdout);
      // The connection of then is gone with its passt: the guest makes another one.
      expect(out).toContain('AGAIN');
      expect(out).toContain(
        `${md5(servers.slow)}  /run/slow\n${md5(servers.slow)}  /dev/vda\nDONE`,
      );
    });
  },
);

/** Saves a running VM until the state has a disk request, and the network a file, under way. */
async function saveInTraffic(run: Running, servers: Servers): Promise<void> {
  while (servers.slowSent === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  for (let count = 1; ; count++) {
    expect(count).toBeLessThan(20);
    run.child.kill('SIGUSR1');
    await run.until(new RegExp(`(saved at instruction[^]*){${count}}`));
    const { devices } = (await decodeSnapshot(readFileSync(path('vm'))))
      .state as unknown as SavedState;
    if (devices.blk0.state.controller.model.inFlight.length > 0) return;
  }
}

interface SavedState {
  readonly devices: {
    readonly blk0: {
      readonly state: {
        readonly controller: { readonly model: { readonly inFlight: readonly unknown[] } };
      };
    };
  };
}

describe.skipIf(typeof guest === 'string')(`two guests on a switch${skipped(guest)}`, () => {
  const running: Vm[] = [];
  afterEach(async () => {
    for (const vm of running.splice(0)) await vm.dispose();
  });

  async function station(hub: NetSwitch, id: number): Promise<{ vm: Vm; out: () => string }> {
    // Both wait until the other one is there, and until it has had its answers.
    const work = `ip addr add 10.1.0.${id}/24 dev eth0
ip link set eth0 up
until ping -c 1 -W 1 10.1.0.${3 - id} > /dev/null; do :; done
ping -c 5 -s 1400 10.1.0.${3 - id}
echo OVER
sleep 1000`;
    let out = '';
    const sink = {
      put(byte: number) {
        out += String.fromCharCode(byte);
        return true;
      },
    };
    const { kernelPath } = guest as Guest;
    const ramdisk = readFileSync(await initrd(guest as Guest, script(work), MODULES));
    const vm = await createVm({ memory: '96M', seed: id })
      .use(
        emulated(),
        pc(),
        serial({ output: sink }),
        id === 1 ? virtioMmio() : virtioPci({ packed: true }),
        virtioNet({ backend: () => hub.port(), mac: parseMac(`52:54:00:00:00:0${id}`)! }),
        boot(linux({ kernel: readFileSync(kernelPath), initrd: ramdisk, append: COMMAND_LINE })),
      )
      .build();
    running.push(vm);
    return { vm, out: () => out };
  }

  test('ping each other, over MMIO and PCI', async () => {
    const hub = netSwitch();
    const stations = [await station(hub, 1), await station(hub, 2)];
    const ends = stations.map(({ vm }) => vm.run());
    while (!stations.every(({ out }) => out().includes('OVER'))) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await Promise.all(stations.map(({ vm }) => vm.stop()));
    await Promise.all(ends);
    for (const { out } of stations) {
      expect(out()).toContain('5 packets transmitted, 5 packets received, 0% packet loss');
    }
  });
});
