/**
 * Programs of the fake processor: a list of steps, each one instruction unless it says otherwise.
 */
import type { VmExit } from '../interfaces/index.js';

export type FakeOp =
  /** `count` instructions that do nothing. */
  | { readonly op: 'work'; readonly count: number }
  /** IN: the value is kept, see `out` without `value`. */
  | { readonly op: 'in'; readonly port: number; readonly size?: 1 | 2 | 4 }
  /** OUT of `value`, or of what was read last. */
  | {
      readonly op: 'out';
      readonly port: number;
      readonly size?: 1 | 2 | 4;
      readonly value?: number;
    }
  /** Reads `size` bytes (1 to 8) of guest-physical memory; an exit where none is. */
  | { readonly op: 'load'; readonly gpa: number; readonly size?: number }
  /** Writes `value` (at most 32 bits), or what was read last. */
  | {
      readonly op: 'store';
      readonly gpa: number;
      readonly size?: number;
      readonly value?: number;
    }
  /** Sleeps until an interrupt; with `interruptible: false` until an NMI. */
  | { readonly op: 'hlt'; readonly interruptible?: boolean }
  /** Goes to step `to`: `times` times, then on; always without `times`. */
  | { readonly op: 'jump'; readonly to: number; readonly times?: number }
  /** Triple fault. */
  | { readonly op: 'shutdown' }
  /** The processor gives up. */
  | { readonly op: 'fail'; readonly code: string; readonly message: string }
  /** Any other exit; the same object is delivered each time. */
  | { readonly op: 'exit'; readonly exit: VmExit };

export interface FakeProgram {
  readonly main: readonly FakeOp[];
  /** Runs at each interrupt, then goes back; `jump` stays inside it. */
  readonly isr?: readonly FakeOp[];
}

/** Text as the steps that send it to a port. */
export function print(port: number, text: string): FakeOp[] {
  return [...text].map((char) => ({ op: 'out', port, value: char.charCodeAt(0) }));
}
