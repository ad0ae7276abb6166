// The balloon on KVM: pages that a guest gives up are the host's, and come back when it uses them.
import { fstatSync, readdirSync, readlinkSync } from 'node:fs';
import { kvm, kvmBackend } from '@cloister/backend-kvm';
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';
import { BALLOON, virtioBalloon, virtioMmio } from '@cloister/virtio';
import { expect, test } from 'vitest';

const probe = await kvmBackend().probe();

const MIB = 2 ** 20;
const PAGE = 4096;
/** The guest's memory: code and rings from 1 MiB, pages to give up from 4 MiB. */
const LOAD = MIB;
const TABLE = LOAD + 0x1000;
const RINGS = LOAD + 0x2000;
const NUMBERS = LOAD + 0x5000;
const GIVEN = 4 * MIB;
const PAGES = (4 * MIB) / PAGE;

/** Registers of the first virtio-mmio device, as the guest writes them (virtio 1.2, 4.2.2). */
const WRITES = [
  [0x70, 0], [0x70, 1], [0x70, 3], // status: reset, acknowledge, driver
  [0x24, 1], [0x20, 1], [0x70, 11], // VIRTIO_F_VERSION_1; features ok
  [0x30, 0], [0x38, 8], // queue 0 of 8 entries
  [0x80, RINGS], [0x90, RINGS + 0x1000], [0xa0, RINGS + 0x2000], [0x44, 1],
  [0x70, 15], [0x50, 0], // driver ok; notify
  [-1, 0],
] as const; // biome-ignore format: a table

/** Tells the device of its pages, says so at port 0x80, writes to every page again. */
const CODE = [
  0xbe, ...dword(TABLE), 0xbf, ...dword(0xd0000000), // mov esi, table; mov edi, registers
  0x8b, 0x0e, 0x8b, 0x46, 4, // mov ecx, [esi]; mov eax, [esi + 4]
  0x85, 0xc9, 0x78, 8, // test ecx, ecx; js done
  0x89, 0x04, 0x0f, 0x83, 0xc6, 8, // mov [edi + ecx], eax; add esi, 8
  0xeb, 0xed, // jmp back
  0xe6, 0x80, // done: out 0x80, al
  0xbf, ...dword(GIVEN), // mov edi, pages
  0x89, 0x3f, 0x81, 0xc7, ...dword(PAGE), // mov [edi], edi; add edi, 4096
  0x81, 0xff, ...dword(GIVEN + PAGES * PAGE), 0x72, 0xf0, // cmp edi, end; jb back
  0xe6, 0xf4, // out 0xf4, al
]; // biome-ignore format: instructions

function dword(value: number): number[] {
  return [0, 8, 16, 24].map((shift) => (value >>> shift) & 255);
}

function image(): Uint8Array {
  const bytes = new Uint8Array(GIVEN + PAGES * PAGE - LOAD);
  const view = new DataView(bytes.buffer);
  const words = (at: number, values: readonly number[]) =>
    values.forEach((value, index) => {
      view.setUint32(at - LOAD + 4 * index, value, true);
    });
  bytes.set(CODE);
  words(TABLE, WRITES.flat());
  // One descriptor: the page numbers; the available ring names it.
  words(RINGS, [NUMBERS, 0, 4 * PAGES, 0]);
  words(RINGS + 0x1000, [1 << 16, 0]);
  words(
    NUMBERS,
    Array.from({ length: PAGES }, (_, index) => GIVEN / PAGE + index),
  );
  bytes.fill(0x5a, GIVEN - LOAD);
  return bytes;
}

/** Bytes of the guest's memory that the host keeps. */
function held(): number {
  const file = readdirSync('/proc/self/fd').find((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('memfd:cloister-guest');
    } catch {
      return false;
    }
  });
  return fstatSync(Number(file)).blocks * 512;
}

test.skipIf(!probe.available)(`a balloon on KVM ${probe.reason ?? ''}`, async () => {
  const machine = createVm({ memory: '16M' });
  const source = boot(flat({ image: image(), mode: 'protected' }));
  const vm = await machine
    .use(kvm(), pc(), virtioMmio(), virtioBalloon(), debugExit(), source)
    .build();
  const sizes: number[] = [];
  vm.events.exits.subscribe((exit) => {
    // Before the first register is written, and behind the last.
    if (sizes.length === 0 || (exit.kind === 'io' && exit.port === 0x80)) sizes.push(held());
  });
  const end = await vm.run();
  sizes.push(held());
  expect(end.reason).toBe('debug-exit');
  expect(vm.get(BALLOON).counters.inflatedPages).toBe(PAGES);
  const [full, inflated, used] = sizes as [number, number, number];
  process.stderr.write(`held: ${sizes.map((size) => `${size / MIB} MiB`).join(', ')}\n`);
  // The ring that says so may have taken a page.
  expect(full - inflated).toBeGreaterThanOrEqual(PAGES * PAGE - 2 * PAGE);
  expect(used - inflated).toBeGreaterThanOrEqual(PAGES * PAGE);
  await vm.dispose();
});
