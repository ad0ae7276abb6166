/**
 * The page walk: legacy 32-bit, PAE, 4-level and 5-level tables.
 *
 * Source: AMD APM vol. 2, 5.2-5.6 (translation, protection), 5.6.7 (protection keys), 8.4.2 (error
 * code).
 * Reserved bits follow AMD where vendors differ: bits 8:7 of a level-4 entry must be zero. Accessed
 * and dirty bits are set once the whole walk has succeeded. No allocation and no BigInt: addresses
 * are lo/hi pairs of signed numbers.
 */
import * as L from '../cpu/layout.js';
import type { CpuRecord } from '../cpu/record.js';
import * as R from '../cpu/registers.js';
import { isReadOnly, type PhysicalMemory, spaOf } from './physical.js';

export const READ = 0;
export const WRITE = 1;
export const EXECUTE = 2;

export const PTE_P = 1 << 0;
export const PTE_W = 1 << 1;
export const PTE_U = 1 << 2;
export const PTE_A = 1 << 5;
export const PTE_D = 1 << 6;
export const PTE_PS = 1 << 7;
export const PTE_G = 1 << 8;
const NX_HI = 1 << 31;
/** Physical address bits 51:32. */
const ADDRESS_HI = 0xfffff;
const PAGE_MASK = ~0xfff;

/** In place of an entry's index: a table in ROM, whose accessed bits cannot be set. */
const UNWRITABLE = 0xffffffff;

/** How the tables are read. */
const OFF = 0;
const LEGACY = 1;
const PAE = 2;
const LONG = 3;

/**
 * Turns the GPA of a page table into a system-physical address, -1 (no memory there) or
 * TABLE_REFUSED (an exception is due): a fill policy's part.
 */
export type TableLocator = (gpaLo: number, gpaHi: number) => number;

export const TABLE_REFUSED = -2;

export interface PagingFeatures {
  /** Bits of a physical address, 36 to 52. */
  readonly physicalBits: number;
  /** Bits 51:32 of an entry that an extension gives a meaning, as a mask; none if absent. */
  readonly tableBitsHi?: number;
  readonly gigabytePages: boolean;
  /** 4 MiB pages above 4 GiB in legacy tables (PSE-36). */
  readonly pse36: boolean;
  /** Bits of the widest linear address: 48, or 57 where five levels can be switched on. */
  readonly linearBits: number;
}

export class PageWalker {
  // The result of a walk that succeeded.
  /** GPA of the 4 KiB page. */
  pageLo = 0;
  pageHi = 0;
  /** Rights that the tables give, all levels together. */
  writable = true;
  user = true;
  executable = true;
  dirty = true;
  global = false;
  /** Protection key. */
  key = 0;
  /** Bits of the offset in the page that the tables map: 12, 21, 22 or 30. */
  pageShift = 12;
  /** Rights of this access' privilege: bit 0 read, 1 write, 2 execute. */
  rights = 0;
  /** Error code of a walk that failed. */
  error = 0;

  // What the registers say, kept by `configure`.
  private kind = OFF;
  private levels = 0;
  private rootLo = 0;
  private rootHi = 0;
  private reservedHi = 0;
  private reserved4m = 0;
  /** Bits of the upper half above the sign bit of a canonical address. */
  private canonicalShift = 0;
  private noExecute = false;
  private fetchReported = false;
  private writeProtect = false;
  private pse = false;
  private keys = false;
  smep = false;
  smap = false;
  /** Set by a fill policy; null means that the tables' addresses are used as they stand. */
  locateTable: TableLocator | null = null;
  /** Set by `locateTable`: the table lies in ROM. */
  tableReadOnly = false;
  /** The policy did not let this walk read a table. */
  tableRefused = false;
  /** Bits 51:32 that lie above the physical address, as the model says. */
  private readonly beyondAddressHi: number;
  private readonly notAddressHi: number;
  /** Indices in `words` of the entries of this walk, root first. */
  private readonly path = new Uint32Array(5);
  private depth = 0;
  /** The low halves of all its entries, and-ed. */
  private common = -1;

  constructor(
    private readonly record: CpuRecord,
    private readonly physical: PhysicalMemory,
    private readonly features: PagingFeatures,
  ) {
    const bits = features.physicalBits - 32;
    this.beyondAddressHi = bits >= 20 ? 0 : ADDRESS_HI & ~((1 << bits) - 1);
    this.notAddressHi = this.beyondAddressHi & ~(features.tableBitsHi ?? 0);
  }

