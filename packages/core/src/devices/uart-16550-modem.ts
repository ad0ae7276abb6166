/**
 * The modem lines of the 16550A: what MSR shows of them.
 *
 * Source: National Semiconductor PC16550D (TL/C/8652), section 8, MCR and MSR.
 */
import { MCR_LOOP, MCR_RTS, MSR_CTS, MSR_DCD, MSR_DSR, MSR_RI } from './uart-16550-registers.js';

/** CTS, DSR, RI and DCD: a connected terminal, or in loopback RTS, DTR, OUT1 and OUT2. */
export function modemLines(mcr: number): number {
  if ((mcr & MCR_LOOP) === 0) return MSR_CTS | MSR_DSR | MSR_DCD;
  const swapped = ((mcr & MCR_RTS) >> 1) | ((mcr & 1) << 1) | (mcr & 0x0c);
  return swapped << 4;
}

/** The delta bits that a change of the lines sets. */
export function modemDeltas(before: number, after: number): number {
  // DCTS, DDSR and DDCD follow any change, TERI only the trailing edge of RI.
  const any = ((before ^ after) >> 4) & 0x0b;
  return before & MSR_RI && !(after & MSR_RI) ? any | 0x04 : any;
}
