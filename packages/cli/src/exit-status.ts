/**
 * Exit statuses of the command: a contract that scripts build on (docs/cli.md lists it).
 */
import { isVmmError, type VmEnd, type VmmErrorCode } from '@cloister/core';

export const EXIT = {
  ok: 0,
  usage: 2,
  reset: 3,
  timeout: 4,
  unprotected: 5,
  internal: 6,
} as const;

/** Signals end the command as the shell reports them: 128 + the signal's number. */
export const SIGNAL_STATUS = { SIGHUP: 129, SIGINT: 130, SIGPIPE: 141, SIGTERM: 143 } as const;

export type EndingSignal = keyof typeof SIGNAL_STATUS;

/** The status of a run that ended by itself: nobody stopped it with a signal or a save. */
export function statusOfEnd(end: Pick<VmEnd, 'reason' | 'status'>): number {
  switch (end.reason) {
    case 'power-off':
    case 'stopped':
      return EXIT.ok;
    case 'debug-exit':
      // The device has already made `(value << 1) | 1` of the guest's value.
      return end.status & 0xff;
    case 'reset':
    case 'triple-fault':
      return EXIT.reset;
    case 'timeout':
      return EXIT.timeout;
    case 'error':
      return EXIT.internal;
  }
}

/** Codes that do not come from what the user typed or named. */
const OTHER_CODES: Partial<Record<VmmErrorCode, number>> = {
  'protection-inactive': EXIT.unprotected,
  'replay-diverged': EXIT.internal,
  'invalid-state': EXIT.internal,
  internal: EXIT.internal,
};

/** The status for something thrown: a bad option, file or environment is 2, a bug is 6. */
export function statusOfError(error: unknown): number {
  return isVmmError(error) ? (OTHER_CODES[error.code] ?? EXIT.usage) : EXIT.internal;
}
