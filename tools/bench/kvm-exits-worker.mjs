// The Worker of kvm.bench.mjs: the same guest as kvm-exits.c on the KVM backend, its exits answered
// by a device on core's bus, as in any VM. Tells seconds of the clock and of the processor. One VM
// serves all turns of a kind: the first exits of a VM are slower, until the code that answers them
// is compiled for it.
import { parentPort } from 'node:worker_threads';
import { kvm } from '@cloister/backend-kvm';
import { createVm, definePlugin } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';

const CODE = {
  pio: [0xee, 0x66, 0x49, 0x75, 0xfb, 0xe6, 0x99],
  mmio: [0xa2, 0x00, 0x00, 0x66, 0x49, 0x75, 0xf9, 0xe6, 0x99],
};
const HIGH = 0x100000;

/** mov ecx, index; mov eax, value; wrmsr */
const wrmsr = (index, value) => {
  const dword = (word) => [0, 8, 16, 24].map((bit) => (word >>> bit) & 0xff);
  return [0x66, 0xb9, ...dword(index), 0x66, 0xb8, ...dword(value), 0x0f, 0x30];
};
/** Wakes the other CPU at 0x8000, by x2APIC, and halts. */
const WAKE = [
  ...[0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x66, 0x0d, 0, 0x0c, 0, 0, 0x0f, 0x30],
  ...[0x66, 0x31, 0xd2, ...wrmsr(0x80f, 0x1ff)],
  ...[...wrmsr(0x830, 0xc4500), ...wrmsr(0x830, 0xc4608), 0xfa, 0xf4, 0xeb, 0xfd],
];

/** The second CPU's loop: mov ecx, count; mov dx, 0x80; then as `pio`. */
function hopImage(count) {
  const image = new Uint8Array(0x500);
  image.set(WAKE);
  const bytes = [0, 8, 16, 24].map((bit) => (count >>> bit) & 0xff);
  image.set([0x66, 0xb9, ...bytes, 0xba, 0x80, 0, ...CODE.pio], 0x400);
  return image;
}

/** The device: adds up what it is given; at the end it calls `done`, or powers off. */
function counter(first = () => {}, done = null) {
  let sum = 0;
  return definePlugin({
    name: 'counter',
    version: '1.0.0',
    api: 1,
    setup(context) {
      context.addDevice({
        name: 'counter',
        regions: [
          { space: 'io', base: 0x80, length: 1, name: 'pio' },
          { space: 'mmio', base: HIGH, length: 0x1000, name: 'mmio' },
          { space: 'io', base: 0x99, length: 1, name: 'end' },
        ],
        read: () => 0,
        write(region, _offset, _size, value) {
          if (region === 2) {
            if (done === null) context.control.powerOff('done');
            else done();
          } else {
            if (sum === 0) first();
            sum += value + 1;
          }
        },
        drain: async () => {},
        reset: () => {},
        snapshot: () => ({ type: 'counter', version: 1, state: sum }),
        restore: () => {},
      });
    },
  });
}

/** Milliseconds of a guest that never halts until all of that has started. */
const KEEP_MS = 500;

const seconds = ({ user, system }) => (user + system) / 1e6;

/** From the second CPU's first exit to its last. */
async function hop(count) {
  let used;
  let since = 0;
  const device = counter(() => {
    used = process.cpuUsage();
    since = performance.now();
  });
  const vm = await createVm({ memory: '1M', cpus: 2 })
    .use(kvm(), device, boot(flat({ image: hopImage(count) })))
    .build();
  await vm.run();
  const wall = (performance.now() - since) / 1000;
  const cpuTime = seconds(process.cpuUsage(used));
  await vm.dispose();
  parentPort.postMessage({ wall, used: cpuTime });
}

/**
 * A VM that stays: what a thread has once for all of its VMs (the one that waits for the event loop
 * while a guest is busy) is started by it, and not by every VM that is measured.
 */
async function keep() {
  const image = Uint8Array.of(0xeb, 0xfe); // jmp $
  const vm = await createVm({ memory: '1M' })
    .use(kvm(), boot(flat({ image })))
    .build();
  await vm.start();
  await new Promise((resolve) => setTimeout(resolve, KEEP_MS));
  await vm.pause();
}

const kept = keep();

/** A VM for many turns: `turn(count)` runs it from its first instruction to the end of the loop. */
async function loop(kind) {
  let finished = () => {};
  const device = counter(
    () => {},
    () => {
      vm.pause().then(finished);
    },
  );
  const image = Uint8Array.from(CODE[kind]);
  const vm = await createVm({ memory: '1M' })
    .use(kvm(), device, boot(flat({ image, registers: { rdx: 0x80n, rax: 0x55n } })))
    .build();
  await vm.start();
  await vm.pause();
  const [cpu] = vm.vcpus;
  const start = cpu.readState();
  start.ds.base = BigInt(HIGH);
  return async (count) => {
    start.gpr.rcx = BigInt(count);
    cpu.writeState(start);
    const used = process.cpuUsage();
    const since = performance.now();
    await new Promise((resolve) => {
      finished = resolve;
      vm.resume();
    });
    const wall = (performance.now() - since) / 1000;
    return { wall, used: seconds(process.cpuUsage(used)) };
  };
}

/** Turns before those that count. */
const WARM_UP = 50_000;
const loops = new Map();

parentPort.on('message', async ({ kind, count }) => {
  await kept;
  if (kind === 'hop') return hop(count);
  if (!loops.has(kind)) {
    const turn = await loop(kind);
    await turn(WARM_UP);
    loops.set(kind, turn);
  }
  parentPort.postMessage(await loops.get(kind)(count));
});
