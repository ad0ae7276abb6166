/**
 * What an extension said of pages (`CpuExtension.fill`), where that lasts: for the page walk in
 * emitted code (`fast-walk.ts`), which asks nobody, and for the one in TypeScript.
 *
 * Two words a guest-physical page, the second for accesses that name it with the extension's bit of
 * table entries. Of each kind of access a word holds what the verdict permits and whether the frame
 * is seen under the word's key tag or as it stands. What is not known is refused there, and asked
 * in TypeScript, of the extension.
 *
 * It is forgotten whenever the extension flushes or the map changes: an extension that checks a
 * table of its own (as an RMP), which the host or the guest changes, flushes with each change.
 */
import type { FillVerdict } from '@cloister/core';

/** A kind of access beside READ, WRITE and EXECUTE of `walk.ts`: to a page table. */
export const TABLE = 3;

/** Bits of a word: key tag; then for each access its rights, 0: not known, and VERDICT_KEYED. */
export const VERDICT_TAG = 0xffff;
export const VERDICT_SHIFT = 16;
export const VERDICT_BITS = 4;
export const VERDICT_RIGHTS = 7;
export const VERDICT_KEYED = 8;

const FIELD = (1 << VERDICT_BITS) - 1;
/** Words that are forgotten together. */
const BLOCK = 1024;

type PageVerdict = Extract<FillVerdict, { kind: 'page' }>;

/** Bytes that the words of so many pages take. */
export function verdictBytes(pages: number): number {
  return pages * 8;
}

export class Verdicts {
  /** Blocks with anything in them. */
  private readonly used = new Set<number>();

  /** No words: nothing is remembered. */
  constructor(private readonly words: Int32Array) {}

  /**
   * Notes the verdict on an access (READ, WRITE, EXECUTE, TABLE) to `page`, `marked` or not; also
   * for the other accesses that it permits, as an entry of the TLB serves those, too.
   */
  remember(page: number, marked: boolean, access: number, verdict: PageVerdict): void {
    const { words } = this;
    const index = page * 2 + (marked ? 1 : 0);
    if (index >= words.length) return;
    const { permissions, keyTag } = verdict;
    const rights = permissions & VERDICT_RIGHTS;
    const field = keyTag === 0 ? rights : rights | VERDICT_KEYED;
    const known = words[index];
    let word = known;
    if (keyTag !== 0 && (known & VERDICT_TAG) !== keyTag) {
      // One word, one key: what is known under another is known no more.
      word = (known & VERDICT_TAG) === 0 ? known | keyTag : keyTag;
    }
    if (word === known && fieldOf(word, access) === field) return;
    word = withField(word, access, field);
    for (let other = 0; access !== TABLE && other < TABLE; other++) {
      const served = (rights & (1 << other)) !== 0 && fieldOf(word, other) === 0;
      if (served) word = withField(word, other, field);
    }
    words[index] = word;
    this.used.add(Math.floor(index / BLOCK));
  }

  /** The word of `page`, marked or not; 0: nothing is known of it. */
  of(page: number, marked: boolean): number {
    const index = page * 2 + (marked ? 1 : 0);
    return index < this.words.length ? this.words[index] : 0;
  }

  forget(): void {
    for (const block of this.used) this.words.fill(0, block * BLOCK, (block + 1) * BLOCK);
    this.used.clear();
  }
}

/** Of a word what is known of `access`: rights and VERDICT_KEYED, or 0. */
export function fieldOf(word: number, access: number): number {
  return (word >>> (VERDICT_SHIFT + access * VERDICT_BITS)) & FIELD;
}

function withField(word: number, access: number, field: number): number {
  const shift = VERDICT_SHIFT + access * VERDICT_BITS;
  return (word & ~(FIELD << shift)) | (field << shift);
}
