/**
 * One vCPU's software TLBs, in the layout that emitted code reads: for supervisor accesses, for
 * user accesses, and for supervisor accesses while EFLAGS.AC overrides SMAP.
 *
 * An entry's tag is the page's virtual address, so that `va ^ tag` is the offset in the page on a
 * hit; a tag that is absent must never match. All ones does for every index but that of the last
 * page, where the tag of a page with another index does. See `cpu/layout.ts`.
 *
 * The spare word of an entry is -1 while it is empty; else bit 0 says global and bits 12:8 hold the
 * log2 of the size of the mapping, so that INVLPG drops every part of a large page.
 *
 * What is entered here, emitted code enters as well (`fast-walk.ts`): all that filling changes lies
 * in the record.
 */
import * as L from '../cpu/layout.js';
import type { CpuRecord } from '../cpu/record.js';
import { RegionSet } from './region-set.js';

const STRIDE = L.TLB_ENTRY_SIZE >> 2;
const TAG_WRITE = L.TLB_TAG_WRITE >> 2;
const TAG_EXECUTE = L.TLB_TAG_EXECUTE >> 2;
const ADDEND = L.TLB_ADDEND >> 2;
const SPARE = ADDEND + 1;
const GENERATION = L.GENERATION >> 2;
const GENERATIONS = L.CODE_GENERATIONS >> 2;
const JUMP_CACHE = L.JUMP_CACHE >> 2;
const PAGE_MASK = ~0xfff;

/** Numbers of the tables, and where each begins in the record's words. */
export const SUPERVISOR = 0;
export const USER = 1;
export const OVERRIDE = 2;
const TABLES = [L.TLB_SUPERVISOR >> 2, L.TLB_USER >> 2, L.TLB_OVERRIDE >> 2];
/** Of supervisor and user code: where each jump cache begins in the record's words. */
const JUMPS = [L.JUMP_SUPERVISOR >> 2, L.JUMP_USER >> 2];
const JUMP_WORDS = (L.JUMP_ENTRIES * L.JUMP_ENTRY_SIZE) >> 2;

/** Where the notes of each table's entries begin: of those that are not global, of global ones. */
const NOTES = [L.TLB_NOTES, L.TLB_NOTES_GLOBAL].map((notes) =>
  TABLES.map((first) => (notes >> 2) + (first - TABLES[SUPERVISOR]) / (32 * STRIDE)),
);
const NOTE_WORDS = L.TLB_ENTRIES / 32;
const FILLS = L.TLB_FILLS >> 2;
const LARGE = L.TLB_LARGE >> 2;

/** The index of a page's entry. Emitted code computes the same. */
export function tlbIndex(lo: number): number {
  return ((lo >>> 12) ^ (lo >>> 22)) & (L.TLB_ENTRIES - 1);
}

/** The bit among `TLB_LARGE` for the GiB of an address. Emitted code computes the same. */
function largeBit(lo: number, hi: number): number {
  const region = (hi << 2) | (lo >>> 30);
  return (region ^ (region >>> 10)) & (L.TLB_LARGE_BITS - 1);
}

export const LAST_INDEX = tlbIndex(0xfffff000);
/** Either half of the absent tag at that index. */
export const ELSEWHERE = 0x1000;
if (LAST_INDEX === tlbIndex(ELSEWHERE)) throw new Error('an empty TLB entry would match a page');

export const RIGHT_READ = 1;
export const RIGHT_WRITE = 2;
export const RIGHT_EXECUTE = 4;

/** What is known of the code that a jump cache leads to. */
class CodeNotes {
  /** Its regions in this generation; empty: not known. */
  readonly regions = new RegionSet();
  /** All of it lies in global pages. */
  allGlobal = true;
}

export class Tlb {
  private readonly words: Int32Array;
  /** Of supervisor and user code: see `selectCode`. */
  private readonly code = [new CodeNotes(), new CodeNotes()];

  constructor(record: CpuRecord) {
    this.words = record.words;
    this.words.fill(-1, L.TLB_NOTES >> 2, (L.TLB_NOTES_GLOBAL + L.TLB_NOTES_SIZE) >> 2);
    this.flushAll();
    const first = L.TLB_EMPTY >> 2;
    for (let index = 0; index < L.TLB_ENTRIES; index++) {
      const entry = first + index * STRIDE;
      this.words.fill(index === LAST_INDEX ? 0 : -1, entry, entry + ADDEND);
    }
  }

  /** Translations entered so far. */
  get fills(): number {
    return this.words[FILLS] >>> 0;
  }

  /** Whose jump cache is in use: 0 supervisor, 1 user code. */
  private get current(): number {
    return this.words[JUMP_CACHE] === L.JUMP_USER ? 1 : 0;
  }

  /** Word index of the entry for a page. */
  entry(lo: number, table: number): number {
    return TABLES[table] + tlbIndex(lo) * STRIDE;
  }

