/**
 * Traces of exits: one line each, in guest order, and their comparison.
 *
 * `canonicalTrace` leaves out what may differ between backends that are both right: instruction
 * counts, interruptions by the host, and whether a string instruction exits once or once an item.
 * Exits that a guest program does not cause at a place of its own (interrupts) do not appear in a
 * trace at all; compare those by what the guest's handlers do.
 */
import type { Observable } from 'rxjs';
import type { VmExit } from '../interfaces/index.js';

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

function bytes(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The canonical lines of one exit, without its instruction count. */
export function traceLines(exit: VmExit): string[] {
  switch (exit.kind) {
    case 'io': {
      const lines: string[] = [];
      for (let item = 0; item < exit.count; item++) {
        const data = exit.data.subarray(item * exit.size, (item + 1) * exit.size);
        lines.push(`cpu${exit.vcpu} io ${exit.direction} ${hex(exit.port)} ${bytes(data)}`);
      }
      return lines;
    }
    case 'mmio':
      return [`cpu${exit.vcpu} mmio ${exit.direction} ${hex(exit.gpa)} ${bytes(exit.data)}`];
    case 'interrupted':
      return [];
    default: {
      const { vcpu, instructions: _, ...rest } = exit;
      return [`cpu${vcpu} ${JSON.stringify(rest, plain)}`];
    }
  }
}

function plain(_key: string, value: unknown): unknown {
  return ArrayBuffer.isView(value) ? Array.from(value as Uint8Array | Uint32Array) : value;
}

/** The canonical trace of exits. */
export function canonicalTrace(exits: Iterable<VmExit>): string[] {
  return [...exits].flatMap(traceLines);
}

/** The first place where two traces differ. */
export interface TraceDifference {
  readonly index: number;
  /** Undefined behind the end of the shorter one. */
  readonly left: string | undefined;
  readonly right: string | undefined;
}

/** Null when the traces are the same. */
export function compareTraces(
  left: readonly string[],
  right: readonly string[],
): TraceDifference | null {
  const length = Math.max(left.length, right.length);
  for (let index = 0; index < length; index++) {
    if (left[index] !== right[index]) return { index, left: left[index], right: right[index] };
  }
  return null;
}

/** Keeps the exits of a VM from now on, at most `limit`. */
export function collectExits(
  events: { readonly exits: Observable<VmExit> },
  limit = 1_000_000,
): { readonly exits: readonly VmExit[]; stop(): void } {
  const exits: VmExit[] = [];
  const subscription = events.exits.subscribe((exit) => {
    if (exits.length < limit) exits.push(exit);
  });
  return { exits, stop: () => subscription.unsubscribe() };
}
