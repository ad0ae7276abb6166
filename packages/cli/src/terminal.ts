/**
 * Standard input as the guest's serial line: a terminal in raw mode with an escape key, or a pipe
 * or file whose bytes are input but not live.
 */
import type { SerialInput, SerialInputPort } from '@cloister/core/devices';
import { type EscapeAction, EscapeFilter } from './escape-filter.js';

/** The part of `process.stdin` that is used. */
export interface InputStream {
  readonly isTTY?: boolean | undefined;
  setRawMode?(raw: boolean): unknown;
  on(event: 'data', listener: (chunk: Uint8Array) => void): unknown;
  on(event: 'end' | 'error' | 'close', listener: () => void): unknown;
  removeAllListeners(event: 'data' | 'end' | 'close'): unknown;
  pause(): unknown;
  resume(): unknown;
}

export class Terminal implements SerialInput {
  readonly #input: InputStream;
  readonly #onAction: (action: EscapeAction) => void;
  readonly #escape: EscapeFilter | undefined;
  #guest: SerialInputPort | undefined;
  #raw = false;
  #closed = false;
  /** What the guest has no room for, oldest first. The stream is paused while there is any. */
  #backlog: Uint8Array[] = [];

  constructor(input: InputStream, onAction: (action: EscapeAction) => void) {
    this.#input = input;
    this.#onAction = onAction;
    this.#escape = input.isTTY ? new EscapeFilter() : undefined;
  }

  get waitsForRts(): boolean {
    return !this.live;
  }

  get live(): boolean {
    return this.#input.isTTY === true;
  }

  /**
   * Starts to read, in raw mode where that is possible. What arrives before `connect` is kept: of
   * a pipe that has bytes ready they are all there before the guest's first instruction.
   */
  open(): void {
    if (this.live && this.#input.setRawMode) {
      this.#input.setRawMode(true);
      this.#raw = true;
    }
    this.#input.on('data', (chunk) => this.#take(chunk));
    this.#input.on('end', () => this.#guest?.setLive(false));
    this.#input.on('error', () => this.#guest?.setLive(false));
  }

  connect(guest: SerialInputPort): void {
    this.#guest = guest;
    guest.onRoom(() => this.#drain());
    this.#drain();
  }

  /** Gives the terminal back as it was. May be called at any time, and more than once. */
  close(): void {
    if (this.#raw) this.#input.setRawMode?.(false);
    this.#raw = false;
    if (this.#closed) return;
    this.#closed = true;
    this.#backlog = [];
    this.#input.removeAllListeners('data');
    this.#input.pause();
  }

  #take(chunk: Uint8Array): void {
    if (this.#escape === undefined) {
      this.#backlog.push(chunk);
    } else {
      for (const event of this.#escape.feed(chunk)) {
        if (event.kind === 'data') this.#backlog.push(event.bytes);
        else this.#onAction(event.kind);
      }
    }
    this.#drain();
  }

  #drain(): void {
    if (this.#closed) return;
    this.#offer();
    // A terminal is always read, or Ctrl-A x would not work with a guest that does not listen;
    // what is typed then is bounded by the typist.
    if (this.live) this.#boundTyped();
    else if (this.#backlog.length > 0) this.#input.pause();
    else this.#input.resume();
  }

  /** Hands over what the guest's side has room for. */
  #offer(): void {
    for (let next = this.#backlog[0]; next && this.#guest; next = this.#backlog[0]) {
      const taken = this.#guest.push(next);
      if (taken < next.length) {
        this.#backlog[0] = next.subarray(taken);
        return;
      }
      this.#backlog.shift();
    }
  }

  #boundTyped(): void {
    const excess = this.#backlog.length - TYPED_MAX;
    if (excess > 0) this.#backlog.splice(0, excess);
  }
}

/** Chunks of typed text kept for a guest that does not read. */
const TYPED_MAX = 1024;
