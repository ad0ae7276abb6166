/**
 * Plugin: a serial port of a PC (COM1 to COM4), with its output to a byte sink and its input from
 * a source of the host's.
 *
 * Input goes through the VM's `InputPort`, so that a run with it can be recorded. Output is not
 * part of a recording: a sink that refuses bytes stalls the guest at moments that no replay
 * repeats, so a sink for a repeatable run takes every byte.
 */
import type {
  ByteSink,
  InputSource,
  PluginContext,
  ServiceToken,
  VmPlugin,
} from '../interfaces/index.js';
import { uart16550 } from './uart-16550.js';

/** The host's end of a serial line's input. */
export interface SerialInputPort {
  /**
   * Sends bytes to the guest. Returns how many were taken: fewer than all when the queue is full;
   * the rest is to be pushed again after `onRoom`.
   */
  push(data: Uint8Array): number;
  /** Called when there is room again. */
  onRoom(listener: () => void): void;
  /** False once no more input will come, e.g. at the end of a file. */
  setLive(live: boolean): void;
}

/** Something that feeds a serial line, e.g. a terminal. */
export interface SerialInput {
  /** Whether input may come: a live source makes the default clock the wall's. */
  readonly live: boolean;
  /**
   * Waits until the guest raises RTS: for input that is there before a driver is, which clears the
   * receiver when it starts. A guest that never raises RTS never gets it.
   */
  readonly waitsForRts?: boolean;
  /** Called once, when the VM starts. */
  connect(port: SerialInputPort): void;
  /** Called once, when the VM is disposed. */
  disconnect?(): void | Promise<void>;
}

export interface SerialOptions {
  /** Which port; `com1` unless given. */
  readonly port?: 'com1' | 'com2' | 'com3' | 'com4';
  /** Takes what the guest sends; without it only `VmEvents.console` does. */
  readonly output?: ByteSink;
  /** Feeds the line; without it the guest receives nothing but what `SERIAL_INPUT` is given. */
  readonly input?: SerialInput;
}

/** COM1's input end, for a host program that types by itself. */
export const SERIAL_INPUT: ServiceToken<SerialInputPort> = {
  key: Symbol.for('@cloister/core/serial-input'),
};

const PORTS = {
  com1: { base: 0x3f8, irq: 4, index: 0 },
  com2: { base: 0x2f8, irq: 3, index: 1 },
  com3: { base: 0x3e8, irq: 4, index: 2 },
  com4: { base: 0x2e8, irq: 3, index: 3 },
} as const;

/** Longest piece that is queued at once; the UART's own queue always has room for one. */
const PIECE = 256;
/** Bytes that may be under way to the UART. */
const BOUND = 16 * PIECE;

function inputPort(source: InputSource): SerialInputPort {
  return {
    push(data) {
      for (let at = 0; at < data.length; at += PIECE) {
        if (!source.push(data.subarray(at, at + PIECE))) return at;
      }
      return data.length;
    },
    onRoom: (listener) => source.onRoom(listener),
    setLive: (live) => source.setLive(live),
  };
}

function setup(context: PluginContext, options: SerialOptions): void {
  const port = options.port ?? 'com1';
  const { base, irq, index } = PORTS[port];
  const name = `serial${index}`;
  const { input, output } = options;
  const notReady = () => input?.waitsForRts === true && !uart.requestToSend;
  const hold = () => source.hold(uart.waiting > 0 || notReady());
  const uart = uart16550({ name, base })({
    irq: context.irq(irq),
    clock: context.clock,
    output: {
      put(byte) {
        if (output !== undefined && !output.put(byte)) return false;
        context.consoleOutput(name, byte);
        return true;
      },
    },
    // Host input waits outside while the UART still holds some.
    room: hold,
  });
  const source = context.input.source(
    name,
    (data) => {
      uart.receive(data);
      hold();
    },
    BOUND,
  );
  hold();
  context.addDevice(uart);
  const acpiName = port.toUpperCase();
  context.addAcpiNode({
    name: acpiName,
    hid: 'PNP0501',
    uid: index + 1,
    io: { base, length: 8 },
    gsi: irq,
    edge: true,
  });
  const hostEnd = inputPort(source);
  if (index === 0) context.provide(SERIAL_INPUT, hostEnd);
  if (input === undefined) return;
  source.setLive(input.live);
  context.onStart(() => input.connect(hostEnd));
  context.onDispose(() => input.disconnect?.());
}

/** A serial port; see the head of this file. */
export function serial(options: SerialOptions = {}): VmPlugin {
  return {
    name: `serial-${options.port ?? 'com1'}`,
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: ['console.serial'],
    setup: (context) => setup(context, options),
  };
}
