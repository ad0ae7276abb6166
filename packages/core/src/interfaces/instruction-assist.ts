/**
 * Runs instructions that a backend cannot: the vCPU's state goes to another processor for one
 * instruction and back, over the same memory.
 *
 * A backend asks between two of its own runs and runs no other vCPU meanwhile. It refuses an assist
 * under a protection, which would hide registers and memory from the helper.
 */
import type { Random } from './clock.js';
import type { ExitSink } from './exit.js';
import type { MemorySlot } from './memory.js';
import type { VcpuState } from './vcpu-state.js';

/** The VM that is to be helped. */
export interface AssistedVm {
  /** Bytes of system memory, a multiple of 4096. */
  readonly memorySize: number;
  readonly cpus: number;
  /** The processor that the guest finds, as `selectCpu` of `@cloister/core/cpu` takes it. */
  readonly cpu: string;
  readonly random: Random;
  /** Told of each stretch of `AssistSession.memory` that an instruction may have written. */
  written(offset: number, length: number): void;
}

/**
 * What one instruction may see and change. State that is not here (AVX registers, MSRs not named)
 * stays as the backend has it.
 */
export interface AssistState {
  readonly registers: VcpuState;
  /** DR0 to DR3. */
  readonly breakpoints: bigint[];
  /** x87, MMX and SSE registers, 512 bytes as 64-bit FXSAVE has them (AMD APM vol. 2, 11.4.4). */
  readonly fpu: Uint8Array;
  pkru: number;
  /** The MSRs of `AssistSession.msrs`, in that order. */
  readonly msrs: bigint[];
  /** The time-stamp counter, which stands still for the instruction. */
  readonly tsc: bigint;
  /** Interrupts are held off until the next instruction has ended (STI, MOV SS). */
  shadow: boolean;
  /** From an NMI's delivery to IRET. */
  nmiBlocked: boolean;
}

/**
 * `done`: executed, or its exception delivered; `shutdown`: a triple fault, whose exit was
 * delivered; `refused`: nothing was changed, no exit delivered.
 */
export type AssistEnd = 'done' | 'shutdown' | 'refused';

/** Help for one VM. */
export interface AssistSession {
  /**
   * System memory, `memorySize` bytes that lie page-aligned in the process. The backend maps the
   * guest's own memory over it before the first step, so that both see the same bytes.
   */
  readonly memory: Uint8Array;
  /** Indices of the MSRs that instructions use, to be given and taken back with each step. */
  readonly msrs: readonly number[];
  /** Places a slot at `offset` bytes in `memory`, a multiple of 4096. */
  addSlot(slot: MemorySlot, offset: number): void;
  /** Takes a slot away; its bytes are the backend's to clear. */
  removeSlot(id: number): void;
  /**
   * Executes the instruction at `state`'s RIP as vCPU `index`, or delivers its exception, changing
   * `state` and memory; its exits go to `sink`, as those of the backend do.
   */
  step(index: number, state: AssistState, sink: ExitSink): AssistEnd;
}

export interface InstructionAssist {
  readonly name: string;
  /** Throws `VmmError` where it cannot help such a VM. */
  open(vm: AssistedVm): AssistSession;
}
