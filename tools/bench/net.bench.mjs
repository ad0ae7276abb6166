// A virtio network beside QEMU's: the same kernel and initial root file system under
// `cloister run --virtio pci --net passt` and `qemu-system-x86_64 -M q35 -accel tcg` with
// virtio-net-pci on a stream socket, which passt is at the other end of. A program in the guest
// receives and sends over TCP, in rounds. Measured is the processor time of machine and passt,
// between the lines before and after each part of a round; throughput is that of the last rounds.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { root } from '../lib/workspace.mjs';
import { judged } from './goals.mjs';
import { secondsOfParts } from './guest-parts.mjs';
import { cpuSeconds, unmeasurable } from './process-time.mjs';
import { programGuest } from './program-guest.mjs';
import { comparedRates, labelsOf, ROUNDS } from './rounds.mjs';

export const name = 'net';
export const description = 'throughput of a virtio network in a Debian guest, per CPU second';

const PAIRS = 2;
const QEMU = 'qemu-system-x86_64';
const CLOISTER = join(root, 'packages/cli/bin/cloister.js');
const MODULES = ['virtio_pci', 'virtio_net'];
const PARTS = ['receive', 'send'];
const MIB = 64;
/** Payload of a frame: what passt suggests. */
const MTU = 65_520;
/** Whom passt becomes when root starts it. */
const NOBODY = 65_534;

const INIT = `#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in ${MODULES.join(' ')}; do modprobe $module; done
cat > /lease <<'END'
#!/bin/sh
[ $1 = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router
echo "router=$router" > /run/lease
END
chmod +x /lease
ip link set lo up
ip link set eth0 up
busybox udhcpc -i eth0 -n -q -f -s /lease -t 10 -T 1
. /run/lease
/net $router $PORT ${MIB} ${ROUNDS} || echo FAILED
poweroff -f
`;

export async function run(report) {
  const why = unmeasurable(QEMU, 'gcc', 'passt');
  if (why !== undefined) return void report.note(`skipped: ${why}`);
  const folder = mkdtempSync(join(tmpdir(), 'cloister-bench-'));
  const server = await startServer();
  try {
    await measure(report, folder, server.address().port);
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
}

/** Sends to who begins with 'r'; takes from others, and answers when all is there. */
async function startServer() {
  const bytes = Buffer.alloc(MIB * 2 ** 20, 'x');
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let sends;
    socket.on('data', (piece) => {
      sends ??= piece[0] === 0x72;
      if (sends) socket.end(bytes);
    });
    socket.on('end', () => sends || socket.end('.'));
    socket.on('error', () => {});
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function measure(report, folder, port) {
  const guest = { folder, name: 'net', init: INIT, modules: MODULES, log: report.progress };
  const { kernel, initrd, version } = await programGuest(guest);
  const append = `console=ttyS0 panic=-1 quiet PORT=${port}`;
  const boot = ['-kernel', kernel, '-initrd', initrd, '-append', append];
  const machines = [
    { title: 'cloister', start: () => startCloister(boot), runs: [] },
    { title: 'qemu tcg', start: () => startQemu(boot, folder), runs: [] },
  ];
  for (let pair = 1; pair <= PAIRS; pair++) {
    for (const { title, start, runs } of machines) {
      const { child, seconds } = await start();
      runs.push(await secondsOfParts(title, child, labelsOf(PARTS), seconds));
      report.progress(`${title} ${pair} of ${PAIRS}`);
    }
  }
  const runs = machines.map((machine) => machine.runs);
  for (const part of PARTS) {
    const rates = comparedRates(part, MIB, runs);
    report.row({ part, unit: 'MiB/s', ...rates, goal: judged('net', rates['x of tcg']) });
  }
  report.note(
    `kernel ${version}; rates per second of processor time of machine and passt, settled`,
  );
}

/** passt is its child. */
function startCloister(boot) {
  const words = boot.map((word) => word.replace(/^-(?=[a-z])/, '--'));
  const args = [CLOISTER, 'run', '--memory', '256M', ...words, '--virtio', 'pci', '--net', 'passt'];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  return { child, seconds: () => cpuSeconds(child.pid) };
}

/** The socket is where the user that passt becomes may make one. */
async function startQemu(boot, folder) {
  const place = mkdtempSync(join(folder, 'passt-'));
  chmodSync(folder, 0o755);
  if (process.getuid() === 0) chownSync(place, NOBODY, NOBODY);
  const path = join(place, 'socket');
  const words = ['--foreground', '--one-off', '--socket', path, '--mtu', String(MTU)];
  const passt = spawn('passt', words, { stdio: 'ignore' });
  while (!existsSync(path)) await delay(10);
  const machine = ['-M', 'q35', '-accel', 'tcg', '-cpu', 'max', '-m', '256', '-nographic'];
  const net = [
    ...['-netdev', `stream,id=net,server=off,addr.type=unix,addr.path=${path}`],
    ...['-device', `virtio-net-pci,netdev=net,host_mtu=${MTU},romfile=`],
  ];
  const args = [...machine, '-no-reboot', ...net, ...boot];
  const child = spawn(QEMU, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  return { child, seconds: () => cpuSeconds(child.pid) + cpuSeconds(passt.pid) };
}
