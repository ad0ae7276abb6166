/**
 * Debug exceptions between two instructions: breakpoints on code, and the traps of single-step,
 * data and port breakpoints and task switches.
 *
 * Source: AMD APM vol. 2, 13.1.2 (breakpoints), 13.1.4 (single step), 8.5 (priorities), 8.2.2;
 * vol. 3, MOV and POP (no trap is taken before the instruction after a load of SS has ended;
 * AMD's processors take breakpoints on its code). tools/native-oracle compares it with the host.
 *
 * Known inaccuracies: DebugCtl.BTF is ignored: every instruction is stepped over, not branches
 * only. RFLAGS.RF, where it is set at a repeated instruction, lasts longer than the
 * first iteration only while instructions are watched one by one.
 */
import { DR6_BS } from '../cpu/debug-state.js';
import { FLAG_TF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_DB } from '../cpu/registers.js';
import { IMPLICIT } from '../mmu/mmu.js';
import { noteCauses } from './debug-registers.js';
import { deliverExternal } from './exceptions.js';
import { GUEST_FAULT } from './outcome.js';

/** Takes the debug traps that are due at RIP. False if there is none, or not yet. */
export function takeDebugTrap(cpu: Processor): boolean {
  const { breakpoints } = cpu.mmu;
  if (breakpoints.hits !== 0) {
    cpu.debug.pend(breakpoints.hits);
    breakpoints.hits = 0;
  }
  const causes = cpu.debug.pending;
  if (causes === 0 || cpu.debug.inStackShadow) return false;
  cpu.debug.pending = 0;
  deliverDebug(cpu, causes);
  return true;
}

/** Delivers #DB at RIP; RFLAGS.RF is pushed as it is. */
export function deliverDebug(cpu: Processor, causes: number): void {
  noteCauses(cpu, causes);
  // A trap ends HLT.
  cpu.words[L.ACTIVITY >> 2] = L.ACTIVITY_RUNNING;
  deliverExternal(cpu, VECTOR_DB);
}

/** Whether the next instruction must be run by itself: it is traced, or in a page watched. */
export function isWatched(cpu: Processor): boolean {
  if ((cpu.words[L.EFLAGS >> 2] & FLAG_TF) !== 0) return true;
  const { breakpoints } = cpu.mmu;
  return breakpoints.code && breakpoints.codePage(cpu.linearRipLo, cpu.linearRipHi);
}

/** Bits of DR6 for the breakpoints on the instruction at RIP; 0: it may run. */
export function codeBreaks(cpu: Processor): number {
  const { breakpoints } = cpu.mmu;
  if (!breakpoints.code || cpu.debug.resumeFlag !== 0) return 0;
  return breakpoints.codeAt(cpu.linearRipLo, cpu.linearRipHi);
}

/** Delivers their fault. */
export function breakOnCode(cpu: Processor, causes: number): void {
  // A trap held back by a load of SS is lost.
  cpu.debug.pending = 0;
  deliverDebug(cpu, causes);
}

/** Runs one instruction by `run`, which is true if it ended without a fault; notes its traps. */
export function stepWatched(cpu: Processor, run: () => boolean): void {
  const traced = (cpu.words[L.EFLAGS >> 2] & FLAG_TF) !== 0;
  const lo = cpu.record.lo(L.RIP);
  const hi = cpu.record.hi(L.RIP);
  const resumed = cpu.debug.resumeFlag !== 0;
  cpu.debug.untraced = false;
  if (!run()) return;
  const stays = cpu.record.lo(L.RIP) === lo && cpu.record.hi(L.RIP) === hi;
  // RF lasts over all iterations.
  if (resumed && stays && isRepeated(cpu)) cpu.debug.setResumeFlag();
  if (traced && !cpu.debug.untraced) cpu.debug.pending |= DR6_BS;
}

const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0]);

/** Whether the instruction at RIP is a string instruction with REP. */
function isRepeated(cpu: Processor): boolean {
  let repeats = false;
  const fault = cpu.record.i32(L.FAULT_VECTOR);
  try {
    for (let i = 0; i < 15; i++) {
      const lo = (cpu.linearRipLo + i) | 0;
      const carry = lo >>> 0 < i ? 1 : 0;
      const byte = cpu.memory.read8(lo, cpu.is64 ? cpu.linearRipHi + carry : 0, IMPLICIT);
      if (byte === 0xf2 || byte === 0xf3) repeats = true;
      else if (PREFIXES.has(byte) || (cpu.is64 && (byte & 0xf0) === 0x40)) continue;
      else return repeats && isString(byte);
    }
  } catch (error) {
    if (error !== GUEST_FAULT) throw error;
    cpu.record.setI32(L.FAULT_VECTOR, fault);
  }
  return false;
}

function isString(opcode: number): boolean {
  if (opcode >= 0x6c && opcode <= 0x6f) return true;
  return (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf);
}
