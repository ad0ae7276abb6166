/**
 * The record after RESET and INIT.
 *
 * Source: AMD APM vol. 2, 14.1.3 (initial processor state).
 */
import { resetState } from '@cloister/core';
import * as L from './layout.js';
import type { CpuRecord } from './record.js';
import { CR0_CD, CR0_NW } from './registers.js';
import { readVcpuState, writeVcpuState } from './state.js';

const FCW_RESET = 0x40;
const FTW_RESET = 0x5555;
const MXCSR_RESET = 0x1f80;

/** RESET. `signature` is that of the CPU model, which EDX gets; all but the boot CPU wait. */
export function resetRecord(record: CpuRecord, signature: number, boot: boolean): void {
  record.bytes.fill(0, 0, L.RECORD_SIZE);
  writeVcpuState(record, resetState(signature));
  record.setU16(L.FCW, FCW_RESET);
  record.setU16(L.FTW, FTW_RESET);
  record.setI32(L.MXCSR, MXCSR_RESET);
  resetRest(record, boot);
}

/** INIT, which keeps x87, SSE, XCR0, caches with CR0.CD and NW, and most MSRs. */
export function initRecord(record: CpuRecord, signature: number, boot: boolean): void {
  const { cr0, xcr0 } = readVcpuState(record);
  const state = resetState(signature);
  const caching = BigInt(CR0_CD | CR0_NW);
  writeVcpuState(record, { ...state, cr0: (state.cr0 & ~caching) | (cr0 & caching), xcr0 });
  resetRest(record, boot);
}

function resetRest(record: CpuRecord, boot: boolean): void {
  record.setI32(L.FAULT_VECTOR, -1);
  record.setI32(L.CPL, 0);
  record.setI32(L.NMI_BLOCKED, 0);
  record.setI32(L.RMW_PENDING, 0);
  record.setI32(L.ACTIVITY, boot ? L.ACTIVITY_RUNNING : L.ACTIVITY_WAIT_SIPI);
  for (let i = 0; i < 4; i++) record.setPair(L.DR + i * 8, 0, 0);
}
