/**
 * Registers of the 16550A: offsets, bits, and the record that is saved.
 *
 * Source: National Semiconductor PC16550D (TL/C/8652), section 8 and table 2.
 */
import { bool, bytes, optional, record, type StateFormat, time, u8 } from './state.js';

export const FIFO_DEPTH = 16;
/** Host bytes that may wait behind the receiver FIFO. */
export const QUEUE_LIMIT = 4096;

// Register offsets.
export const RBR_THR_DLL = 0;
export const IER_DLM = 1;
export const IIR_FCR = 2;
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;

export const IER_ERBFI = 0x01;
export const IER_ETBEI = 0x02;
export const IER_ELSI = 0x04;
export const IER_EDSSI = 0x08;

export const IIR_NONE = 0x01;
export const IIR_MODEM_STATUS = 0x00;
export const IIR_THR_EMPTY = 0x02;
export const IIR_RECEIVED_DATA = 0x04;
export const IIR_LINE_STATUS = 0x06;
export const IIR_CHARACTER_TIMEOUT = 0x0c;
export const IIR_FIFOS_ENABLED = 0xc0;

export const FCR_ENABLE = 0x01;
export const FCR_RCVR_RESET = 0x02;
export const FCR_XMIT_RESET = 0x04;
export const TRIGGER_LEVELS = [1, 4, 8, 14] as const;

export const LCR_DLAB = 0x80;
export const LCR_BREAK = 0x40;

export const MCR_RTS = 0x02;
export const MCR_OUT2 = 0x08;
export const MCR_LOOP = 0x10;

export const LSR_DR = 0x01;
export const LSR_OE = 0x02;
export const LSR_BI = 0x10;
export const LSR_THRE = 0x20;
export const LSR_TEMT = 0x40;

export const MSR_CTS = 0x10;
export const MSR_DSR = 0x20;
export const MSR_RI = 0x40;
export const MSR_DCD = 0x80;

export interface State {
  ier: number;
  fcr: number;
  lcr: number;
  mcr: number;
  /** OE and BI; DR, THRE and TEMT follow from the queues. */
  lsrErrors: number;
  /** The delta bits; the others follow from the lines. */
  msrDeltas: number;
  scr: number;
  dll: number;
  dlm: number;
  /** The receiver FIFO (or RBR). */
  rx: Uint8Array;
  /** Bytes that wait outside the UART. */
  queue: Uint8Array;
  /** The transmitter FIFO (or THR): not empty only while the sink refuses. */
  tx: Uint8Array;
  /** THRE's interrupt: set when the transmitter empties, cleared by reading IIR or writing THR. */
  threPending: boolean;
  /** When the receiver's time-out falls due, or null. */
  timeoutAt: number | null;
  timedOut: boolean;
  /** When a refused byte is offered again, or null. */
  retryAt: number | null;
}

/** The state but for the bytes on their way. */
export type Registers = Omit<State, 'rx' | 'queue' | 'tx'>;

export const FORMAT: StateFormat<State> = {
  type: 'uart-16550a',
  version: 1,
  field: record<State>({
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    lsrErrors: u8,
    msrDeltas: u8,
    scr: u8,
    dll: u8,
    dlm: u8,
    rx: bytes(FIFO_DEPTH),
    queue: bytes(QUEUE_LIMIT),
    tx: bytes(FIFO_DEPTH),
    threPending: bool,
    timeoutAt: optional(time),
    timedOut: bool,
    retryAt: optional(time),
  }),
};

export function powerOn(): State {
  return {
    ier: 0,
    fcr: 0,
    lcr: 0,
    mcr: 0,
    lsrErrors: 0,
    msrDeltas: 0,
    scr: 0,
    dll: 12,
    dlm: 0,
    rx: new Uint8Array(0),
    queue: new Uint8Array(0),
    tx: new Uint8Array(0),
    threPending: false,
    timeoutAt: null,
    timedOut: false,
    retryAt: null,
  };
}
