/**
 * Plugin: a virtio console (hvc0 in Linux) and further named ports, with the ends that a serial
 * port has: a byte sink for output, a source for input.
 */
import type { ByteSink, PluginContext, ServiceToken, VmPlugin } from '@cloister/core';
import { VmmError } from '@cloister/core';
import type { SerialInput, SerialInputPort } from '@cloister/core/devices';
import { VIRTIO_BUS, VIRTIO_TRANSPORT } from '../transport/bus.js';
import { consoleModel } from './console-model.js';

export interface ConsoleEnd {
  /** Takes what the guest sends; without it only `VmEvents.console` does. */
  readonly output?: ByteSink;
  /** Feeds the port. */
  readonly input?: SerialInput;
}

export interface NamedConsoleEnd extends ConsoleEnd {
  /** The guest finds the port as /dev/virtio-ports/NAME. At most 64 bytes. */
  readonly name: string;
}

export interface ConsoleOptions extends ConsoleEnd {
  /** Further ports, at most 15. */
  readonly ports?: readonly NamedConsoleEnd[];
}

/** The host's end of a console while the VM runs. */
export interface ConsoleControl {
  /** The terminal has this many columns and rows. */
  resize(columns: number, rows: number): void;
  /** Input ends: 0 is the console, then the named ports in order. */
  readonly inputs: readonly SerialInputPort[];
}

export const VIRTIO_CONSOLE: ServiceToken<ConsoleControl> = {
  key: Symbol.for('@cloister/virtio/console'),
};

const NAME = 'console0';
const PIECE = 4096;
const PORTS_MAX = 15;

/** A console for the VM; see the head of this file. */
export function virtioConsole(options: ConsoleOptions = {}): VmPlugin {
  const { ports = [] } = options;
  const names = ports.map(({ name }) => name);
  const good = names.every((name) => /^[\x21-\x7e]{1,64}$/.test(name) && !name.includes('/'));
  if (ports.length > PORTS_MAX || !good || new Set(names).size < names.length) {
    throw new VmmError('invalid-argument', `the names of console ports are wrong: ${names}`, {
      remedy: 'give at most 15 ports, each with another name of 64 ASCII characters or fewer',
    });
  }
  return {
    name: 'virtio-console',
    version: '0.1.0',
    api: 1,
    requires: [VIRTIO_TRANSPORT],
    provides: ['console.virtio'],
    setup: (context) => setup(context, [{ name: '', ...options }, ...ports]),
  };
}

function setup(context: PluginContext, ends: readonly NamedConsoleEnd[]): void {
  const sourceName = (index: number) => (index === 0 ? NAME : `${NAME}.${index}`);
  const sources = ends.map((_, index) => {
    return context.input.source(
      sourceName(index),
      (data) => model.receive(index, data),
      16 * PIECE,
    );
  });
  const model = consoleModel({
    clock: context.clock,
    ends: ends.map(({ name, output }, index) => ({
      name,
      output: {
        put(byte) {
          if (output !== undefined && !output.put(byte)) return false;
          context.consoleOutput(sourceName(index), byte);
          return true;
        },
      },
      room: (has) => sources[index]!.hold(!has),
    })),
  });
  // Input waits until the driver has opened its port.
  for (const source of sources) source.hold(true);
  const size = context.input.source(`${NAME}.size`, (data) => {
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    if (data.length === 4) model.resize(view.getUint16(0, true), view.getUint16(2, true));
  });
  context.get(VIRTIO_BUS).attach(context, model as never);
  const inputs = sources.map(
    (source): SerialInputPort => ({
      push(data) {
        for (let at = 0; at < data.length; at += PIECE) {
          if (!source.push(data.subarray(at, at + PIECE))) return at;
        }
        return data.length;
      },
      onRoom: (listener) => source.onRoom(listener),
      setLive: (live) => source.setLive(live),
    }),
  );
  context.provide(VIRTIO_CONSOLE, {
    resize(columns, rows) {
      const message = new Uint8Array(4);
      new DataView(message.buffer).setUint16(0, columns, true);
      new DataView(message.buffer).setUint16(2, rows, true);
      size.push(message);
    },
    inputs,
  });
  ends.forEach(({ input }, index) => {
    if (input === undefined) return;
    sources[index]!.setLive(input.live);
    context.onStart(() => input.connect(inputs[index]!));
    context.onDispose(() => input.disconnect?.());
  });
}
