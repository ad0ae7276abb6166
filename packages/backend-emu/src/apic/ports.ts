/**
 * What a local APIC needs from others: narrow ports, so that it can be tested alone.
 */
import type { LocalApic } from './local-apic.js';

/** Its processor. */
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

/** The bus: what an APIC sends. */
export interface ApicSender {
  /** Carries out an interrupt command; `destination` is 8 bits wide in xAPIC mode, else 32. */
  command(from: LocalApic, icr: number, destination: number): void;
  /** A level-triggered vector was ended. */
  endOfInterrupt(vector: number): void;
}

/** A guest that may end edge-triggered interrupts by clearing a bit in memory (`paravirt/`). */
export interface EoiShortcut {
  /** Offers the shortcut for the interrupt just acknowledged; false when it cannot. */
  offer(): boolean;
  /** Takes a standing offer back; true when the guest had taken it, i.e. has sent an EOI. */
  withdraw(): boolean;
}
