/**
 * Runs one instruction that a backend cannot: the vCPU's state goes to another processor for one
 * instruction and back, over the same memory. Refused under protection.
 */
import type { ExitSink } from './exit.js';
import type { GuestMemory } from './memory.js';
import type { VcpuState } from './vcpu-state.js';

export interface InstructionAssist {
  readonly name: string;
  /**
   * Executes the instruction at `state`'s RIP, changing `state` and memory; exits go to `sink`.
   * Returns false, with nothing changed, when it cannot either.
   */
  step(state: VcpuState, memory: GuestMemory, sink: ExitSink): boolean;
}
