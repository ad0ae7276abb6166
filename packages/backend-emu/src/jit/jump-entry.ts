/**
 * Entries of the jump cache in emitted code: where they are, and what a second look does.
 * TypeScript has the same in `interp/jump-targets.ts`.
 */
import * as L from '../cpu/layout.js';
import type { CodeEmitter, Value } from '../wasm/code.js';

/** The address of an entry of the cache at `cache`, and what emits that of the one beside it. */
export interface JumpPlaces {
  readonly home: Value;
  beside(): Value;
}

/** Where the cache has `target`, an i64. */
export function jumpPlaces(code: CodeEmitter, cache: Value, target: Value): JumpPlaces {
  const low = code.op('i32.wrap_i64', target);
  const hash = code.op(
    'i32.shr_u',
    code.op('i32.mul', low, code.i32(L.JUMP_FACTOR)),
    code.i32(L.JUMP_SHIFT),
  );
  const offset = code.variable(code.op('i32.and', hash, code.i32(L.JUMP_MASK)));
  return {
    home: code.variable(code.op('i32.add', cache, offset)),
    beside: () => {
      const other = code.op('i32.xor', offset, code.i32(L.JUMP_ENTRY_SIZE));
      return code.variable(code.op('i32.add', cache, other));
    },
  };
}

/** Not 0 unless the entry at `entry` is for `target` in `generation`, an i64. */
export function jumpMiss(code: CodeEmitter, entry: Value, target: Value, generation: Value): Value {
  const other = code.op('i64.xor', code.load('i64.load', entry), target);
  const old = code.op('i64.xor', code.load('i64.load32_u', entry, 8), generation);
  return code.op('i64.or', other, old);
}

/**
 * Exchanges two entries: one that was found beside its place is at home again, where regions look
 * (`region-function.ts`), and what was there is found beside.
 */
export function exchangeEntries(code: CodeEmitter, one: Value, other: Value): void {
  for (const offset of [0, 8]) {
    const first = code.variable(code.load('i64.load', one, offset));
    const second = code.variable(code.load('i64.load', other, offset));
    code.store('i64.store', one, second, offset);
    code.store('i64.store', other, first, offset);
  }
}

/** What is looked for in the cache at `cache`. */
export interface JumpSearch {
  readonly cache: Value;
  readonly target: Value;
  readonly generation: Value;
  /** Local of the record that is found. */
  readonly op: Value;
  /** `op` is void, and the cache may have led there. */
  readonly stale: boolean;
}

/** Sets `op` to the record of `target`, found at its place or beside it; else `otherwise`. */
export function findTarget(code: CodeEmitter, search: JumpSearch, otherwise: () => void): void {
  const { cache, target, generation, op, stale } = search;
  const { home, beside } = jumpPlaces(code, cache, target);
  const find = (entry: Value, found: () => void, next: () => void): void => {
    const hit = code.op('i64.eqz', jumpMiss(code, entry, target, generation));
    const record = code.load('i32.load', entry, 12);
    const isOther = () => code.op('i32.and', hit, code.op('i32.ne', record, op));
    const take = (): void => {
      code.set(op, record);
      found();
    };
    code.if(stale ? isOther() : hit, take, next);
  };
  const lookBeside = (): void => {
    const second = beside();
    find(second, () => exchangeEntries(code, home, second), otherwise);
  };
  find(
    home,
    () => {},
    () => code.scope(lookBeside),
  );
}
