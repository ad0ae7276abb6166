/**
 * Register states and tables for entering a guest without firmware: GDT, identity page tables, and
 * the vCPU in real, flat protected or long mode.
 *
 * Source: AMD APM vol. 2, 4.7-4.8 (descriptors), 5.3 (long-mode paging), 14.1 (reset state); Linux
 * Documentation/arch/x86/boot.rst for the selectors (CS 0x10, DS 0x18).
 */
import type { LaunchRegion } from '../interfaces/launch-plan.js';
import { resetState, type SegmentState, type VcpuState } from '../interfaces/vcpu-state.js';
import { GIB, PAGE_SIZE } from './memory-layout.js';
import { pagedRegion } from './placement.js';

/** Selectors of the GDT below, as Linux's boot protocol wants them. */
export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;
export const BOOT_TR = 0x20;

/** Attributes in the VMCB's form: present, S, type; L or D; G. */
const CODE64 = 0xa9b;
const CODE32 = 0xc9b;
const DATA32 = 0xc93;
const TSS_BUSY = 0x08b;
const CODE16 = 0x09b;
const DATA16 = 0x093;

const CR0_PE = 0x1n;
const CR0_ET = 0x10n;
const CR0_PG = 0x80000000n;
const CR4_PAE = 0x20n;
const EFER_LME_LMA = 0x500n;

/** Bytes that the identity map of `identityTables` covers, and the bytes that it takes. */
export const IDENTITY_MAPPED = 4 * GIB;
export const IDENTITY_TABLES_SIZE = 6 * PAGE_SIZE;

const GDT_LIMIT = 0x2f;

/** A GDT with the three selectors above; descriptor 0x20 is a 16-byte TSS descriptor. */
export function gdtRegion(gpa: number, mode: 32 | 64): LaunchRegion {
  const bytes = new Uint8Array(PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(BOOT_CS, descriptor(mode === 64 ? CODE64 : CODE32, 0xffffffff), true);
  view.setBigUint64(BOOT_DS, descriptor(DATA32, 0xffffffff), true);
  view.setBigUint64(BOOT_TR, descriptor(TSS_BUSY, 0x67), true);
  return pagedRegion('gdt', gpa, bytes);
}

/** A segment descriptor with base 0. */
function descriptor(attributes: number, limit: number): bigint {
  const granular = (attributes & 0x800) !== 0;
  const field = BigInt(granular ? limit >>> 12 : limit);
  return (
    (field & 0xffffn) |
    (BigInt(attributes & 0xff) << 40n) |
    ((field >> 16n) << 48n) |
    (BigInt(attributes >> 8) << 52n)
  );
}

/** A CR3 or table entry's address with the C-bit, where there is one. */
export function encrypted(address: bigint, cBit: number | null): bigint {
  return cBit === null ? address : address | (1n << BigInt(cBit));
}

/**
 * Page tables at `gpa` (6 pages) that map the first 4 GiB to themselves by 2 MiB pages, the C-bit
 * in every entry of every level. Accessed and dirty bits are set, so that the walk writes nothing.
 */
export function identityTables(gpa: number, cBit: number | null): LaunchRegion {
  const bytes = new Uint8Array(IDENTITY_TABLES_SIZE);
  const view = new DataView(bytes.buffer);
  const entry = (page: number, index: number, address: number, flags: bigint) =>
    view.setBigUint64(page * PAGE_SIZE + index * 8, encrypted(BigInt(address) | flags, cBit), true);
  const table = 0x23n; // P, RW, A
  const leaf = 0xe3n; // P, RW, A, D, PS
  entry(0, 0, gpa + PAGE_SIZE, table);
  for (let gib = 0; gib < 4; gib += 1) {
    entry(1, gib, gpa + (2 + gib) * PAGE_SIZE, table);
    for (let index = 0; index < 512; index += 1) {
      entry(2 + gib, index, gib * GIB + index * 0x200000, leaf);
    }
  }
  return pagedRegion('page-tables', gpa, bytes);
}

function flat(selector: number, attributes: number): SegmentState {
  return { selector, attributes, limit: 0xffffffff, base: 0n };
}

function withFlatSegments(state: VcpuState, code: number, gdt: number): VcpuState {
  state.cs = flat(BOOT_CS, code);
  for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) state[name] = flat(BOOT_DS, DATA32);
  state.tr = { selector: BOOT_TR, attributes: TSS_BUSY, limit: 0x67, base: 0n };
  state.gdtr = { limit: GDT_LIMIT, base: BigInt(gdt) };
  state.idtr = { limit: 0, base: 0n };
  state.gpr.rdx = 0n;
  return state;
}

/** Long mode: flat segments, paging by `tables`, interrupts off. */
export function longModeState(options: {
  readonly rip: number;
  readonly gdt: number;
  readonly tables: number;
  readonly cBit: number | null;
}): VcpuState {
  const state = withFlatSegments(resetState(), CODE64, options.gdt);
  state.rip = BigInt(options.rip);
  state.cr0 = CR0_PE | CR0_ET | CR0_PG;
  state.cr3 = encrypted(BigInt(options.tables), options.cBit);
  state.cr4 = CR4_PAE;
  state.efer = EFER_LME_LMA;
  return state;
}

/** Protected mode: flat 32-bit segments, paging off, interrupts off. */
export function protectedModeState(options: {
  readonly rip: number;
  readonly gdt: number;
}): VcpuState {
  const state = withFlatSegments(resetState(), CODE32, options.gdt);
  state.rip = BigInt(options.rip);
  state.cr0 = CR0_PE | CR0_ET;
  return state;
}

/** Real mode at `segment:ip`, all data segments 0, as a BIOS enters a boot sector. */
export function realModeState(options: {
  readonly segment: number;
  readonly ip: number;
}): VcpuState {
  const state = resetState();
  const base = BigInt(options.segment) << 4n;
  state.cs = { selector: options.segment, attributes: CODE16, limit: 0xffff, base };
  for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) {
    state[name] = { selector: 0, attributes: DATA16, limit: 0xffff, base: 0n };
  }
  state.idtr = { limit: 0x3ff, base: 0n };
  state.rip = BigInt(options.ip);
  state.cr0 = CR0_ET;
  state.gpr.rdx = 0n;
  return state;
}
