/**
 * The host's side of a vsock device: what the device asks of it, and the events by which it
 * answers. Events enter through the VM's input port, so that a recorded run replays without it.
 *
 * A connection is known by a number that is never used again: odd where a program of the host's
 * began it, even where the guest did. The device ignores events of numbers that it does not know.
 */

/** Bytes of a connection that each side holds for the other at most. */
export const VSOCK_WINDOW = 65_536;
/** Connections at a time, over both directions. */
export const VSOCK_CONNECTIONS = 1024;

export interface VsockHost {
  /** Begins to take connections. Called once, before the guest runs. */
  start(): Promise<void>;
  /** Every connection is gone; the host's numbers go on above `after`. */
  reset(after: number): void;
  /** The guest wants port `port` of the host: answer with `connected` or `closed`. */
  connect(id: number, port: number): void;
  /** The guest took a connection of the host's, coming from `port`; `closed` if it is gone. */
  accept(id: number, port: number): void;
  /** Passes on data of the guest's: at most `VSOCK_WINDOW` bytes are not yet `sent`. */
  send(id: number, data: Uint8Array): void;
  /** So many more bytes of `data` events may come. */
  grant(id: number, bytes: number): void;
  /** The guest sends nothing more. */
  end(id: number): void;
  /** The connection is over; what was sent still goes out. Its number is free. */
  close(id: number): void;
  dispose(): Promise<void>;
}

export type VsockEvent = { readonly id: number } & (
  | { readonly kind: 'open'; readonly port: number }
  | { readonly kind: 'connected' }
  | { readonly kind: 'end' }
  | { readonly kind: 'closed' }
  | { readonly kind: 'sent'; readonly bytes: number }
  | { readonly kind: 'data'; readonly data: Uint8Array }
);

/** In the order of their codes, from 1. */
const KINDS = ['open', 'connected', 'end', 'closed', 'sent', 'data'] as const;
/** le32 kind, 4 bytes of 0, binary64 id; then le32 port or count, or data. */
const EVENT_HEADER = 16;

export function encodeEvent(event: VsockEvent): Uint8Array {
  const { kind, id } = event;
  const data = kind === 'data' ? event.data : new Uint8Array(hasNumber(kind) ? 4 : 0);
  const bytes = new Uint8Array(EVENT_HEADER + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, KINDS.indexOf(kind) + 1, true);
  view.setFloat64(8, id, true);
  bytes.set(data, EVENT_HEADER);
  if (kind === 'open') view.setUint32(EVENT_HEADER, event.port, true);
  if (kind === 'sent') view.setUint32(EVENT_HEADER, event.bytes, true);
  return bytes;
}

/** An event from a recording, which may hold anything: null for what is none. */
export function decodeEvent(bytes: Uint8Array): VsockEvent | null {
  if (bytes.length < EVENT_HEADER) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const kind = KINDS[view.getUint32(0, true) - 1];
  if (kind === undefined) return null;
  const id = view.getFloat64(8, true);
  if (kind === 'data') return { kind, id, data: bytes.subarray(EVENT_HEADER) };
  if (!hasNumber(kind)) return { kind, id } as VsockEvent;
  if (bytes.length < EVENT_HEADER + 4) return null;
  const number = view.getUint32(EVENT_HEADER, true);
  return kind === 'open' ? { kind, id, port: number } : { kind, id, bytes: number };
}

function hasNumber(kind: VsockEvent['kind']): kind is 'open' | 'sent' {
  return kind === 'open' || kind === 'sent';
}

/** What a host is made with. */
export interface VsockHostPorts {
  /** Hands an event over; false when it has to wait for `onRoom`. */
  push(event: VsockEvent): boolean;
  onRoom(listener: () => void): void;
}

/** A host that nobody is at: for a replay, where the recording has all events. */
export const NO_HOST: VsockHost = {
  start: () => Promise.resolve(),
  reset() {},
  connect() {},
  accept() {},
  send() {},
  grant() {},
  end() {},
  close() {},
  dispose: () => Promise.resolve(),
};
