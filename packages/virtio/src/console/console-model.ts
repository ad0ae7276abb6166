/**
 * virtio console: a console and, where asked for, further named ports.
 *
 * Source: virtio 1.2, 5.3. Port 0 is the console. With one port neither MULTIPORT nor the control
 * queues are offered, and the size is told by the configuration; with more, by control messages.
 * Data to the guest waits outside while the driver has no buffer for it; output that the host does
 * not take is offered again later and stalls its queue.
 *
 * Known inaccuracies: RESIZE has columns first, as 5.3.6.2 says; Linux before 6.15 reads rows
 * first. No emergency write before the driver is there but by its register.
 */
import type { ByteSink, Clock, Timer } from '@cloister/core';
import { state } from '@cloister/core/devices';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import { byteLength, type Chain, chainField } from '../queue/chain.js';
import type { Virtqueue } from '../queue/virtqueue.js';

export const CONSOLE_DEVICE_ID = 3;

export const CONSOLE_F_SIZE = 0;
export const CONSOLE_F_MULTIPORT = 1;
export const CONSOLE_F_EMERG_WRITE = 2;

/** Control events (5.3.6.2). */
const DEVICE_READY = 0;
const PORT_ADD = 1;
const PORT_READY = 3;
const CONSOLE_PORT = 4;
const RESIZE = 5;
const PORT_OPEN = 6;
const PORT_NAME = 7;
const CONTROL_SIZE = 8;

const COLS = 0;
const ROWS = 2;
const MAX_NR_PORTS = 4;
const EMERG_WR = 8;
const CONFIG_SIZE = 12;

const QUEUE_SIZE = 64;
const CONTROL_RX = 2;
const CONTROL_TX = 3;
/** Bytes of input that wait for a buffer; more waits at the host. */
const WAITING_MAX = 65_536;
/** Bytes that are put out at once. */
const PIECE = 4096;
/** Bytes that one event puts out at most: a driver may offer the same 4 GiB again and again. */
const BYTES_AT_ONCE = 262_144;
/** Control messages that wait for a buffer. */
const MESSAGES_MAX = 1024;
const RETRY_NS = 1_000_000;

/** One port's way to the host. */
export interface ConsolePortEnd {
  /** Shown in the guest as /dev/virtio-ports/NAME; port 0 has none. */
  readonly name: string;
  readonly output: ByteSink;
  /** The port can take input (true) or is full. */
  room(has: boolean): void;
}

export interface ConsolePorts {
  readonly clock: Clock;
  readonly ends: readonly ConsolePortEnd[];
}

export interface ConsoleModel extends VirtioModel<object> {
  /** Input from the host, to be called when the port has room. */
  receive(port: number, data: Uint8Array): void;
  resize(columns: number, rows: number): void;
}

interface PortState {
  /** Whether the driver has the port open; port 0 is without MULTIPORT. */
  open: boolean;
  input: Uint8Array;
  /** The buffer that is being put out, and how far. */
  output: Chain | null;
  written: number;
}

interface State {
  ports: PortState[];
  messages: Uint8Array[];
  ready: boolean;
}

const bytesField = state.bytes(WAITING_MAX);

class Console implements VirtioModel<State> {
  readonly deviceId = CONSOLE_DEVICE_ID;
  /** Other communication controller. */
  readonly pciClass = 0x078000;
  readonly features: readonly number[];
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(CONFIG_SIZE);
  readonly state: state.Field<State>;
  private readonly view = new DataView(this.config.buffer);
  private readonly multiport: boolean;
  private port: VirtioPort | null = null;
  private s: State;
  private timer: Timer | null = null;

