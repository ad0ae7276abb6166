/**
 * How a program of the corpus is entered: the memory map of `guest/include/layout.s` and the state
 * of the boot CPU. The image lies at 0x7c00 in every mode and is entered at its first byte.
 *
 * Real mode: CS and all data segments 0. Protected mode: flat 32-bit segments, no paging. Long:
 * flat segments, the first 4 GiB mapped to themselves by 2 MiB pages, open to user mode. In both
 * the GDT at 0x2000 and a busy TSS at 0x800; the IDT is empty. Interrupts are off, the stack ends
 * below the image.
 *
 * Source: AMD APM vol. 2, 4.7-4.8 (descriptors), 5.3 (long-mode paging), 14.1 (reset state).
 */
import type { BootSource, LaunchRegion } from '../../interfaces/launch-plan.js';
import { resetState, type SegmentState, type VcpuState } from '../../interfaces/vcpu-state.js';
import type { CorpusMode } from './program.js';

const PAGE_SIZE = 4096;
const GIB = 2 ** 30;
const TSS = 0x800;
const GDT = 0x2000;
const IMAGE = 0x7c00;
const TABLES = 0x10000;

/** Attributes in the VMCB's form. */
const CODE64 = 0xa9b;
const CODE32 = 0xc9b;
const DATA32 = 0xc93;
const USER = 0x060;
const CODE16 = 0x09b;
const DATA16 = 0x093;
const TSS_BUSY = 0x08b;

/** Descriptors in the order of their selectors, from 0x08: attributes, limit, base. */
const DESCRIPTORS: readonly (readonly [number, number, number])[] = [
  [CODE64, 0xffffffff, 0],
  [DATA32, 0xffffffff, 0],
  [CODE32 | USER, 0xffffffff, 0],
  [DATA32 | USER, 0xffffffff, 0],
  [CODE64 | USER, 0xffffffff, 0],
  [DATA32 | USER, 0xffffffff, 0],
  [CODE32, 0xffffffff, 0],
  [DATA32, 0xffffffff, 0],
  [CODE32 | USER, 0xffffffff, 0],
  [DATA32 | USER, 0xffffffff, 0],
  [CODE16, 0xffff, 0],
  [DATA16, 0xffff, 0],
  [TSS_BUSY, 0x67, TSS],
];
const GDT_LIMIT = 0xff;
const SELECTOR = { code64: 0x08, data: 0x10, code32: 0x38, tss: 0x68 } as const;

function descriptor(attributes: number, limit: number, base: number): bigint {
  const field = BigInt((attributes & 0x800) !== 0 ? limit >>> 12 : limit);
  return (
    (field & 0xffffn) |
    (BigInt(base & 0xffffff) << 16n) |
    (BigInt(attributes & 0xff) << 40n) |
    ((field >> 16n) << 48n) |
    (BigInt(attributes >> 8) << 52n) |
    (BigInt(base >>> 24) << 56n)
  );
}

function gdt(): LaunchRegion {
  const bytes = new Uint8Array(PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  DESCRIPTORS.forEach(([attributes, limit, base], index) => {
    view.setBigUint64((index + 1) * 8, descriptor(attributes, limit, base), true);
  });
  return { name: 'gdt', gpa: GDT, bytes, type: 'normal' };
}

/** Present, writable, user, accessed; dirty and a large page in the leaves. */
const TABLE = 0x27n;
const LEAF = 0xe7n;

function pageTables(): LaunchRegion {
  const bytes = new Uint8Array(6 * PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  const entry = (page: number, index: number, value: bigint) =>
    view.setBigUint64(page * PAGE_SIZE + index * 8, value, true);
  entry(0, 0, BigInt(TABLES + PAGE_SIZE) | TABLE);
  for (let gib = 0; gib < 4; gib++) {
    entry(1, gib, BigInt(TABLES + (2 + gib) * PAGE_SIZE) | TABLE);
    for (let index = 0; index < 512; index++) {
      entry(2 + gib, index, BigInt(gib * GIB + index * 0x200000) | LEAF);
    }
  }
  return { name: 'page-tables', gpa: TABLES, bytes, type: 'normal' };
}

function flat(selector: number, attributes: number): SegmentState {
  return { selector, attributes, limit: 0xffffffff, base: 0n };
}

function entryState(mode: CorpusMode): VcpuState {
  const state = resetState();
  state.gpr.rdx = 0n;
  state.gpr.rsp = BigInt(IMAGE);
  state.rip = BigInt(IMAGE);
  const data = ['ds', 'es', 'ss', 'fs', 'gs'] as const;
  if (mode === 'real') {
    state.cs = { selector: 0, attributes: CODE16, limit: 0xffff, base: 0n };
    for (const name of data) {
      state[name] = { selector: 0, attributes: DATA16, limit: 0xffff, base: 0n };
    }
    state.idtr = { limit: 0x3ff, base: 0n };
    state.cr0 = 0x10n;
    return state;
  }
  const long = mode === 'long';
  state.cs = long ? flat(SELECTOR.code64, CODE64) : flat(SELECTOR.code32, CODE32);
  for (const name of data) state[name] = flat(SELECTOR.data, DATA32);
  state.tr = { selector: SELECTOR.tss, attributes: TSS_BUSY, limit: 0x67, base: BigInt(TSS) };
  state.gdtr = { limit: GDT_LIMIT, base: BigInt(GDT) };
  state.idtr = { limit: 0, base: 0n };
  state.cr0 = long ? 0x80000011n : 0x11n;
  if (long) {
    state.cr3 = BigInt(TABLES);
    state.cr4 = 0x20n;
    state.efer = 0x500n;
  }
  return state;
}

/** The boot source of a program with this image, and of what else is to lie in memory. */
export function corpusEntry(
  image: Uint8Array,
  mode: CorpusMode,
  more: readonly LaunchRegion[] = [],
): BootSource {
  const regions: readonly LaunchRegion[] = [
    gdt(),
    ...(mode === 'long' ? [pageTables()] : []),
    { name: 'image', gpa: IMAGE, bytes: image, type: 'normal' },
    ...more,
  ];
  const vcpus = new Map([[0, entryState(mode)]]);
  return { name: 'corpus', plan: () => ({ regions, vcpus, e820: [], entry: mode }) };
}