  get pagingOn(): boolean {
    return this.kind !== OFF;
  }

  /** What the upper half of an address in CR3 or an entry may hold. */
  get addressHi(): number {
    return ADDRESS_HI & ~this.notAddressHi;
  }

  /** Without paging, and in 32-bit entries, there is no room for a choice of key. */
  get choosesNoKey(): boolean {
    return this.kind === OFF || this.kind === LEGACY;
  }

  /** Legacy PAE tables, whose top entries stand in registers. */
  get isPae(): boolean {
    return this.kind === PAE;
  }

  /** Takes over CR0, CR3, CR4 and EFER. Cached translations are the caller's to drop. */
  configure(): void {
    const { record } = this;
    const cr0 = record.i32(L.CR0);
    const cr4 = record.i32(L.CR4);
    const efer = record.i32(L.EFER);
    const long = (efer & R.EFER_LMA) !== 0;
    const pae = (cr4 & R.CR4_PAE) !== 0;
    this.kind = (cr0 & R.CR0_PG) === 0 ? OFF : long ? LONG : pae ? PAE : LEGACY;
    this.levels = (cr4 & R.CR4_LA57) !== 0 ? 5 : 4;
    this.noExecute = (efer & R.EFER_NXE) !== 0 && pae;
    this.smep = (cr4 & R.CR4_SMEP) !== 0;
    this.smap = (cr4 & R.CR4_SMAP) !== 0;
    this.keys = long && (cr4 & R.CR4_PKE) !== 0;
    this.fetchReported = this.noExecute || this.smep;
    this.writeProtect = (cr0 & R.CR0_WP) !== 0;
    this.pse = (cr4 & R.CR4_PSE) !== 0;
    this.canonicalShift = !long ? 0 : this.levels === 5 && this.kind === LONG ? 7 : 16;
    this.rootLo = record.lo(L.CR3) & PAGE_MASK;
    this.rootHi = long ? record.hi(L.CR3) & ADDRESS_HI : 0;
    const ignored = this.kind === PAE ? 0x7ff00000 : 0;
    this.reservedHi = this.notAddressHi | ignored | (this.noExecute ? 0 : NX_HI);
    // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32, bit 21 is reserved.
    const beyond = this.features.pse36 ? this.beyondAddressHi & 0xff : 0xff;
    this.reserved4m = (1 << 21) | (beyond << 13);
    this.publish();
  }

  /** Tells emitted code (`fast-walk.ts`). */
  private publish(): void {
    const { record } = this;
    const { protect, smep, smap, keys, gigabyte } = L.WALK_RULE;
    record.setI32(L.WALK_LEVELS, this.kind === LONG ? this.levels : 0);
    record.setPair(L.WALK_ROOT, this.rootLo, this.rootHi);
    record.setPair(L.WALK_RESERVED, 0, this.reservedHi);
    const rules =
      (this.writeProtect ? protect : 0) |
      (this.smep ? smep : 0) |
      (this.smap ? smap : 0) |
      (this.keys ? keys : 0) |
      (this.features.gigabytePages ? gigabyte : 0);
    record.setI32(L.WALK_RULES, rules);
  }

  /** Whether `hi` makes a 64-bit virtual address canonical (always, outside long mode). */
  isCanonical(hi: number): boolean {
    return (hi << this.canonicalShift) >> this.canonicalShift === hi;
  }

  /**
   * Whether `hi` makes an address that may be a base: processors check what they load into base
   * registers and MSRs against the widest address they know, whatever CR4.LA57 says.
   */
  isCanonicalBase(hi: number): boolean {
    const top = hi >> (this.features.linearBits - 33);
    return top === 0 || top === -1;
  }

