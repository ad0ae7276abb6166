/**
 * What the MSRs need from their processor.
 */
import type { MsrValue } from '@cloister/core';

export interface MsrCpu {
  /** EFER in the record changed by the bits in `changed`: mode and translations may be stale. */
  eferChanged(changed: number): void;
  /** The base of FS or GS in the record changed. */
  segmentBaseChanged(): void;
  /** DebugCtl.BTF changed: single-step means branch-step while it is set. */
  branchStep(on: boolean): void;
  /**
   * An MSR that neither the processor nor an extension has: delivers an `msr` exit where somebody
   * listens, with `value` in and out. False: #GP(0).
   */
  unknownMsr(direction: 'read' | 'write', index: number, value: MsrValue): boolean;
}
