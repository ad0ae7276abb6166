/**
 * Interrupt routing: how the lines that `PluginContext.irq(gsi)` hands out reach a controller.
 *
 * The platform plugin (`pc()`) provides an `InterruptRouter` under `INTERRUPT_ROUTER`. Core's
 * assembly owns the lines: `irqLines()` makes them, ORs those that share a GSI, and is connected
 * to the router once every plugin is set up. Without a router, lines of a backend with an internal
 * irqchip go to `InterruptPort.setGsi`; otherwise they lead nowhere.
 */
import type { ServiceToken } from './plugin.js';

/** An IOAPIC as the MADT describes it. */
export interface IoApicDescription {
  readonly id: number;
  readonly address: number;
  readonly gsiBase: number;
  readonly pins: number;
}

/** An interrupt source override of the MADT: an ISA IRQ that is not GSI = IRQ, edge, high. */
export interface IsaOverride {
  readonly irq: number;
  readonly gsi: number;
  readonly activeLow: boolean;
  readonly level: boolean;
}

/** Takes the levels of GSIs; also all that the MADT says about interrupt controllers. */
export interface InterruptRouter {
  /** GSIs that exist: 0 to `gsis - 1`. */
  readonly gsis: number;
  /** Whether an i8259 pair is present (MADT flag PCAT_COMPAT). */
  readonly pic: boolean;
  readonly ioApics: readonly IoApicDescription[];
  readonly overrides: readonly IsaOverride[];
  /**
   * Drives a GSI; 0-15 are named by their ISA IRQ, before overrides. Setting the level that it
   * already has does nothing.
   */
  setGsi(gsi: number, level: boolean): void;
}

export const INTERRUPT_ROUTER: ServiceToken<InterruptRouter> = {
  key: Symbol.for('@cloister/core/interrupt-router'),
};

/** What lines lead to; without `gsis` it takes any. */
export type IrqTarget = Pick<InterruptRouter, 'setGsi'> & Partial<Pick<InterruptRouter, 'gsis'>>;

/** The lines of a VM; see `irqLines()`. */
export interface IrqLines {
  /**
   * A new driver of `gsi`. The level of a GSI is the OR of its drivers. Works before `connect`:
   * levels are kept and passed on then. `VmmError('invalid-argument')` for a GSI that cannot exist.
   */
  line(gsi: number): IrqLineOfGsi;
  /**
   * Connects the controller and passes it every level that is high. `VmmError('invalid-config')`
   * when a line was handed out that the controller does not have.
   */
  connect(target: IrqTarget): void;
  /**
   * Between `hold` and `release` no level is passed on: restoring devices in any order then causes
   * no edge. `release` passes every level on; a controller that was restored with them sees none
   * change.
   */
  hold(): void;
  release(): void;
  /** Passes every level on again: after a reset of the controller. */
  replay(): void;
}

export interface IrqLineOfGsi {
  readonly gsi: number;
  set(level: boolean): void;
}