  /**
   * Translates `lo`/`hi` for an access. `user`: made at CPL 3 and not implicitly by the system;
   * `override`: supervisor data accesses to user pages are allowed (EFLAGS.AC) despite SMAP.
   */
  walk(lo: number, hi: number, access: number, user: boolean, override: boolean): boolean {
    this.depth = 0;
    this.common = -1;
    this.tableRefused = false;
    let found: boolean;
    if (this.kind === LONG) {
      found = this.walkLong(lo, hi, this.rootLo, this.rootHi, this.levels);
    } else if (this.kind === PAE) {
      found = this.walkPae(lo);
    } else if (this.kind === LEGACY) {
      found = this.walkLegacy(lo);
    } else {
      this.identity(lo);
      return true;
    }
    if (this.tableRefused) return false;
    if (!found) {
      this.error |= this.errorBits(access, user);
      return false;
    }
    this.rights = this.rightsOf(user, override);
    if ((this.rights & (1 << access)) === 0) {
      this.error = R.PF_PRESENT | this.errorBits(access, user) | this.keyError(access, user);
      return false;
    }
    const written = access === WRITE;
    const unused = (this.common & PTE_A) === 0;
    if (unused || (written && !this.dirty)) this.markUsed(written);
    return true;
  }

  private errorBits(access: number, user: boolean): number {
    const fetch = access === EXECUTE && this.fetchReported ? R.PF_FETCH : 0;
    return (user ? R.PF_USER : 0) | fetch | (access === WRITE ? R.PF_WRITE : 0);
  }

  /** What may be done with the page just found: bit 0 read, 1 write, 2 execute. */
  private rightsOf(user: boolean, override: boolean): number {
    const code = this.executable ? 4 : 0;
    const data = 3 & ~this.keyDenial(user);
    if (user) return this.user ? (this.writable ? data : data & 1) | code : 0;
    const fetch = this.user && this.smep ? 0 : code;
    if (this.user && this.smap && !override) return fetch;
    return (this.writable || !this.writeProtect ? data : data & 1) | fetch;
  }

  /** What the key of the page just found denies of its data: bit 0 read, 1 write. */
  private keyDenial(user: boolean): number {
    if (!this.keys || !this.user) return 0;
    const bits = this.record.words[L.PKRU >> 2] >>> (this.key * 2);
    if ((bits & 1) !== 0) return 3;
    return user || this.writeProtect ? bits & 2 : 0;
  }

  /** The PK bit is set whenever the key denies the access, even if something else does, too. */
  private keyError(access: number, user: boolean): number {
    return access !== EXECUTE && (this.keyDenial(user) & (1 << access)) !== 0 ? R.PF_KEY : 0;
  }

  private identity(lo: number): void {
    this.pageLo = lo & PAGE_MASK;
    this.pageHi = 0;
    this.writable = true;
    this.user = true;
    this.executable = true;
    this.dirty = true;
    this.global = false;
    this.key = 0;
    this.pageShift = 12;
    this.rights = 7;
  }

  /** Index in `words` of the entry at `offset` of a table, or -1 where there is no memory. */
  private entryAt(tableLo: number, tableHi: number, offset: number): number {
    const { physical } = this;
    if (this.locateTable !== null) {
      const spa = this.locateTable(tableLo, tableHi);
      if (spa === TABLE_REFUSED) this.tableRefused = true;
      if (spa < 0) return -1;
      const at = (physical.ramBase + spa + offset) >>> 2;
      this.path[this.depth++] = this.tableReadOnly ? UNWRITABLE : at;
      return at;
    }
    const page = (tableLo >>> 12) + tableHi * 0x100000;
    const entry = physical.entry(page);
    if (entry === 0) return -1;
    const at = (physical.ramBase + spaOf(entry) + offset) >>> 2;
    this.path[this.depth++] = isReadOnly(entry) ? UNWRITABLE : at;
    return at;
  }