  constructor(
    readonly name: string,
    private readonly ports: ConsolePorts,
  ) {
    const count = ports.ends.length;
    this.multiport = count > 1;
    const multiport = this.multiport ? [CONSOLE_F_MULTIPORT] : [];
    this.features = [CONSOLE_F_SIZE, ...multiport, CONSOLE_F_EMERG_WRITE];
    const queues = this.multiport ? 2 + 2 * count : 2;
    this.queueSizes = Array.from({ length: queues }, () => QUEUE_SIZE);
    this.view.setUint16(COLS, 80, true);
    this.view.setUint16(ROWS, 25, true);
    this.view.setUint32(MAX_NR_PORTS, count, true);
    this.s = this.fresh();
    this.state = state.record<State>({
      ports: state.list(
        state.record<PortState>({
          open: state.bool,
          input: bytesField,
          output: state.optional(chainField),
          written: state.int(0, 2 ** 32),
        }),
        count,
      ),
      messages: state.listUpTo(state.bytes(CONTROL_SIZE + 64), MESSAGES_MAX),
      ready: state.bool,
    });
  }

  private fresh(): State {
    const port = () => ({ open: false, input: new Uint8Array(0), output: null, written: 0 });
    return { ports: this.ports.ends.map(port), messages: [], ready: false };
  }

  connect(port: VirtioPort): void {
    this.port = port;
  }

  activate(): void {
    // Without control messages the console is open as soon as the driver is.
    if (this.port!.has(CONSOLE_F_MULTIPORT)) return;
    this.setOpen(0, true);
    // Linux looks at the size when it is told of a change, and not before.
    if (this.port!.has(CONSOLE_F_SIZE)) this.port!.configChanged();
  }

  /** emerg_wr (5.3.4) puts a character out without any queue. */
  writeConfig(offset: number, _size: number, value: number): void {
    if (offset === EMERG_WR) this.ports.ends[0]!.output.put(value & 0xff);
  }

  notify(index: number): void {
    if (index === CONTROL_TX && this.multiport) this.takeControl();
    else if (index === CONTROL_RX && this.multiport) this.sendControl();
    else if (index % 2 === 0) this.fill(portOf(index));
    else this.putOut(portOf(index));
  }

  // --- Data

  receive(index: number, data: Uint8Array): void {
    const port = this.s.ports[index];
    if (port === undefined) return;
    const room = WAITING_MAX - port.input.length;
    const joined = new Uint8Array(port.input.length + Math.min(data.length, room));
    joined.set(port.input);
    joined.set(data.subarray(0, room), port.input.length);
    port.input = joined;
    this.fill(index);
    if (!port.open) this.ports.ends[index]!.room(false);
  }

  /** Gives waiting input to the driver's buffers. */
  private fill(index: number): void {
    const port = this.s.ports[index];
    if (port === undefined || !port.open) return;
    const queue = this.port!.queue(receiveQueue(index));
    while (port.input.length > 0) {
      const chain = queue.pop();
      if (chain === null) break;
      const piece = port.input.subarray(0, byteLength(chain.writable));
      if (piece.length === 0 || !queue.write(chain, 0, piece)) {
        this.port!.needsReset('a console has a receive buffer that cannot be written');
        return;
      }
      queue.push(chain, piece.length);
      port.input = port.input.slice(piece.length);
    }
    queue.signal();
    this.ports.ends[index]!.room(port.input.length === 0);
  }

  /** Puts out what the driver sends, as far as the host takes it. */
  private putOut(index: number): void {
    const port = this.s.ports[index];
    const end = this.ports.ends[index];
    if (port === undefined || end === undefined) return;
    const queue = this.port!.queue(receiveQueue(index) + 1);
    let left = BYTES_AT_ONCE;
    for (;;) {
      port.output ??= queue.pop();
      if (port.output === null) break;
      const from = port.written;
      const isOut = this.putChain(queue, port, end, left);
      left -= port.written - from;
      if (!isOut) {
        this.retry();
        break;
      }
      queue.push(port.output, 0);
      port.output = null;
      port.written = 0;
    }
    queue.signal();
  }

  /** Puts out up to `limit` bytes; false when some are left, for now. */
  private putChain(
    queue: Virtqueue,
    port: PortState,
    { output }: ConsolePortEnd,
    limit: number,
  ): boolean {
    const chain = port.output!;
    const length = byteLength(chain.readable);
    const until = Math.min(length, port.written + limit);
    const piece = new Uint8Array(PIECE);
    while (port.written < until) {
      const part = piece.subarray(0, until - port.written);
      if (!queue.read(chain, port.written, part)) return true;
      for (const byte of part) {
        if (!output.put(byte)) return false;
        port.written++;
      }
    }
    return port.written === length;
  }

