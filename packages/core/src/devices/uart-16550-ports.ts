/**
 * What a 16550A is to the machine around it: where it lies, what it is connected to, and the end of
 * the line that the host has.
 */
import type { ByteSink, Clock, Device, IrqLine } from '../interfaces/index.js';

export interface Uart16550Options {
  /** Unique name, e.g. `serial0`. */
  readonly name: string;
  /** I/O port of the first register. */
  readonly base: number;
}

/** What a UART is connected to. */
export interface Uart16550Ports {
  readonly irq: IrqLine;
  readonly clock: Clock;
  /** Takes what is sent; while it refuses, the transmitter is busy. */
  readonly output: ByteSink;
  /** Called when `waiting` became less or RTS changed, or may have. */
  readonly room?: () => void;
}

/** A UART and its receiving end. */
export interface Uart16550 extends Device {
  /** Bytes that `receive` would take now. */
  readonly room: number;
  /** Bytes that wait behind the receiver FIFO. */
  readonly waiting: number;
  /** RTS on the line: the guest is ready to receive. Most drivers raise it, not all. */
  readonly requestToSend: boolean;
  /**
   * Bytes that arrive at the line; they wait in a bounded queue. Returns how many were taken; a
   * byte beyond that is lost and shows as an overrun (LSR.OE).
   */
  receive(data: Uint8Array): number;
  /** Offers a refused byte again, without waiting for the next try. */
  outputReady(): void;
}
