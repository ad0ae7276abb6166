/**
 * Virtual time, timers and randomness: ports through which devices see them.
 *
 * Unit of time everywhere: nanoseconds of virtual time since the VM's start, as a `number`
 * (exact to 2^53 ns, 104 days). With the instruction-counted clock one instruction is one
 * nanosecond, so the virtual TSC (1 GHz nominal) equals `now()`.
 */

export interface Timer {
  /** Cancels the timer; cancelling a fired or cancelled timer does nothing. */
  cancel(): void;
}

export interface Clock {
  /** `icount`: time follows executed instructions; `wall`: time follows the host's clock. */
  readonly mode: 'icount' | 'wall';
  /** Virtual nanoseconds since start, exact to the current instruction in `icount` mode. */
  now(): number;
  /**
   * Calls `callback` once, when virtual time has reached `at`: in `icount` mode at exactly that
   * instruction count, between two instructions. A time in the past fires before the next
   * instruction. Timers due together fire in the order in which they were set.
   */
  at(at: number, callback: () => void): Timer;
  /** Seconds since 1970-01-01 UTC at virtual time 0; fixed by a given seed. */
  readonly epochSeconds: number;
}

/** A source of random bytes: a generator from the VM's seed, so that runs repeat. */
export interface Random {
  /** Fills `target` with the next bytes. */
  fill(target: Uint8Array): void;
  /** The next 32 bits as an unsigned integer. */
  u32(): number;
}
