/**
 * The host's time, chance and event loop: the one place where core meets them.
 *
 * Browser and Node alike: nothing here is Node's own but `setImmediate`, used where it exists.
 */
export interface HostPort {
  /** Milliseconds of a clock that never goes back, with a fraction. */
  now(): number;
  /** Seconds since 1970-01-01 UTC. */
  epochSeconds(): number;
  /** Fills `target` with unpredictable bytes. */
  entropy(target: Uint8Array): void;
  /** Calls back after at least `ms` milliseconds; the result cancels. */
  timeout(ms: number, callback: () => void): () => void;
  /** Resolves after the event loop had a turn. */
  turn(): Promise<void>;
}

/** Longest delay that a host timer takes; a longer one is cut and set again by its user. */
const TIMEOUT_MAX_MS = 2 ** 31 - 1;

type Immediate = (callback: () => void) => unknown;

/** A macrotask as soon as possible: browsers clamp nested timeouts, so a message does it there. */
function turnByMessage(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

/** The host this code runs on. */
export function systemHost(): HostPort {
  const immediate = (globalThis as { setImmediate?: Immediate }).setImmediate;
  return {
    now: () => performance.now(),
    epochSeconds: () => Math.floor(Date.now() / 1000),
    entropy: (target) => {
      crypto.getRandomValues(target as Uint8Array<ArrayBuffer>);
    },
    timeout: (ms, callback) => {
      const handle = setTimeout(callback, Math.min(ms, TIMEOUT_MAX_MS));
      return () => clearTimeout(handle);
    },
    turn:
      immediate === undefined
        ? turnByMessage
        : () => new Promise<void>((resolve) => void immediate(resolve)),
  };
}
