/**
 * The record as plain data and back: `VcpuState` for boot sources, debuggers and extensions.
 */
import { GPR_NAMES, type SegmentState, type TableState, type VcpuState } from '@cloister/core';
import { FLAGS_ALL } from './flags.js';
import * as L from './layout.js';
import type { CpuRecord } from './record.js';

const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;

/** 64-bit fields of `VcpuState` and their places. */
const REGISTERS = [
  ['rip', L.RIP],
  ['cr0', L.CR0],
  ['cr2', L.CR2],
  ['cr3', L.CR3],
  ['cr4', L.CR4],
  ['cr8', L.CR8],
  ['efer', L.EFER],
  ['dr6', L.DR + 6 * 8],
  ['dr7', L.DR + 7 * 8],
  ['xcr0', L.XCR0],
] as const;

function readSegment(record: CpuRecord, offset: number): SegmentState {
  return {
    selector: record.u16(offset + L.SEG_SELECTOR),
    attributes: record.u16(offset + L.SEG_ATTRIBUTES),
    limit: record.u32(offset + L.SEG_LIMIT),
    base: record.u64(offset + L.SEG_BASE),
  };
}

function writeSegment(record: CpuRecord, offset: number, segment: SegmentState): void {
  record.setU16(offset + L.SEG_SELECTOR, segment.selector);
  record.setU16(offset + L.SEG_ATTRIBUTES, segment.attributes & 0xfff);
  record.setI32(offset + L.SEG_LIMIT, segment.limit);
  record.setU64(offset + L.SEG_BASE, segment.base);
}

function readTable(record: CpuRecord, offset: number): TableState {
  return { limit: record.u32(offset + 8), base: record.u64(offset) };
}

function writeTable(record: CpuRecord, offset: number, table: TableState): void {
  record.setU64(offset, table.base);
  record.setI32(offset + 8, table.limit);
}

/** The architectural state that `record` holds. */
export function readVcpuState(record: CpuRecord): VcpuState {
  const state: Partial<Record<string, unknown>> = {};
  state['gpr'] = Object.fromEntries(
    GPR_NAMES.map((name, index) => [name, record.u64(L.gprOffset(index))]),
  );
  state['rflags'] = BigInt(record.eflags());
  for (const [name, offset] of REGISTERS) state[name] = record.u64(offset);
  SEGMENT_NAMES.forEach((name, index) => {
    state[name] = readSegment(record, L.segmentOffset(index));
  });
  state['gdtr'] = readTable(record, L.GDTR);
  state['idtr'] = readTable(record, L.IDTR);
  return state as unknown as VcpuState;
}

/** Stores `state`; what follows from it (mode, privilege, TLB) is the caller's to recompute. */
export function writeVcpuState(record: CpuRecord, state: VcpuState): void {
  for (const [index, name] of GPR_NAMES.entries()) {
    record.setU64(L.gprOffset(index), state.gpr[name]);
  }
  for (const [name, offset] of REGISTERS) record.setU64(offset, state[name]);
  for (const [index, name] of SEGMENT_NAMES.entries()) {
    writeSegment(record, L.segmentOffset(index), state[name]);
  }
  writeTable(record, L.GDTR, state.gdtr);
  writeTable(record, L.IDTR, state.idtr);
  record.setEflags(Number(BigInt.asUintN(32, state.rflags)), FLAGS_ALL);
}
