/**
 * 16550A UART.
 *
 * Source: National Semiconductor PC16550D, "Universal Asynchronous Receiver/Transmitter with
 * FIFOs" (TL/C/8652), section 8, register names as there.
 *
 * Known inaccuracies: a byte is sent the moment it is written (no baud rate on the way out), so
 * THRE and TEMT fall only while the sink refuses; bytes arrive as fast as the guest reads them,
 * only the receiver's time-out counts character times; parity and framing errors never occur;
 * 5- to 7-bit words are passed on as 8 bits; OUT1 and DMA mode have no effect.
 */
import type { DeviceRegion, Snapshot, Timer } from '../interfaces/index.js';
import { ByteQueue } from './byte-queue.js';
import { readBytewise, writeBytewise } from './bytewise.js';
import { loadState, saveState } from './state.js';
import { pendingInterrupt } from './uart-16550-interrupts.js';
import { modemDeltas, modemLines } from './uart-16550-modem.js';
import type { Uart16550, Uart16550Options, Uart16550Ports } from './uart-16550-ports.js';
import {
  FCR_ENABLE,
  FCR_RCVR_RESET,
  FCR_XMIT_RESET,
  FIFO_DEPTH,
  FORMAT,
  IER_DLM,
  IER_ETBEI,
  IIR_FCR,
  IIR_FIFOS_ENABLED,
  IIR_NONE,
  IIR_THR_EMPTY,
  LCR,
  LCR_BREAK,
  LCR_DLAB,
  LSR,
  LSR_BI,
  LSR_DR,
  LSR_OE,
  LSR_TEMT,
  LSR_THRE,
  MCR,
  MCR_LOOP,
  MCR_OUT2,
  MCR_RTS,
  MSR,
  powerOn,
  QUEUE_LIMIT,
  RBR_THR_DLL,
  type Registers,
  SCR,
  type State,
} from './uart-16550-registers.js';

/** Between two offers to a sink that refused. */
const RETRY_NS = 100_000;
/** The crystal of a PC's serial port, divided by 16. */
const BASE_BAUD = 115_200;

class Uart implements Uart16550 {
  readonly name: string;
  readonly regions: readonly DeviceRegion[];
  private s: Registers = powerOn();
  private readonly rx = new ByteQueue();
  private readonly queue = new ByteQueue();
  private readonly tx = new ByteQueue();
  private timeoutTimer: Timer | null = null;
  private retryTimer: Timer | null = null;

  constructor(
    options: Uart16550Options,
    private readonly ports: Uart16550Ports,
  ) {
    this.name = options.name;
    this.regions = [{ space: 'io', base: options.base, length: 8, name: options.name }];
  }

  read(_region: number, offset: number, size: number): number {
    return readBytewise(offset, size, (at) => this.readByte(at));
  }

