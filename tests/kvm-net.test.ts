// Networks of the host's on KVM: passt and a TAP answer a small guest's ARP request, over MMIO and
// PCI. (Linux guests are in net.test.ts.)
import { spawnSync } from 'node:child_process';
import { kvm, kvmBackend, openTap } from '@cloister/backend-kvm';
import { createVm } from '@cloister/core';
import { debugExit, pc } from '@cloister/core/devices';
import { type NetBackend, tapBackend, virtioMmio, virtioNet, virtioPci } from '@cloister/virtio';
import { passt } from '@cloister/virtio/node';
import { afterAll, describe, expect, test } from 'vitest';
import { makeTap } from './lib/host-tap.js';
import { VirtioGuest } from './lib/virtio-guest.js';

const probe = await kvmBackend().probe();
const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

const hasPasst = spawnSync('passt', ['--version']).error === undefined;
// The host's own frames, of IPv6, would be the first.
const tap = probe.available ? makeTap('multicast', 'off', 'addrgenmode', 'none') : null;
afterAll(() => tap?.remove());

/** Where there is no TAP, passt answers for any address. */
const HOST = bytesOf(tap?.host ?? '10.199.8.1');
const GUEST = bytesOf(tap?.guest ?? '10.199.8.2');

function bytesOf(address: string): number[] {
  return address.split('.').map(Number);
}

/** Who has `HOST`? Source: RFC 826. */
const request = Uint8Array.from([
  ...[...Array(6).fill(0xff), ...MAC, 0x08, 0x06],
  ...[0, 1, 8, 0, 6, 4, 0, 1, ...MAC, ...GUEST, ...Array(6).fill(0), ...HOST],
  ...Array(18).fill(0),
]);
const HEADER = 12;

async function answer(transport: 'mmio' | 'pci', cpus: number, backend: () => NetBackend) {
  const guest = new VirtioGuest(2, transport);
  const [room] = guest.give(0, 2048) as [number];
  guest.give(1, Uint8Array.from([...Array(HEADER).fill(0), ...request]));
  guest.await(1, 1);
  guest.await(0, 1);
  const bus = transport === 'pci' ? virtioPci() : virtioMmio();
  const vm = await createVm({ memory: '4M', cpus })
    .use(kvm(), pc(), debugExit(), bus, virtioNet({ backend }), guest.boot())
    .build();
  try {
    expect((await vm.run()).reason).toBe('debug-exit');
    const frame = new Uint8Array(42);
    vm.memory.read(room + HEADER, frame);
    return [...frame];
  } finally {
    await vm.dispose();
  }
}

/** An ARP reply to the guest: who it is from. */
function replier(frame: readonly number[]): readonly number[] {
  expect(frame.slice(0, 6)).toEqual(MAC);
  expect(frame.slice(12, 22)).toEqual([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 2]);
  return frame.slice(28, 32);
}

const WAYS = [
  ['mmio', 1],
  ['mmio', 2],
  ['pci', 1],
  ['pci', 2],
] as const;

describe.skipIf(!probe.available)(`on KVM ${probe.reason ?? ''}`, () => {
  test.skipIf(!hasPasst).each(WAYS)('passt answers over %s, %i CPUs', async (transport, cpus) => {
    expect(replier(await answer(transport, cpus, () => passt()))).toEqual(HOST);
  });

  test.each(WAYS)('a TAP answers over %s, %i CPUs', async (transport, cpus) => {
    if (tap === null) return void process.stderr.write('no TAP can be made here: not tried\n');
    const backend = () => tapBackend({ open: async () => openTap(tap.name) });
    expect(replier(await answer(transport, cpus, backend))).toEqual(HOST);
  });
});