  private walkLong(
    lo: number,
    hi: number,
    rootLo: number,
    rootHi: number,
    levels: number,
  ): boolean {
    const { words } = this.physical;
    let tableLo = rootLo;
    let tableHi = rootHi;
    let all = -1;
    let any = 0;
    for (let level = levels; ; level--) {
      const at = this.entryAt(tableLo, tableHi, tableOffset(lo, hi, level));
      // An address without memory behind it reads as all ones.
      const entryLo = at < 0 ? -1 : words[at];
      const entryHi = at < 0 ? -1 : words[at + 1];
      if ((entryLo & PTE_P) === 0) return this.notPresent();
      if ((entryHi & this.reservedHi) !== 0) return this.reservedBit();
      all &= entryLo;
      any |= entryHi;
      const large = (entryLo & PTE_PS) !== 0;
      if (level === 1) {
        return this.leaf(entryLo & PAGE_MASK, entryHi, entryLo, all, any, 12);
      }
      if (large && level === 2) {
        if ((entryLo & 0x1fe000) !== 0) return this.reservedBit();
        const page = (entryLo & 0xffe00000) | (lo & 0x1ff000);
        return this.leaf(page, entryHi, entryLo, all, any, 21);
      }
      if (large && level === 3) {
        if (!this.features.gigabytePages || (entryLo & 0x3fffe000) !== 0) return this.reservedBit();
        const page = (entryLo & 0xc0000000) | (lo & 0x3ffff000);
        return this.leaf(page, entryHi, entryLo, all, any, 30);
      }
      if (level >= 4 && (large || (level === 4 && (entryLo & PTE_G) !== 0))) {
        return this.reservedBit();
      }
      tableLo = entryLo & PAGE_MASK;
      tableHi = entryHi & ADDRESS_HI;
    }
  }

  /** The top level of PAE stands in registers, loaded and checked with CR3. */
  private walkPae(lo: number): boolean {
    const at = (L.PDPTE >> 2) + (lo >>> 30) * 2;
    const entryLo = this.record.words[at];
    if ((entryLo & PTE_P) === 0) return this.notPresent();
    const tableHi = this.record.words[at + 1] & ADDRESS_HI;
    return this.walkLong(lo, 0, entryLo & PAGE_MASK, tableHi, 2);
  }

  private walkLegacy(lo: number): boolean {
    const { words } = this.physical;
    const directory = this.entryAt(this.rootLo, 0, (lo >>> 20) & 0xffc);
    const upper = directory < 0 ? -1 : words[directory];
    if ((upper & PTE_P) === 0) return this.notPresent();
    if (this.pse && (upper & PTE_PS) !== 0) {
      if ((upper & this.reserved4m) !== 0) return this.reservedBit();
      const page = (upper & 0xffc00000) | (lo & 0x3ff000);
      return this.leaf(page, (upper >>> 13) & 0xff, upper, upper, 0, 22);
    }
    const table = this.entryAt(upper & PAGE_MASK, 0, (lo >>> 10) & 0xffc);
    const lower = table < 0 ? -1 : words[table];
    if ((lower & PTE_P) === 0) return this.notPresent();
    return this.leaf(lower & PAGE_MASK, 0, lower, upper & lower, 0, 12);
  }

  private leaf(
    pageLo: number,
    entryHi: number,
    entry: number,
    all: number,
    any: number,
    shift: number,
  ): boolean {
    this.common = all;
    this.pageLo = pageLo;
    this.pageHi = entryHi & ADDRESS_HI;
    this.writable = (all & PTE_W) !== 0;
    this.user = (all & PTE_U) !== 0;
    this.executable = any >= 0 || !this.noExecute;
    this.dirty = (entry & PTE_D) !== 0;
    this.global = (entry & PTE_G) !== 0;
    this.key = (entryHi >>> 27) & 15;
    this.pageShift = shift;
    return true;
  }

  private notPresent(): boolean {
    this.error = 0;
    return false;
  }

  private reservedBit(): boolean {
    this.error = R.PF_PRESENT | R.PF_RESERVED;
    return false;
  }

  /** Sets the accessed bits of the entries used, and the dirty bit of the last. */
  private markUsed(written: boolean): void {
    const last = this.depth - 1;
    for (let i = 0; i <= last; i++) {
      this.setBits(this.path[i], written && i === last ? PTE_A | PTE_D : PTE_A);
    }
    if (written) this.dirty = true;
  }

  private setBits(at: number, bits: number): void {
    const { physical } = this;
    if (at === UNWRITABLE) return;
    const entry = physical.words[at];
    if ((entry & bits) === bits) return;
    physical.words[at] = entry | bits;
    physical.noteWrite(at * 4, 4);
  }
}

/** Byte offset of the entry for an address in a table of 8-byte entries. */
function tableOffset(lo: number, hi: number, level: number): number {
  switch (level) {
    case 1:
      return (lo >>> 9) & 0xff8;
    case 2:
      return (lo >>> 18) & 0xff8;
    case 3:
      return ((lo >>> 27) | (hi << 5)) & 0xff8;
    case 4:
      return (hi >>> 4) & 0xff8;
    default:
      return (hi >>> 13) & 0xff8;
  }
}