  write(_region: number, offset: number, size: number, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => this.writeByte(at, byte));
  }

  private readByte(offset: number): number {
    const s = this.s;
    switch (offset) {
      case RBR_THR_DLL:
        return s.lcr & LCR_DLAB ? s.dll : this.readRbr();
      case IER_DLM:
        return s.lcr & LCR_DLAB ? s.dlm : s.ier;
      case IIR_FCR:
        return this.readIir();
      case LCR:
        return s.lcr;
      case MCR:
        return s.mcr;
      case LSR:
        return this.readLsr();
      case MSR:
        return this.readMsr();
      case SCR:
        return s.scr;
      default:
        return 0xff;
    }
  }

  private writeByte(offset: number, value: number): void {
    const s = this.s;
    switch (offset) {
      case RBR_THR_DLL:
        if (s.lcr & LCR_DLAB) s.dll = value;
        else this.writeThr(value);
        break;
      case IER_DLM:
        if (s.lcr & LCR_DLAB) s.dlm = value;
        else this.writeIer(value);
        break;
      case IIR_FCR:
        this.writeFcr(value);
        break;
      case LCR:
        this.writeLcr(value);
        break;
      case MCR:
        this.writeMcr(value);
        break;
      case SCR:
        s.scr = value;
        break;
      default:
        // LSR and MSR are written by factory tests only.
        break;
    }
  }

  // --- Receiver

  get room(): number {
    return QUEUE_LIMIT - this.queue.length;
  }

  get waiting(): number {
    return this.queue.length;
  }

  get requestToSend(): boolean {
    return (this.s.mcr & (MCR_LOOP | MCR_RTS)) === MCR_RTS;
  }

  receive(data: Uint8Array): number {
    let taken = 0;
    for (const byte of data) {
      if (this.room === 0) {
        this.s.lsrErrors |= LSR_OE;
        break;
      }
      this.queue.push(byte);
      taken++;
    }
    this.fillRx();
    this.updateIrq();
    return taken;
  }

  private get fifosEnabled(): boolean {
    return (this.s.fcr & FCR_ENABLE) !== 0;
  }

  private get rxDepth(): number {
    return this.fifosEnabled ? FIFO_DEPTH : 1;
  }

  /** Moves waiting bytes into the receiver. In loopback the line in is disconnected. */
  private fillRx(): void {
    if (this.s.mcr & MCR_LOOP) return;
    let moved = false;
    while (this.queue.length > 0 && this.rx.length < this.rxDepth) {
      this.rx.push(this.queue.shift());
      moved = true;
    }
    if (!moved) return;
    this.startTimeout();
    this.ports.room?.();
  }

  private readRbr(): number {
    if (this.rx.length === 0) return 0;
    const byte = this.rx.shift();
    this.s.timedOut = false;
    this.fillRx();
    // Reading restarts the time-out of what is left.
    this.startTimeout();
    this.updateIrq();
    return byte;
  }

  /** Four character times after the last arrival or read (PC16550D, 8.9). */
  private startTimeout(): void {
    if (!this.fifosEnabled || this.rx.length === 0) {
      this.s.timedOut = false;
      this.setTimeoutAt(null);
      return;
    }
    if (this.s.timedOut) return;
    const divisor = Math.max(1, this.s.dll | (this.s.dlm << 8));
    const bits = 7 + (this.s.lcr & 3) + ((this.s.lcr >> 2) & 1) + ((this.s.lcr >> 3) & 1);
    const wait = Math.round((4 * bits * divisor * 1e9) / BASE_BAUD);
    this.setTimeoutAt(this.ports.clock.now() + wait);
  }

  private setTimeoutAt(at: number | null): void {
    this.timeoutTimer?.cancel();
    this.timeoutTimer = null;
    this.s.timeoutAt = at;
    if (at === null) return;
    this.timeoutTimer = this.ports.clock.at(at, () => {
      this.timeoutTimer = null;
      this.s.timeoutAt = null;
      this.s.timedOut = this.rx.length > 0;
      this.updateIrq();
    });
  }

  // --- Transmitter

  private writeThr(value: number): void {
    this.s.threPending = false;
    if (this.s.mcr & MCR_LOOP) this.loop(value);
    else this.send(value);
    this.updateIrq();
  }

  private loop(value: number): void {
    this.receiveOne(value);
    this.s.threPending = true;
  }

  /** A byte that the UART sends to itself: nobody makes it wait, so it may overrun. */
  private receiveOne(byte: number): void {
    if (this.rx.length >= this.rxDepth) {
      this.s.lsrErrors |= LSR_OE;
      // RBR is overwritten; a full FIFO keeps what it has (PC16550D, 8.4, bit 1).
      if (this.fifosEnabled) return;
      this.rx.clear();
    }
    this.rx.push(byte);
    this.startTimeout();
  }

  private send(value: number): void {
    const depth = this.fifosEnabled ? FIFO_DEPTH : 1;
    if (this.tx.length === 0 && this.ports.output.put(value)) {
      this.s.threPending = true;
      return;
    }
    // A guest that writes without looking at THRE loses bytes, as on the chip.
    if (this.tx.length < depth) this.tx.push(value);
    this.retryLater();
  }

  outputReady(): void {
    while (this.tx.length > 0 && this.ports.output.put(this.tx.peek())) this.tx.shift();
    if (this.tx.length > 0) {
      this.retryLater();
      return;
    }
    if (this.s.retryAt === null) return;
    this.setRetryAt(null);
    this.s.threPending = true;
    this.updateIrq();
  }

  private retryLater(): void {
    this.setRetryAt(this.ports.clock.now() + RETRY_NS);
  }

  private setRetryAt(at: number | null): void {
    this.retryTimer?.cancel();
    this.s.retryAt = at;
    this.retryTimer = at === null ? null : this.ports.clock.at(at, () => this.outputReady());
  }

  // --- Control

  private writeIer(value: number): void {
    const before = this.s.ier;
    this.s.ier = value & 0x0f;
    // Enabling THRE's interrupt with the transmitter empty raises it; drivers rely on it.
    if ((value & IER_ETBEI) !== 0 && (before & IER_ETBEI) === 0 && this.tx.length === 0) {
      this.s.threPending = true;
    }
    this.updateIrq();
  }

  private writeFcr(value: number): void {
    const toggled = ((value ^ this.s.fcr) & FCR_ENABLE) !== 0;
    this.s.fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
    if (toggled || (value & FCR_ENABLE && value & FCR_RCVR_RESET)) this.clearRx();
    if (toggled || (value & FCR_ENABLE && value & FCR_XMIT_RESET)) this.clearTx();
    this.fillRx();
    this.updateIrq();
  }

  private clearRx(): void {
    this.rx.clear();
    this.s.timedOut = false;
    this.setTimeoutAt(null);
  }

  private clearTx(): void {
    this.setRetryAt(null);
    if (this.tx.length > 0) this.s.threPending = true;
    this.tx.clear();
  }

  private writeLcr(value: number): void {
    const broke = (value & LCR_BREAK) !== 0 && (this.s.lcr & LCR_BREAK) === 0;
    this.s.lcr = value;
    if (broke && this.s.mcr & MCR_LOOP) {
      // A break that the UART sends to itself arrives as a zero byte with BI.
      this.s.lsrErrors |= LSR_BI;
      this.receiveOne(0);
    }
    this.updateIrq();
  }

  private writeMcr(value: number): void {
    const before = modemLines(this.s.mcr);
    const wasReady = this.requestToSend;
    this.s.mcr = value & 0x1f;
    this.s.msrDeltas |= modemDeltas(before, modemLines(this.s.mcr));
    this.fillRx();
    this.updateIrq();
    if (this.requestToSend !== wasReady) this.ports.room?.();
  }

  private readMsr(): number {
    const value = modemLines(this.s.mcr) | this.s.msrDeltas;
    this.s.msrDeltas = 0;
    this.updateIrq();
    return value;
  }

  private readLsr(): number {
    let value = this.s.lsrErrors;
    if (this.rx.length > 0) value |= LSR_DR;
    if (this.tx.length === 0) value |= LSR_THRE | LSR_TEMT;
    this.s.lsrErrors = 0;
    this.updateIrq();
    return value;
  }

  // --- Interrupts

  private readIir(): number {
    const pending = pendingInterrupt(this.s, this.rx.length);
    if (pending === IIR_THR_EMPTY) {
      this.s.threPending = false;
      this.updateIrq();
    }
    return pending | (this.fifosEnabled ? IIR_FIFOS_ENABLED : 0);
  }

  /** On a PC, OUT2 gates the interrupt onto the bus; loopback takes OUT2 away. */
  private updateIrq(): void {
    const connected = (this.s.mcr & (MCR_OUT2 | MCR_LOOP)) === MCR_OUT2;
    const pending = pendingInterrupt(this.s, this.rx.length);
    this.ports.irq.set(connected && pending !== IIR_NONE);
  }

  // --- Life

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.load(powerOn());
  }

  snapshot(): Snapshot {
    const state: State = {
      ...this.s,
      rx: this.rx.toBytes(),
      queue: this.queue.toBytes(),
      tx: this.tx.toBytes(),
    };
    return saveState(FORMAT, state);
  }

  restore(snapshot: Snapshot): void {
    this.load(loadState(FORMAT, snapshot));
  }

  private load(state: State): void {
    const { rx, queue, tx, ...registers } = state;
    this.s = registers;
    this.rx.load(rx);
    this.queue.load(queue);
    this.tx.load(tx);
    this.setTimeoutAt(registers.timeoutAt);
    this.setRetryAt(registers.retryAt);
    this.ports.room?.();
    this.updateIrq();
  }

  dispose(): void {
    this.timeoutTimer?.cancel();
    this.retryTimer?.cancel();
  }
}

/** A 16550A at `options.base`. */
export function uart16550(options: Uart16550Options): (ports: Uart16550Ports) => Uart16550 {
  return (ports) => new Uart(options, ports);
}
