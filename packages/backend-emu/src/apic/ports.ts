/**
 * What a local APIC needs from its processor: narrow ports, so that it can be tested alone.
 */
export interface ApicCpu {
  /**
   * Something became deliverable (`hasInterrupt` turned true): look before the next instruction,
   * and leave HLT.
   */
  wake(): void;
  /** A non-maskable interrupt arrived. */
  nmi(): void;
  /** INIT: enter the reset state (the processor calls `LocalApic.init`), an AP waits for SIPI. */
  init(): void;
  /** SIPI: an AP that waits starts at `vector << 12`; otherwise ignored. */
  startup(vector: number): void;
  /** CR8, the task priority's high nibble, changed by an APIC register. */
  taskPriority(cr8: number): void;
  /**
   * The APIC page moved, appeared or vanished (`LocalApic.mmioBase`), or CPUID's APIC bit changed:
   * cached translations of both pages are stale.
   */
  baseChanged(): void;
}
