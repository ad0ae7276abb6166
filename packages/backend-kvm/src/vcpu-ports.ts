/**
 * What a vCPU has from its VM.
 */
import type { Clock } from '@cloister/core';
import type { KvmInterrupts } from './interrupts.js';
import type { KvmAssist } from './kvm-assist.js';
import type { RunWatch } from './run-watch.js';
import type { Sys } from './sys/sys.js';
import type { ThreadSignals } from './thread-signals.js';

export interface VcpuPorts {
  readonly sys: Sys;
  readonly signals: ThreadSignals;
  readonly clock: Pick<Clock, 'now' | 'at'>;
  readonly interrupts: KvmInterrupts;
  readonly watch: RunWatch;
  /** Counts whatever may wake a vCPU that sleeps. */
  readonly events: { count: number };
  /** Frequency of the guest's time-stamp counter; 0 where the host does not say. */
  readonly tscKhz: number;
  readonly xsave: boolean;
  /** Whether the kernel can keep registers in the shared page. */
  readonly syncRegs: boolean;
  /** What runs instructions that KVM cannot, if anything. */
  readonly assist: KvmAssist | null;
  /** Reads memory of the guest's; null where KVM makes no hypercall loop, or takes no look. */
  readonly readMemory: ((gpa: number, target: Uint8Array) => void) | null;
  /** Takes what the dirty rings hold, as one is full; how many entries that were. */
  ringFull(): number;
  /** Throws `VmmError('unsupported')` where a protection hides the registers. */
  requireReadable(): void;
}
