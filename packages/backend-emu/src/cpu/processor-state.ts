/**
 * The state of a whole processor, taken out and put back: as the host and extensions see it, and
 * as a snapshot, which has all of it.
 */
import { type Snapshot, type VcpuState, VmmError } from '@cloister/core';
import { loadPdptes } from '../mmu/pdptes.js';
import { FLAG_RF } from './flags.js';
import * as L from './layout.js';
import type { Processor } from './processor.js';
import { readVcpuState, writeVcpuState } from './state.js';

export function readProcessorState(cpu: Processor): VcpuState {
  const state = readVcpuState(cpu.record);
  // SYSRET leaves the DPL of SS alone: the state shows the privilege there.
  const attributes = (state.ss.attributes & ~0x60) | (cpu.cpl << 5);
  const ss = cpu.isProtected ? { ...state.ss, attributes } : state.ss;
  return { ...state, ss, rflags: state.rflags | BigInt(cpu.debug.resumeFlag) };
}

export function writeProcessorState(cpu: Processor, state: VcpuState): void {
  writeVcpuState(cpu.record, state);
  const { record } = cpu;
  const ssDpl = (record.segmentAttributes(L.SEG.ss) >>> 5) & 3;
  record.setI32(L.CPL, cpu.isProtected ? ssDpl : cpu.isV86 ? 3 : 0);
  cpu.shadow.clear();
  cpu.debug.clear();
  if ((record.i32(L.EFLAGS) & FLAG_RF) !== 0) {
    record.setEflags(0, FLAG_RF);
    cpu.debug.setResumeFlag();
  }
  cpu.stateReplaced();
  const { apic } = cpu.services;
  const priority = record.lo(L.CR8) & 15;
  if (apic.taskPriority !== priority) apic.taskPriority = priority;
  // A state has no room for PAE's top entries: they are what memory says.
  if (cpu.mmu.walker.isPae) loadPdptes(record, cpu.mmu, record.lo(L.CR3));
}

export function snapshotProcessor(cpu: Processor): Snapshot {
  cpu.extension.events.release();
  cpu.debug.pend(cpu.mmu.breakpoints.hits);
  cpu.mmu.breakpoints.hits = 0;
  return {
    type: 'processor',
    version: 1,
    state: {
      record: cpu.record.bytes.slice(0, L.RECORD_SIZE),
      nmiPending: cpu.nmiPending,
      initPending: cpu.initPending,
      debug: [...cpu.debug.snapshot()],
      branchSteps: cpu.branchSteps,
      services: { ...cpu.services.snapshot() },
      ...(cpu.extension.set.hasState && { extension: cpu.extension.snapshot() }),
    },
  };
}

/** Throws `snapshot-mismatch` where `snapshot` is not one of `snapshotProcessor`. */
export function restoreProcessor(cpu: Processor, snapshot: Snapshot): void {
  const state = snapshot.state as {
    record?: unknown;
    nmiPending?: unknown;
    initPending?: unknown;
    debug?: unknown;
    branchSteps?: unknown;
    services?: unknown;
    extension?: unknown;
  } | null;
  const record = state?.record;
  const known = snapshot.type === 'processor' && snapshot.version === 1;
  if (!known || !(record instanceof Uint8Array) || record.length !== L.RECORD_SIZE) {
    throw new VmmError('snapshot-mismatch', 'not the state of an emulated processor');
  }
  cpu.extension.events.release();
  cpu.record.bytes.set(record);
  cpu.nmiPending = state?.nmiPending === true;
  cpu.initPending = state?.initPending === true;
  cpu.debug.restore(state?.debug);
  cpu.branchSteps = state?.branchSteps === true;
  cpu.stateReplaced();
  cpu.extension.restore(state?.extension);
  cpu.services.restore(state?.services as Snapshot | undefined);
  cpu.baseChanged();
}
