/**
 * ACPI fixed hardware as the FADT describes it (ACPI 6.5, 4.8 and 5.2.9), and the power button.
 *
 * The plugin that owns the registers provides the description; whoever writes the tables reads it.
 */
import type { ServiceToken } from './plugin.js';

export interface AcpiFixedHardware {
  /** I/O port of PM1a_EVT_BLK: 2 bytes of status, 2 of enable. */
  readonly pm1aEvent: number;
  /** I/O port of PM1a_CNT_BLK, 2 bytes. */
  readonly pm1aControl: number;
  /** I/O port of PM_TMR_BLK, 4 bytes. */
  readonly pmTimer: number;
  /** Whether the timer counts 32 bits (FADT flag TMR_VAL_EXT) or 24. */
  readonly pmTimer32: boolean;
  /** The SCI: a level-triggered, active-high GSI (an ISA override says so). */
  readonly sci: number;
  /** RESET_REG, one byte in I/O space, and RESET_VALUE. */
  readonly reset: { readonly port: number; readonly value: number };
  /** SLP_TYP of S5, for `\_S5`. */
  readonly s5: number;
  /** CMOS index of the century byte, 0 if none. */
  readonly century: number;
  /** IAPC_BOOT_ARCH: whether a keyboard controller is worth probing (bit 1). */
  readonly keyboardController: boolean;
}

export const ACPI_FIXED_HARDWARE: ServiceToken<AcpiFixedHardware> = {
  key: Symbol.for('@cloister/core/acpi-fixed-hardware'),
};

/** The power button, pressed by the host. */
export interface PowerButton {
  /** Asks the guest to shut down: an input, recorded and replayed like any other. */
  press(): void;
}

export const POWER_BUTTON: ServiceToken<PowerButton> = {
  key: Symbol.for('@cloister/core/power-button'),
};
