/**
 * Registers and fields of the local APIC, named as the manuals name them.
 *
 * Source: AMD APM vol. 2, table 16-2 (xAPIC offsets) and 16.11 (x2APIC MSRs: 0x800 + offset / 16).
 */
export const APIC_ID = 0x020;
export const APIC_VERSION = 0x030;
export const TPR = 0x080;
export const APR = 0x090;
export const PPR = 0x0a0;
export const EOI = 0x0b0;
export const RRR = 0x0c0;
export const LDR = 0x0d0;
export const DFR = 0x0e0;
export const SVR = 0x0f0;
export const ISR = 0x100;
export const TMR = 0x180;
export const IRR = 0x200;
export const ESR = 0x280;
export const ICR_LOW = 0x300;
export const ICR_HIGH = 0x310;
export const LVT_TIMER = 0x320;
export const LVT_THERMAL = 0x330;
export const LVT_PERF = 0x340;
export const LVT_LINT0 = 0x350;
export const LVT_LINT1 = 0x360;
export const LVT_ERROR = 0x370;
export const TIMER_INITIAL = 0x380;
export const TIMER_CURRENT = 0x390;
export const TIMER_DIVIDE = 0x3e0;
/** x2APIC only: MSR 0x83f. */
export const SELF_IPI = 0x3f0;

/** Version 0x14 with six LVT entries; neither EOI suppression nor AMD's extended space. */
export const VERSION_VALUE = 0x00050014;

export const SVR_ENABLE = 1 << 8;
/** Vector, enable, focus checking. */
export const SVR_MASK = 0x3ff;

export const LVT_MASKED = 1 << 16;
export const LVT_LEVEL = 1 << 15;
export const LVT_REMOTE_IRR = 1 << 14;
/** Delivery status, which only the APIC sets. */
export const LVT_STATUS = 1 << 12;
export const TIMER_MODE_MASK = 3 << 17;
export const TIMER_PERIODIC = 1 << 17;
export const TIMER_DEADLINE = 2 << 17;

/** Writable bits of each LVT entry, in order of their offsets from `LVT_TIMER`. */
export const LVT_WRITABLE: readonly number[] = [
  0x000300ff, // timer; TIMER_DEADLINE is added where CPUID shows it
  0x000107ff, // thermal
  0x000107ff, // performance counters
  0x0001a7ff, // LINT0
  0x0001a7ff, // LINT1
  0x000100ff, // error
];

/** Delivery modes, as in ICR, LVT, MSI data and redirection entries (bits 10:8). */
export const MODE_FIXED = 0;
export const MODE_LOWEST = 1;
export const MODE_SMI = 2;
export const MODE_NMI = 4;
export const MODE_INIT = 5;
export const MODE_STARTUP = 6;
export const MODE_EXTINT = 7;

export const ICR_LOGICAL = 1 << 11;
export const ICR_LEVEL = 1 << 14;
export const ICR_TRIGGER = 1 << 15;
export const ICR_MASK = 0x000ccfff;
/** Bits that #GP in x2APIC mode. Bit 12 was delivery status and is tolerated. */
export const ICR_X2_RESERVED = 0xfff32000;

export const SHORTHAND_NONE = 0;
export const SHORTHAND_SELF = 1;
export const SHORTHAND_ALL = 2;
export const SHORTHAND_OTHERS = 3;

export const ESR_SEND_ILLEGAL = 1 << 5;
export const ESR_RECEIVE_ILLEGAL = 1 << 6;
export const ESR_ILLEGAL_REGISTER = 1 << 7;

/** MSR 0x1b, APIC_BASE. */
export const BASE_BSC = 1 << 8;
export const BASE_X2APIC = 1 << 10;
export const BASE_ENABLE = 1 << 11;
export const BASE_DEFAULT = 0xfee00000;
export const APIC_PAGE_SIZE = 4096;
