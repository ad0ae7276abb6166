/**
 * Pages that a loop accessed last, in locals: what is found once in the TLB holds as long as the
 * region is not left, for nothing else runs meanwhile. A hit needs no load before the access.
 *
 * Each kind of access has a page of its own: by the registers of its address, its length, and
 * whether it reads or writes. There are few; others ask the TLB.
 */

import type { Value } from '../wasm/code.js';
import type { RegionCode } from './region-code.js';

const MOST = 12;

/** The page of one kind of access. */
export interface CachedPage {
  readonly tag: Value;
  /** Offsets from the tag are below it; 0, as locals are at first: none are. */
  readonly limit: Value;
  /** What makes a host address of an address. */
  readonly addend: Value;
}

export class PageCache {
  readonly #pages = new Map<string, CachedPage>();

  constructor(readonly code: RegionCode) {}

  /** The page of accesses of that kind; undefined where there are too many kinds. */
  page(kind: string): CachedPage | undefined {
    const known = this.#pages.get(kind);
    if (known !== undefined || this.#pages.size >= MOST) return known;
    const { code } = this;
    const page = {
      tag: code.fixedLocal('i64'),
      limit: code.fixedLocal('i64'),
      addend: code.fixedLocal('i32'),
    };
    this.#pages.set(kind, page);
    return page;
  }
}
