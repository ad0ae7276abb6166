/**
 * The fetch of instructions: from RIP, by way of CS and paging, to where the code is in memory.
 */
import * as L from '../cpu/layout.js';
import { MODE_64, MODE_SIZE_MASK } from '../cpu/mode.js';
import type { CpuRecord } from '../cpu/record.js';
import { VECTOR_GP } from '../cpu/registers.js';
import { type Mmu, TRANSLATE_FAULT } from '../mmu/mmu.js';
import { PAGE_SIZE } from '../mmu/physical.js';
import { EXECUTE } from '../mmu/walk.js';

const RIP = L.RIP >> 2;
const MODE = L.MODE >> 2;
const CPL = L.CPL >> 2;
const CS_BASE = L.segmentOffset(L.SEG.cs) >> 2;
const CS_LIMIT = (L.segmentOffset(L.SEG.cs) + L.SEG_LIMIT) >> 2;
const FAULT_VECTOR = L.FAULT_VECTOR >> 2;
const FAULT_ERROR = L.FAULT_ERROR >> 2;

export class CodeFetch {
  readonly #words: Int32Array;

  constructor(
    record: CpuRecord,
    readonly mmu: Mmu,
  ) {
    this.#words = record.words;
  }

  /** Host offset of the code byte at RIP + `offset`, or -1 with a fault pending. */
  host(offset: number): number {
    const words = this.#words;
    const beyond = (words[RIP] >>> 0) + offset > words[CS_LIMIT] >>> 0;
    if (beyond && !this.#is64) return this.#gp();
    this.mmu.canonicalVector = VECTOR_GP;
    const host = this.translate(offset);
    if (host >= 0) return host;
    if (host === TRANSLATE_FAULT) return -1;
    // Code outside memory: an instruction fetch from a device has no sensible answer.
    return this.#gp();
  }

  /** The same whatever the limit of CS; negative as `Mmu.translate` has it. */
  translate(offset: number): number {
    const words = this.#words;
    const low = (words[RIP] >>> 0) + offset;
    const long = this.#is64;
    const lo = long ? low | 0 : (words[CS_BASE] + low) | 0;
    const hi = long ? (words[RIP + 1] + (low > 0xffffffff ? 1 : 0)) | 0 : 0;
    return this.mmu.translate(lo, hi, EXECUTE, words[CPL]);
  }

  /** Where the page `distance` pages behind the address in word `field` is, by the TLB; or -1. */
  known(field: number, distance: number): number {
    const words = this.#words;
    const page = ((words[field] & ~(PAGE_SIZE - 1)) >>> 0) + distance * PAGE_SIZE;
    const carry = Math.floor(page / 2 ** 32);
    return this.mmu.known(page | 0, (words[field + 1] + carry) | 0, EXECUTE, words[CPL]);
  }

  /** Notes at the TLB that code at RIP was entered in the jump cache. */
  note(): void {
    const words = this.#words;
    const { tlb } = this.mmu;
    if (this.#is64) tlb.noteCode(words[RIP], words[RIP + 1]);
    else tlb.noteCode(words[CS_BASE] + words[RIP], 0);
  }

  /** Whether a breakpoint on code lies in the page of RIP. */
  get breaks(): boolean {
    const { breakpoints } = this.mmu;
    if (!breakpoints.code) return false;
    const words = this.#words;
    const long = this.#is64;
    const lo = long ? words[RIP] : (words[CS_BASE] + words[RIP]) | 0;
    return breakpoints.codePage(lo, long ? words[RIP + 1] : 0);
  }

  get #is64(): boolean {
    return (this.#words[MODE] & MODE_SIZE_MASK) === MODE_64;
  }

  #gp(): number {
    this.#words[FAULT_VECTOR] = VECTOR_GP;
    this.#words[FAULT_ERROR] = 0;
    return -1;
  }
}
