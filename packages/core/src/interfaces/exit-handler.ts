/**
 * Exit handlers decide what an exit means. They declare what they filter, so that the router looks
 * them up and never asks.
 *
 * Precedence: of the handlers whose filter covers an exit, the one with the highest `priority` is
 * called; it may pass the exit on (`'pass'`), then the next lower one is called. Two handlers with
 * overlapping filters and equal priority are a `VmmError('plugin-conflict')` at assembly. Devices
 * have priority 0.
 */
import type { VmExit, VmExitKind, VmExitOf } from './exit.js';

export interface Range {
  readonly base: number;
  /** Length in the range's unit (ports, bytes, MSR indices, hypercall numbers). */
  readonly length: number;
}

/** What a handler wants to see. A filter without a range sees every exit of its kind. */
export type ExitFilter =
  | { readonly kind: 'io'; readonly ports?: Range }
  | { readonly kind: 'mmio'; readonly range?: Range }
  | { readonly kind: 'msr'; readonly indices?: Range }
  | { readonly kind: 'hypercall'; readonly numbers?: Range }
  | { readonly kind: Exclude<VmExitKind, 'io' | 'mmio' | 'msr' | 'hypercall'> };

/** `handled`: the exit is answered. `pass`: ask the next handler. */
export type ExitVerdict = 'handled' | 'pass';

export interface ExitHandler<Kind extends VmExitKind = VmExitKind> {
  /** Shown in errors and traces. */
  readonly name: string;
  readonly filter: ExitFilter & { readonly kind: Kind };
  /** Higher is asked first; default 10, above devices (0). */
  readonly priority?: number;
  /**
   * Answers the exit by filling its output fields. `exit` is reused: do not keep it. Must not
   * block. A throw is a `plugin-fault` event; the exit then counts as passed.
   */
  handle(exit: VmExitOf<Kind>): ExitVerdict;
}

/** A handler of some kind, as lists hold it. */
export type AnyExitHandler = {
  [Kind in VmExitKind]: ExitHandler<Kind>;
}[VmExitKind];

/** Finds and calls the handler of an exit. */
export interface ExitRouter {
  /** Adds a handler; `VmmError('plugin-conflict')` names both handlers when they collide. */
  add(handler: AnyExitHandler): void;
  /** Calls the handlers by precedence; false when nobody answered. */
  route(exit: VmExit): boolean;
}
