/**
 * The interrupts of the 16550A by priority, as IIR identifies them.
 *
 * Source: National Semiconductor PC16550D (TL/C/8652), table 4.
 */
import {
  FCR_ENABLE,
  IER_EDSSI,
  IER_ELSI,
  IER_ERBFI,
  IER_ETBEI,
  IIR_CHARACTER_TIMEOUT,
  IIR_LINE_STATUS,
  IIR_MODEM_STATUS,
  IIR_NONE,
  IIR_RECEIVED_DATA,
  IIR_THR_EMPTY,
  type Registers,
  TRIGGER_LEVELS,
} from './uart-16550-registers.js';

/** The pending interrupt of highest priority, with `received` bytes in the receiver. */
export function pendingInterrupt(s: Registers, received: number): number {
  if (s.ier & IER_ELSI && s.lsrErrors !== 0) return IIR_LINE_STATUS;
  if (s.ier & IER_ERBFI) {
    if (received >= triggerLevel(s.fcr)) return IIR_RECEIVED_DATA;
    if (s.timedOut) return IIR_CHARACTER_TIMEOUT;
  }
  if (s.ier & IER_ETBEI && s.threPending) return IIR_THR_EMPTY;
  if (s.ier & IER_EDSSI && s.msrDeltas !== 0) return IIR_MODEM_STATUS;
  return IIR_NONE;
}

/** Bytes in the receiver that raise its interrupt. */
function triggerLevel(fcr: number): number {
  return (fcr & FCR_ENABLE) !== 0 ? (TRIGGER_LEVELS[fcr >> 6] ?? 1) : 1;
}
