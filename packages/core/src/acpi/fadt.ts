/**
 * The FADT: what fixed hardware the machine has and where.
 *
 * Source: ACPI 6.5, 5.2.9 (table 5.9 fields, 5.10 flags, 5.11 IA-PC boot flags), 5.2.3.2 (GAS).
 * Not hardware-reduced. SMI_CMD 0: the machine is in ACPI mode from the start. The power button is
 * the fixed one of PM1; there is no sleep button, no GPE, no throttling and no C2 or C3.
 */
import type { AcpiFixedHardware } from '../interfaces/acpi-hardware.js';
import { PM_TMR_LENGTH, PM1A_CNT_LENGTH, PM1A_EVT_LENGTH } from './fixed-hardware.js';
import { HEADER_SIZE, putText, table } from './table.js';

const REVISION = 6;
const LENGTH = 276;

/** FADT flags in use. */
const WBINVD = 1 << 0;
const PROC_C1 = 1 << 2;
const SLP_BUTTON = 1 << 5;
const FIX_RTC = 1 << 6;
const TMR_VAL_EXT = 1 << 8;
const RESET_REG_SUP = 1 << 10;

/** IA-PC boot architecture flags in use. */
const LEGACY_DEVICES = 1 << 0;
const I8042 = 1 << 1;
const VGA_NOT_PRESENT = 1 << 2;

/** Latencies that say "no such state". */
const NO_C2 = 101;
const NO_C3 = 1001;

export function fadt(hardware: AcpiFixedHardware, facs: number, dsdt: number): Uint8Array {
  const body = new Uint8Array(LENGTH - HEADER_SIZE);
  const view = new DataView(body.buffer);
  // Offsets as the specification's table counts them, from the start of the header.
  const u8 = (at: number, value: number) => view.setUint8(at - HEADER_SIZE, value);
  const u16 = (at: number, value: number) => view.setUint16(at - HEADER_SIZE, value, true);
  const u32 = (at: number, value: number) => view.setUint32(at - HEADER_SIZE, value, true);
  const port = (at: number, address: number, bits: number) => {
    u8(at, 1); // system I/O
    u8(at + 1, bits);
    u8(at + 3, { 8: 1, 16: 2, 32: 3 }[bits] ?? 0); // access size
    u32(at + 4, address);
  };
  u32(36, facs);
  u32(40, dsdt);
  u16(46, hardware.sci);
  u32(56, hardware.pm1aEvent);
  u32(64, hardware.pm1aControl);
  u32(76, hardware.pmTimer);
  u8(88, PM1A_EVT_LENGTH);
  u8(89, PM1A_CNT_LENGTH);
  u8(91, PM_TMR_LENGTH);
  u16(96, NO_C2);
  u16(98, NO_C3);
  u8(108, hardware.century);
  u16(109, LEGACY_DEVICES | VGA_NOT_PRESENT | (hardware.keyboardController ? I8042 : 0));
  const timer = hardware.pmTimer32 ? TMR_VAL_EXT : 0;
  u32(112, WBINVD | PROC_C1 | SLP_BUTTON | FIX_RTC | RESET_REG_SUP | timer);
  port(116, hardware.reset.port, 8);
  u8(128, hardware.reset.value);
  u32(140, dsdt); // X_DSDT; X_FIRMWARE_CTRL stays 0 because FIRMWARE_CTRL is set
  port(148, hardware.pm1aEvent, 32);
  port(172, hardware.pm1aControl, 16);
  port(208, hardware.pmTimer, 32);
  putText(body, 268 - HEADER_SIZE, 'CLOISTER', 8);
  return table('FACP', REVISION, body);
}