  private retry(): void {
    const { clock } = this.ports;
    this.timer ??= clock.at(clock.now() + RETRY_NS, () => {
      this.timer = null;
      for (const index of this.s.ports.keys()) this.putOut(index);
    });
  }

  // --- Control

  private setOpen(index: number, open: boolean): void {
    const port = this.s.ports[index];
    if (port === undefined) return;
    port.open = open;
    if (open) this.fill(index);
  }

  private takeControl(): void {
    const queue = this.port!.queue(CONTROL_TX);
    const message = new Uint8Array(CONTROL_SIZE);
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      if (queue.read(chain, 0, message)) this.control(new DataView(message.buffer));
      queue.push(chain, 0);
    }
    queue.signal();
  }

  private control(view: DataView): void {
    const id = view.getUint32(0, true);
    const value = view.getUint16(6, true);
    switch (view.getUint16(4, true)) {
      case DEVICE_READY:
        this.s.ready = value === 1;
        if (this.s.ready) for (const index of this.s.ports.keys()) this.tell(index, PORT_ADD, 1);
        return;
      case PORT_READY: {
        const end = this.ports.ends[id];
        if (end === undefined || value !== 1) return;
        if (id === 0) {
          this.tell(0, CONSOLE_PORT, 1);
          this.tellSize();
        } else this.tell(id, PORT_NAME, 1, new TextEncoder().encode(end.name));
        this.tell(id, PORT_OPEN, 1);
        return;
      }
      case PORT_OPEN:
        this.setOpen(id, value === 1);
        return;
      default: // events that only a device sends
    }
  }

  private tell(id: number, event: number, value: number, data = new Uint8Array(0)): void {
    if (this.s.messages.length >= MESSAGES_MAX) return;
    const message = new Uint8Array(CONTROL_SIZE + data.length);
    const view = new DataView(message.buffer);
    view.setUint32(0, id, true);
    view.setUint16(4, event, true);
    view.setUint16(6, value, true);
    message.set(data, CONTROL_SIZE);
    this.s.messages.push(message);
    this.sendControl();
  }

  private sendControl(): void {
    const queue = this.port!.queue(CONTROL_RX);
    while (this.s.messages.length > 0) {
      const chain = queue.pop();
      if (chain === null) break;
      const message = this.s.messages.shift()!;
      const fits = queue.write(chain, 0, message);
      queue.push(chain, fits ? message.length : 0);
    }
    queue.signal();
  }

  resize(columns: number, rows: number): void {
    this.view.setUint16(COLS, columns, true);
    this.view.setUint16(ROWS, rows, true);
    if (this.multiport && this.s.ready) this.tellSize();
    this.port!.configChanged();
  }

  private tellSize(): void {
    this.tell(0, RESIZE, 0, this.config.slice(COLS, ROWS + 2));
  }

  // --- Life

  reset(): void {
    this.timer?.cancel();
    this.timer = null;
    this.s = this.fresh();
    for (const end of this.ports.ends) end.room(false);
  }

  save(): State {
    return structuredClone(this.s);
  }

  load(saved: State): void {
    this.reset();
    this.s = saved;
    if (saved.ports.some(({ output }) => output !== null)) this.retry();
  }

  dispose(): void {
    this.timer?.cancel();
  }
}

/** Receive queue of a port (5.3.2): 0, then 4, 6, …; its transmit queue is the next one. */
function receiveQueue(port: number): number {
  return port === 0 ? 0 : 2 + 2 * port;
}

function portOf(queue: number): number {
  return queue < 2 ? 0 : (queue >> 1) - 1;
}

/** A console; `console0` unless named. */
export function consoleModel(ports: ConsolePorts, name = 'console0'): ConsoleModel {
  return new Console(name, ports) as unknown as ConsoleModel;
}
