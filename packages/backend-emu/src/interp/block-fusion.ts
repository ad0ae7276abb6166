/**
 * Chooses the handlers of a decoded block: sequences that one handler executes, and instructions
 * whose flags nothing can see.
 *
 * Flags of an instruction are dead if a later one in the block sets them all, none before it asks
 * for them, and none up to and including it may fault or look at the state. A deadline that falls
 * between takes the choice back for the time (`Interpreter`), so that the flags are there.
 *
 * Only the record at the head of a sequence changes; the others keep their own handlers. A handler
 * of a sequence checks them before it goes on, so that code that was overwritten and deadlines need
 * no case of their own.
 */

import * as R from '../isa/op-record.js';
import type { Addressing } from '../isa/operand-emitter.js';
import { type Effects, effectsOf } from './effects.js';
import { type CaseItem, formOfHandler, type HandlerSet, handlerOfCase } from './handlers.js';

/** Sequences that begin alike, by their next instruction. */
interface Node {
  readonly next: Map<number, Node>;
  /** Handler of the sequence that ends here, 0: none. */
  handler: number;
  /** What is saved by it: dispatches, and flags that are not stored. */
  gain: number;
}

const DISPATCH_GAIN = 4;
const ADDRESSINGS: readonly Addressing[] = ['any', 'base', 'index'];
const ANY = [0];
/** By what a record says of its address (see `EA_*`): ways in which it may be formed. */
const ADDRESSINGS_OF: readonly (readonly number[])[] = [
  [0, 1],
  [0, 2],
];
const KEPT = [false];
const EITHER = [false, true];
const UNKNOWN: Effects = {
  readsFlags: true,
  writesFlags: false,
  observes: true,
  needsCount: false,
  addresses: false,
};
/** Longest block, with room for its end. */
const LIMIT = 66;

export class BlockFusion {
  readonly #root: Node = { next: new Map(), handler: 0, gain: 0 };
  readonly #effects: Effects[] = [];
  readonly #gains = new Int32Array(LIMIT);
  readonly #lengths = new Uint8Array(LIMIT);
  readonly #handlers = new Uint16Array(LIMIT);
  readonly #dead = new Uint8Array(LIMIT);
  readonly #countIsZero = new Uint8Array(LIMIT);

  constructor(
    readonly handlers: HandlerSet,
    readonly bytes: Uint8Array,
    readonly halves: Uint16Array,
    readonly words: Int32Array,
  ) {
    for (const [index, items] of handlers.cases.entries()) {
      const [first] = items;
      const handler = handlerOfCase(index);
      if (handler !== first.plain) this.#add(items, handler);
    }
  }

  #add(items: readonly CaseItem[], handler: number): void {
    let node = this.#root;
    for (const item of items) {
      const key = edge(item.plain, item.flagUse === 'drop', ADDRESSINGS.indexOf(item.addressing));
      let next = node.next.get(key);
      if (next === undefined) {
        next = { next: new Map(), handler: 0, gain: 0 };
        node.next.set(key, next);
      }
      node = next;
    }
    node.handler = handler;
    const flags = items.filter(({ flagUse }) => flagUse !== 'store').length;
    const addresses = items.filter(({ addressing }) => addressing !== 'any').length;
    node.gain = (items.length - 1) * DISPATCH_GAIN + flags + addresses;
  }

  /** Chooses handlers for the `count` records from `first` on. */
  fuse(first: number, count: number): void {
    if (this.#root.next.size === 0) return;
    this.#findDeadFlags(first, count);
    for (let i = count - 1; i >= 0; i--) this.#choose(first, count, i);
    for (let i = 0; i < count; i += this.#lengths[i]) {
      if (this.#handlers[i] !== 0) this.#setHandler(first, i, this.#handlers[i]);
    }
  }

  #handler(first: number, index: number): number {
    return this.halves[(first + index * R.OP_SIZE + R.OP_HANDLER) >> 1];
  }

  #setHandler(first: number, index: number, handler: number): void {
    this.halves[(first + index * R.OP_SIZE + R.OP_HANDLER) >> 1] = handler;
  }

  /** Notes for each instruction whether its flags are dead, from the last to the first. */
  #findDeadFlags(first: number, count: number): void {
    let dead = false;
    for (let i = count - 1; i >= 0; i--) {
      const effects = this.#effectsAt(first, i);
      const zero = effects.needsCount && this.#count(first, i) === 0;
      this.#countIsZero[i] = zero ? 1 : 0;
      this.#dead[i] = dead ? 1 : 0;
      if (effects.observes || effects.readsFlags) dead = false;
      else if (effects.writesFlags && !zero) dead = true;
    }
  }

  /** The masked count of a shift by an immediate; that of 64-bit operands may have a bit more. */
  #count(first: number, index: number): number {
    return this.words[(first + index * R.OP_SIZE + R.OP_IMMEDIATE) >> 2] & 31;
  }

  #effectsAt(first: number, index: number): Effects {
    const handler = this.#handler(first, index);
    let effects = this.#effects[handler];
    if (effects === undefined) {
      const isCase = this.handlers.cases[handler - handlerOfCase(0)] !== undefined;
      const info = isCase ? formOfHandler(this.handlers, handler) : undefined;
      effects = info === undefined ? UNKNOWN : effectsOf(info);
      this.#effects[handler] = effects;
    }
    return effects;
  }

  /** The best handler at `index`, given the best ones behind it. */
  #choose(first: number, count: number, index: number): void {
    this.#handlers[index] = 0;
    this.#lengths[index] = 1;
    this.#gains[index] = index + 1 < count ? this.#gains[index + 1] : 0;
    this.#match(this.#root, first, count, index, index);
  }

  #match(node: Node, first: number, count: number, start: number, at: number): void {
    if (node.handler !== 0) {
      const gain = node.gain + (at < count ? this.#gains[at] : 0);
      if (gain > this.#gains[start]) {
        this.#gains[start] = gain;
        this.#handlers[start] = node.handler;
        this.#lengths[start] = at - start;
      }
    }
    if (at >= count || node.next.size === 0 || this.#countIsZero[at] !== 0) return;
    const plain = this.#handler(first, at);
    const kinds = ADDRESSINGS_OF[this.bytes[first + at * R.OP_SIZE + R.OP_EA]] ?? ANY;
    for (const drop of this.#dead[at] !== 0 ? EITHER : KEPT) {
      for (const kind of kinds) {
        const next = node.next.get(edge(plain, drop, kind));
        if (next !== undefined) this.#match(next, first, count, start, at + 1);
      }
    }
  }
}

function edge(plain: number, drop: boolean, addressing: number): number {
  return (plain * 2 + (drop ? 1 : 0)) * ADDRESSINGS.length + addressing;
}
