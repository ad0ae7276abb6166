/**
 * Ports and values of the ACPI fixed hardware: what the FADT promises and the PM device keeps.
 *
 * Source: ACPI 6.5, 4.8.2 (fixed hardware), 4.8.3 (registers), 5.2.9 (FADT). Both sides import
 * these, so that table and device can't disagree. SMI_CMD is 0: the machine is always in ACPI mode
 * and PM1_CNT.SCI_EN always reads as 1. There are no GPE blocks.
 */

import type { AcpiFixedHardware } from '../interfaces/acpi-hardware.js';

/** PM1a event block: PM1_STS at +0, PM1_EN at +2, 16 bits each. */
export const PM1A_EVT_PORT = 0x600;
export const PM1A_EVT_LENGTH = 4;

/** PM1a control block: PM1_CNT, 16 bits. */
export const PM1A_CNT_PORT = 0x604;
export const PM1A_CNT_LENGTH = 2;

/** Power-management timer, 3.579545 MHz, 32 bits wide with 24 counting (TMR_VAL_EXT is 0). */
export const PM_TMR_PORT = 0x608;
export const PM_TMR_LENGTH = 4;
export const PM_TMR_HZ = 3_579_545;
export const PM_TMR_BITS = 24;

/** Bits of PM1_STS and PM1_EN; TMR_STS is set whenever the counter's top bit changes. */
export const PM1_TMR = 1 << 0;
export const PM1_GBL = 1 << 5;
export const PM1_PWRBTN = 1 << 8;
export const PM1_SLPBTN = 1 << 9;
export const PM1_RTC = 1 << 10;
export const PM1_WAK_STS = 1 << 15;

/** Bits of PM1_CNT. SLP_EN is write-only and reads as 0. */
export const PM1_CNT_SCI_EN = 1 << 0;
export const PM1_CNT_SLP_TYP_SHIFT = 10;
export const PM1_CNT_SLP_TYP_MASK = 7 << PM1_CNT_SLP_TYP_SHIFT;
export const PM1_CNT_SLP_EN = 1 << 13;

/** SLP_TYP of soft off, as `\_S5` in the DSDT says. */
export const S5_SLP_TYP = 5;

/** System control interrupt: level-triggered, active-high (overridden in the MADT). */
export const SCI_GSI = 9;

/** Reset control register of PC chipsets; the FADT names this port and value. */
export const RESET_PORT = 0xcf9;
export const RESET_VALUE = 0x06;

/** Where the MADT says that the interrupt controllers lie. */
export const LOCAL_APIC_BASE = 0xfee00000;
export const IOAPIC_BASE = 0xfec00000;
export const IOAPIC_ID = 0;
/** ISA IRQ 0 (the i8254) is wired to this input of the IOAPIC. */
export const TIMER_GSI = 2;

/** CMOS register that holds the century in BCD, as the FADT's CENTURY field says. */
export const RTC_CENTURY_REGISTER = 0x32;

/** All of it, as the FADT's writer takes it. */
export const FIXED_HARDWARE: AcpiFixedHardware = {
  pm1aEvent: PM1A_EVT_PORT,
  pm1aControl: PM1A_CNT_PORT,
  pmTimer: PM_TMR_PORT,
  pmTimer32: false,
  sci: SCI_GSI,
  reset: { port: RESET_PORT, value: RESET_VALUE },
  s5: S5_SLP_TYP,
  century: RTC_CENTURY_REGISTER,
  keyboardController: true,
};
