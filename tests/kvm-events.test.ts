// KVM and what happens outside of the guest: the event loop interrupts a guest that runs, and
// doorbells take the place of exits where CPUs execute at the same time.
import { once } from 'node:events';
import { readdirSync, stat } from 'node:fs';
import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { kvm, kvmBackend } from '@cloister/backend-kvm';
import { load, makeVm, protectedMode } from '@cloister/backend-kvm/testing';
import { copyExit, createVm, type VmExit } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';
import { virtioMmio, virtioRng } from '@cloister/virtio';
import { expect, test } from 'vitest';
import { loadSmp, outs, SPIN } from './lib/smp-guest.js';
import { untilWatched } from './lib/until-watched.js';

const probe = await kvmBackend().probe();
const onKvm = test.skipIf(!probe.available);

/** Of two VMs each, back to back. */
const ROUNDS = process.env.CLOISTER_FULL === '1' ? 200 : 40;
/** Until its deadline; far longer than any test may take. */
const LONG_NS = 600e9;

onKvm.each([1, 2])('a socket ends a run that would last for minutes, %i CPUs', async (cpus) => {
  const vm = await makeVm({}, { cpus });
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = new Worker(fileURLToPath(new URL('./lib/socket-client.js', import.meta.url)), {
    workerData: server.address(),
  });
  const [peer] = await once(server, 'connection');
  try {
    if (cpus === 1) load(vm, [0xeb, 0xfe]);
    else loadSmp(vm, SPIN);
    await untilWatched(vm);
    const received: number[] = [];
    peer.on('data', (bytes: Buffer) => void received.push(...bytes));
    const turn = () => new Promise<void>((resolve) => void setImmediate(resolve));
    // The client answers each byte with the next; nothing but a run's end lets it through.
    for (let next = 1; next <= 20; next++) {
      peer.write(Uint8Array.of(next));
      while (received.length < next) {
        expect(vm.vcpus[0]!.run(LONG_NS, () => {})).toBe('kicked');
        await turn();
      }
    }
    expect(received).toEqual(Array.from({ length: 20 }, (_, index) => index + 2));
  } finally {
    peer.destroy();
    server.close();
    await client.terminate();
    await vm.dispose();
  }
});

onKvm('VMs back to back: only runs of one that kept the event loop waiting are ended', async () => {
  const early = Array<string>(10).fill('slice');
  const spinning = async (
    body: (runs: (ns: number, count: number) => unknown) => Promise<void>,
  ) => {
    const vm = await makeVm();
    load(vm, [0xeb, 0xfe]);
    await body(async (ns, count) => {
      // The event loop gets something to do.
      const told = new Promise((resolve) => stat('/', resolve));
      const ends = Array.from({ length: count }, () => vm.vcpus[0]!.run(ns, () => {}));
      await told;
      return ends;
    });
    await vm.dispose();
  };
  const round = async () => {
    await spinning(async (runs) => {
      expect(await runs(1e5, early.length)).toEqual(early);
      expect(await runs(LONG_NS, 1)).toEqual(['kicked']);
    });
    // The thread that waits is still there; this VM has not asked for it.
    await spinning(async (runs) => expect(await runs(2e5, early.length)).toEqual(early));
  };
  const inUse = () => [readdirSync('/proc/self/fd').length, readdirSync('/proc/self/task').sort()];
  await round();
  const before = inUse();
  for (let i = 1; i < ROUNDS; i++) await round();
  // Neither more descriptors, nor another thread that waits.
  expect(inUse()).toEqual(before);
});

onKvm('a doorbell is told, and no exit', async () => {
  const vm = await makeVm({}, { cpus: 2 });
  try {
    loadSmp(vm, outs(300));
    let told = 0;
    let others = 0;
    // Of 300 down to 1, by their low byte: 7 comes twice.
    const place = { space: 'io', address: 0x80, length: 1, value: 7n } as const;
    const bell = vm.doorbells!.watch(place, () => void told++);
    expect(() => vm.doorbells!.watch(place, () => {})).toThrow('EEXIST');
    let over = false;
    const sink = (exit: VmExit) => {
      if (exit.kind !== 'io') return;
      if (exit.port === 0x80) others++;
      over ||= exit.port === 0x99;
      if (over) vm.vcpus[0]!.shorten(0);
    };
    while (!over) vm.vcpus[0]!.run(LONG_NS, sink);
    vm.park!(sink);
    expect(others).toBe(298);
    expect(told).toBeGreaterThanOrEqual(1);
    expect(told).toBeLessThanOrEqual(2);
    bell.close();
    bell.close();
  } finally {
    await vm.dispose();
  }
  const alone = await makeVm();
  expect(alone.doorbells).toBeUndefined();
  await alone.dispose();
});

const BASE = 0xd0000000;
const dword = (value: number) => [0, 8, 16, 24].map((bit) => (value >>> bit) & 0xff);
/** mov dword [address], value */
const store = (address: number, value: number) => [0xc7, 0x05, ...dword(address), ...dword(value)];
const register = (offset: number, value: number) => store(BASE + offset, value);

/** A driver of virtio's entropy device: 16 bytes to 0x20000, in protected mode. */
const DRIVER = [
  ...[0, 1, 3].flatMap((status) => register(0x70, status)),
  ...[...register(0x24, 1), ...register(0x20, 1), ...register(0x70, 11)], // VERSION_1, FEATURES_OK
  ...[...register(0x30, 0), ...register(0x38, 8)], // queue 0, 8 entries
  ...[...register(0x80, 0x10000), ...register(0x90, 0x11000), ...register(0xa0, 0x12000)],
  ...[...register(0x44, 1), ...register(0x70, 15)], // QueueReady, DRIVER_OK
  ...[...store(0x10000, 0x20000), ...store(0x10008, 16), ...store(0x1000c, 2)], // a descriptor
  ...store(0x11000, 0x10000), // the available ring's index is 1
  ...register(0x50, 0), // QueueNotify
  ...[0x66, 0x83, 0x3d, ...dword(0x12002), 1, 0x75, 0xf6], // cmp word [0x12002], 1; jne
  ...[0xb0, 0x10, 0xe6, 0xf4, 0xeb, 0xfe], // out 0xf4, al: the end
];

onKvm.each([1, 2])('virtio-mmio: notifications by doorbells, %i CPUs', async (cpus) => {
  const image = new Uint8Array(0x200);
  image.set([0xeb, 0xfe]);
  image.set(DRIVER, 0x10);
  const vm = await createVm({ memory: '1M', cpus })
    .use(kvm(), pc(), debugExit(), virtioMmio(), virtioRng(), boot(flat({ image })))
    .build();
  const notified: VmExit[] = [];
  vm.events.exits.subscribe((exit) => {
    if (exit.kind === 'mmio' && exit.gpa === BASE + 0x50) notified.push(copyExit(exit));
  });
  await vm.start();
  await vm.pause();
  vm.vcpus[0]!.writeState(protectedMode(0x7c10));
  const end = await vm.run();
  expect(end.reason).toBe('debug-exit');
  const bytes = new Uint8Array(16);
  vm.memory.read(0x20000, bytes);
  expect(bytes.some((byte) => byte !== 0)).toBe(true);
  expect(notified.length).toBe(cpus === 1 ? 1 : 0);
  await vm.dispose();
});
