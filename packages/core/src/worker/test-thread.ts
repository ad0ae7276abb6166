/**
 * Helpers of this folder's tests: a thread that is no thread. Messages are cloned and arrive in
 * later turns, as between real ones.
 */
import { type FromWorker, type Line, unmarked } from './protocol.js';
import type { Thread, ThreadFailure } from './thread.js';

type Listener = (message: unknown) => void;

/** One end: what is sent before anybody listens is kept. */
class End implements Line {
  private listener: Listener | null = null;
  private early: unknown[] = [];
  other!: End;
  open = true;

  send(message: unknown): void {
    const copy: unknown = structuredClone(message);
    setTimeout(() => {
      if (this.open && this.other.open) this.other.take(copy);
    });
  }

  onMessage(listener: Listener): void {
    this.listener = listener;
    for (const message of this.early.splice(0)) listener(message);
  }

  private take(message: unknown): void {
    if (this.listener === null) this.early.push(message);
    else this.listener(message);
  }
}

export interface TestThread extends Thread {
  /** The Worker's end. */
  readonly worker: Line;
  readonly terminated: boolean;
  /** What `keepAlive` was told last. */
  readonly alive: boolean;
  /** Console bytes that the Worker has sent. */
  readonly consoleBytes: number;
  crash(failure: ThreadFailure): void;
}

export function testThread(): TestThread {
  const host = new End();
  const worker = new End();
  host.other = worker;
  worker.other = host;
  const failures: ((failure: ThreadFailure) => void)[] = [];
  const state = { terminated: false, alive: true, consoleBytes: 0 };
  const sendOfWorker = worker.send.bind(worker);
  worker.send = (message) => {
    const sent = unmarked<FromWorker>(message);
    if (sent?.kind === 'console') state.consoleBytes += sent.bytes.length;
    sendOfWorker(message);
  };
  return {
    worker,
    get terminated() {
      return state.terminated;
    },
    get alive() {
      return state.alive;
    },
    get consoleBytes() {
      return state.consoleBytes;
    },
    send: (message) => host.send(message),
    onMessage: (listener) => host.onMessage(listener),
    onFailure: (listener) => void failures.push(listener),
    keepAlive: (on) => {
      state.alive = on;
    },
    terminate: async () => {
      state.terminated = true;
      host.open = false;
    },
    crash: (failure) => {
      for (const listener of failures) listener(failure);
    },
  };
}
