/**
 * What emitted code calls, and how it ends an instruction.
 */
import type { Value } from '../wasm/code.js';

/** Functions of the core module and imports that descriptions call, by index. */
export interface CoreFunctions {
  /** (bytes) → their host address or BOUNCE, 0 if a fault is pending; address in ARG0. */
  readonly load: number;
  /** (bytes) → the same; stores the bytes that lie in BOUNCE. */
  readonly store: number;
  /** (bytes) → the same; ended by `commitRmw` where it is BOUNCE. */
  readonly update: number;
  readonly commitRmw: number;
  /** (op, operand size bytes, write) → i64 linear address, or RMW_PENDING… see `address`. */
  readonly addressSlow: number;
  /** (place of the segment, bytes, write) → 1 if a fault is pending; offset in ARG0. */
  readonly checkSegment: number;
  /** (function number) → outcome. */
  readonly system: number;
  /** (op) → address of the target's record, 0 if it has to be looked up. */
  readonly link: number;
  /** () → RFLAGS. */
  readonly eflags: number;
  /** (image, mask): sets status flags. */
  readonly setStatus: number;
}

/** Outcomes of system functions, as `system/outcome.ts` has them. */
export const OUTCOME = { next: 0, fault: 1, redispatch: 2, leave: 3 } as const;

/** How emitted code ends an instruction. */
export interface Flow {
  /** A fault is pending: leave with the state of before the instruction. */
  fault(): void;
  /** Go on at the RIP in `target` (i64, already cut to the mode's width). */
  jump(target: Value): void;
  /** Go on at the record in `record` (start of a block in the same page). */
  enter(record: Value): void;
  /** The same, where `record` is what the instruction is linked to. */
  follow(record: Value): void;
  /** RIP has been stored: look it up. */
  redispatch(): void;
  /** Leave the run loop; the instruction is complete, RIP has been stored. */
  leave(): void;
}