  /** Host address by the tag of an access (0 read, 1 write, 2 execute), or -1. */
  probe(lo: number, hi: number, access: number, table: number): number {
    const { words } = this;
    const entry = TABLES[table] + tlbIndex(lo) * STRIDE;
    const tag = entry + access * 2;
    if (words[tag] !== (lo & PAGE_MASK) || words[tag + 1] !== hi) return -1;
    return (lo + words[entry + ADDEND]) >>> 0;
  }

  /** Enters the page of `lo`/`hi`, at `host` in the memory, with `rights`. */
  fill(
    lo: number,
    hi: number,
    table: number,
    host: number,
    rights: number,
    global: boolean,
    shift: number,
  ): void {
    const { words } = this;
    const index = tlbIndex(lo);
    const entry = TABLES[table] + index * STRIDE;
    words[NOTES[global ? 1 : 0][table] + (index >>> 5)] |= 1 << (index & 31);
    const page = lo & PAGE_MASK;
    const absent = index === LAST_INDEX ? ELSEWHERE : -1;
    const read = (rights & RIGHT_READ) !== 0;
    words[entry] = read ? page : absent;
    words[entry + 1] = read ? hi : absent;
    const write = (rights & RIGHT_WRITE) !== 0;
    words[entry + TAG_WRITE] = write ? page : absent;
    words[entry + TAG_WRITE + 1] = write ? hi : absent;
    const execute = (rights & RIGHT_EXECUTE) !== 0;
    words[entry + TAG_EXECUTE] = execute ? page : absent;
    words[entry + TAG_EXECUTE + 1] = execute ? hi : absent;
    words[entry + ADDEND] = host - page;
    words[entry + SPARE] = (shift << 8) | (global ? 1 : 0);
    words[FILLS]++;
    if (shift === 12) return;
    const bit = largeBit(lo, hi);
    words[LARGE + (bit >> 5)] |= 1 << (bit & 31);
  }

  /** Drops every translation. */
  flushAll(): void {
    this.forgetRights();
    this.nextGeneration(0);
    this.nextGeneration(1);
  }

  /** After a change of rights to data alone: code is still where it was, and may be executed. */
  forgetRights(): void {
    for (let table = 0; table < TABLES.length; table++) this.clear(table);
    this.words.fill(0, LARGE, LARGE + (L.TLB_LARGE_BITS >> 5));
  }

  /** Drops every translation but global ones (a write to CR3). */
  flushNonGlobal(): void {
    for (let table = 0; table < TABLES.length; table++) this.clearNonGlobal(table);
    // A kernel's code is global as a rule: it stays reachable.
    for (const user of [0, 1]) {
      const { regions, allGlobal } = this.code[user];
      if (regions.isEmpty || !allGlobal) this.nextGeneration(user);
    }
  }

  /** Drops the translation of one virtual page, all of a large one. */
  flushPage(lo: number, hi: number): void {
    const { words } = this;
    const bit = largeBit(lo, hi);
    const large = (words[LARGE + (bit >> 5)] & (1 << (bit & 31))) !== 0;
    for (let table = 0; table < TABLES.length; table++) {
      const entry = this.entry(lo, table);
      // What the tags hold does not matter: dropping another page's entry is allowed.
      if (words[entry + SPARE] !== -1) this.empty(entry);
      if (large) this.flushLarge(lo, hi, table);
    }
    // Most pages dropped hold data: decoded code stays reachable.
    for (const user of [0, 1]) {
      const { regions } = this.code[user];
      if (regions.isEmpty || regions.has(lo, hi)) this.nextGeneration(user);
    }
  }

  /**
   * Puts the jump cache of supervisor (0) or user code (1) into use, with its own GENERATION.
   * Processors call it with every change of privilege; emitted code does the same by itself.
   */
  selectCode(user: number): void {
    this.words[JUMP_CACHE] = user === 1 ? L.JUMP_USER : L.JUMP_SUPERVISOR;
    this.words[GENERATION] = this.words[GENERATIONS + user];
  }

  /**
   * Notes that code at `lo`/`hi` (linear) was entered in the jump cache. A new generation begins
   * with a look-up, so that once anything is noted, the code in execution is.
   */
  noteCode(lo: number, hi: number): void {
    const { words } = this;
    const notes = this.code[this.current];
    notes.regions.add(lo, hi);
    const entry = (words[L.TLB >> 2] >> 2) + tlbIndex(lo) * STRIDE;
    const page = entry + TAG_EXECUTE;
    const found = words[page] === (lo & PAGE_MASK) && words[page + 1] === hi;
    if (!found || (words[entry + SPARE] & 1) === 0) notes.allGlobal = false;
  }

  /** Makes the jump cache of supervisor (0) or user code (1) void. */
  nextGeneration(user: number): void {
    const { words } = this;
    const notes = this.code[user];
    let generation = (words[GENERATIONS + user] + 1) | 0;
    if (generation === 0) {
      // All numbers have been used: an entry may be left from the first time.
      const first = JUMPS[user];
      words.fill(0, first, first + JUMP_WORDS);
      generation = 1;
    }
    words[GENERATIONS + user] = generation;
    notes.regions.clear();
    notes.allGlobal = true;
    if (user === this.current) words[GENERATION] = generation;
  }

