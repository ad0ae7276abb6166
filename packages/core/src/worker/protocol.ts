/**
 * What a host and the VM in its Worker say to each other: plain messages, nothing function-valued.
 *
 * The Worker says `ready`, the host answers `start`, the Worker `started` or `failed`. From then on
 * the host calls and the Worker answers by number; console bytes and the end of the run come
 * unasked. Other messages on the same line belong to somebody else and are passed over.
 */
import type { Snapshot, VmEnd } from '../interfaces/index.js';
import type { VmSummary } from '../machine/vm.js';
import type { WireError } from './wire-error.js';

/** Changes with every change of the messages. */
export const PROTOCOL = 1;

/** What the host can have done, with arguments and results that can be cloned. */
export interface Calls {
  summary(): VmSummary;
  input(bytes: Uint8Array): void;
  closeInput(): void;
  /** Whether the host holds the VM now: a resume may have come first, or the end. */
  pause(at: number | undefined): boolean;
  resume(): void;
  reset(): void;
  stop(reason: 'stopped' | 'timeout', message: string | undefined): VmEnd;
  save(): Snapshot;
  dispose(): void;
}

export type CallName = keyof Calls;

export interface StartMessage {
  readonly kind: 'start';
  readonly options: unknown;
  /** Whether anybody takes console bytes. */
  readonly console: boolean;
  /** Whether input may come over the line. */
  readonly liveInput: boolean;
  /** A state to go on from in place of a boot. */
  readonly restore: Snapshot | null;
  readonly pauseAt: number | null;
}

export type ToWorker =
  | StartMessage
  | { readonly kind: 'call'; readonly id: number; readonly name: CallName; readonly args: unknown }
  /** The sink has taken console bytes of this cost. */
  | { readonly kind: 'taken'; readonly cost: number };

export type FromWorker =
  | { readonly kind: 'ready'; readonly protocol: number }
  | { readonly kind: 'started' }
  | { readonly kind: 'failed'; readonly error: WireError }
  | { readonly kind: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'refusal'; readonly id: number; readonly error: WireError }
  | { readonly kind: 'console'; readonly source: string; readonly bytes: Uint8Array }
  | { readonly kind: 'ended'; readonly end: VmEnd }
  | { readonly kind: 'broken'; readonly error: WireError };

/** Console bytes that may be under way; at this many the guest stands still. */
export const CONSOLE_HIGH = 65_536;
/** With this many left it goes on. */
export const CONSOLE_LOW = CONSOLE_HIGH / 2;
/** What a message costs beside its bytes, so that many small ones are bounded too. */
const MESSAGE_COST = 64;

export function costOf(bytes: Uint8Array): number {
  return bytes.length + MESSAGE_COST;
}

/** Input bytes that the host may have under way. */
export const INPUT_MAX = 2 ** 20;

/** One end of a line. */
export interface Line {
  /** Throws what structured cloning throws. */
  send(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
}

const MARK = 'cloister';

export function marked(message: ToWorker | FromWorker): unknown {
  return { [MARK]: 'vm', ...message };
}

/** A message of ours, or null. What it holds is trusted: both ends are this package. */
export function unmarked<Message extends ToWorker | FromWorker>(message: unknown): Message | null {
  const ours = (message as { readonly [MARK]?: unknown } | null | undefined)?.[MARK] === 'vm';
  return ours ? (message as Message) : null;
}
