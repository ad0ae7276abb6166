/**
 * Runs one instruction that a backend cannot: the vCPU's state goes to another processor for one
 * instruction and back, over the same memory. Refused under protection.
 */
import type { ExitSink } from './exit.js';
import type { MemorySlot } from './memory.js';
import type { VcpuState } from './vcpu-state.js';

/** A vCPU on its way through an assist, which changes it in place. */
export interface AssistedCpu {
  state: VcpuState;
  /** x87, MMX and SSE: 512 bytes in FXSAVE's 64-bit form (AMD APM vol. 2, 11.4.4). */
  readonly fxsave: Uint8Array;
  /** Values of those of the assist's `msrs` that the vCPU has. */
  readonly msrs: Map<number, bigint>;
}

/** What an assisted instruction came to; what the assist does not know either raises #UD. */
export type AssistEnd = 'done' | 'halted' | 'shutdown';

export interface InstructionAssist {
  readonly name: string;
  /** MSRs that instructions use without naming them: SYSCALL's, SYSENTER's, SWAPGS's. */
  readonly msrs: readonly number[];
  /**
   * Called once for each VM: the assist's memory for `size` bytes of the guest's, page-aligned. The
   * backend lays the guest's memory over it, so that both see the same bytes.
   */
  connect(size: number): Uint8Array;
  /** Says, before the first step and after each change, where in that memory slots lie. */
  place(slots: readonly MemorySlot[], locate: (gpa: number) => number): void;
  /** Executes the instruction at RIP, or what it raises; exits go to `sink`. */
  step(cpu: AssistedCpu, sink: ExitSink): AssistEnd;
  /** Page numbers (GPA / 4096) that steps wrote since the last call. */
  takeDirty(): Uint32Array;
}