  /** Drops the write tags that lead to the frame at `host`. */
  dropWriteTags(host: number): void {
    this.eachEntry((entry) => this.dropWriteTag(entry, host));
  }

  /**
   * Drops every translation to the frame at `host`. Code that was decoded there is found by way of
   * the jump caches as well: the op cache makes it stale.
   */
  dropFrame(host: number, page?: number): void {
    if (page === undefined) this.eachEntry((entry) => this.dropEntry(entry, host | 0));
    else for (const first of TABLES) this.dropEntry(first + tlbIndex(page) * STRIDE, host | 0);
  }

  private dropEntry(entry: number, host: number): void {
    const { words } = this;
    const addend = words[entry + ADDEND];
    // Absent tags give no aligned address, or drop one entry too many, which is allowed.
    const found =
      ((words[entry] + addend) | 0) === host ||
      ((words[entry + TAG_WRITE] + addend) | 0) === host ||
      ((words[entry + TAG_EXECUTE] + addend) | 0) === host;
    if (found) this.empty(entry);
  }

  /** Visits every entry that may be in use. */
  private eachEntry(visit: (entry: number) => void): void {
    for (let table = 0; table < TABLES.length; table++) this.eachOf(table, visit);
  }

  private eachOf(table: number, visit: (entry: number) => void): void {
    const { words } = this;
    const [others, global] = NOTES;
    for (let i = 0; i < NOTE_WORDS; i++) {
      let bits = words[others[table] + i] | words[global[table] + i];
      for (; bits !== 0; bits &= bits - 1) visit(noted(table, i, bits));
    }
  }

  private dropWriteTag(entry: number, host: number): void {
    const { words } = this;
    // An absent tag cannot give an aligned address, or is set to what it was.
    if ((words[entry + TAG_WRITE] + words[entry + ADDEND]) >>> 0 !== host) return;
    const absent = this.absentTag(entry);
    words[entry + TAG_WRITE] = absent;
    words[entry + TAG_WRITE + 1] = absent;
  }

  /** Low half of the virtual page of an entry that is not empty. */
  private pageOf(entry: number): number {
    const { words } = this;
    for (let tag = entry; tag < entry + ADDEND; tag += 2) {
      if (!this.isAbsent(tag, entry)) return words[tag];
    }
    return 0;
  }

  private isAbsent(tag: number, entry: number): boolean {
    const absent = this.absentTag(entry);
    return this.words[tag] === absent && this.words[tag + 1] === absent;
  }

  private flushLarge(lo: number, hi: number, table: number): void {
    const { words } = this;
    this.eachOf(table, (entry) => {
      const spare = words[entry + SPARE];
      if (spare === -1 || spare >>> 8 === 12) return;
      if ((this.pageOf(entry) ^ lo) >>> (spare >>> 8) !== 0) return;
      if (this.highOf(entry) === hi) this.empty(entry);
    });
  }

  private highOf(entry: number): number {
    const { words } = this;
    for (let tag = entry; tag < entry + ADDEND; tag += 2) {
      if (!this.isAbsent(tag, entry)) return words[tag + 1];
    }
    return 0;
  }

  private clear(table: number): void {
    const { words } = this;
    for (let i = 0; i < NOTE_WORDS; i++) {
      const [other, global] = [NOTES[0][table] + i, NOTES[1][table] + i];
      if ((words[other] | words[global]) === 0) continue;
      words[other] = 0;
      words[global] = 0;
      const first = TABLES[table] + i * 32 * STRIDE;
      words.fill(-1, first, first + 32 * STRIDE);
    }
    this.empty(TABLES[table] + LAST_INDEX * STRIDE);
  }

  private clearNonGlobal(table: number): void {
    const { words } = this;
    const notes = NOTES[0][table];
    for (let i = 0; i < NOTE_WORDS; i++) {
      let bits = words[notes + i];
      words[notes + i] = 0;
      for (; bits !== 0; bits &= bits - 1) {
        const entry = noted(table, i, bits);
        // It may have become that of a global page: noted among those too.
        if ((words[entry + SPARE] & 1) === 0) this.empty(entry);
      }
    }
  }

  private absentTag(entry: number): number {
    // The tables lie at multiples of their size from the first.
    const index = ((entry - TABLES[SUPERVISOR]) / STRIDE) & (L.TLB_ENTRIES - 1);
    return index === LAST_INDEX ? ELSEWHERE : -1;
  }

  private empty(entry: number): void {
    const { words } = this;
    const absent = this.absentTag(entry);
    for (let tag = entry; tag < entry + ADDEND; tag++) words[tag] = absent;
    words[entry + SPARE] = -1;
  }
}

/** The entry that the lowest of the bits in word `i` of a table's notes stands for. */
function noted(table: number, i: number, bits: number): number {
  return TABLES[table] + (i * 32 + 31 - Math.clz32(bits & -bits)) * STRIDE;
}
