/**
 * Translation of one vCPU's virtual addresses: TLB, page walk, fill, and the faults they raise.
 *
 * Source: AMD APM vol. 2, 5.1 and 5.6. `translate` is hot: no allocation, no BigInt, no exception;
 * a fault is left in the record (FAULT_VECTOR, FAULT_ERROR, FAULT_ADDRESS).
 */
import type { CpuExtension, ExtensionException, ExtensionVcpu } from '@cloister/core';
import { Breakpoints } from '../cpu/breakpoints.js';
import { FLAG_AC } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { CpuRecord } from '../cpu/record.js';
import { CR0_AM, CR4_PGE, VECTOR_AC, VECTOR_GP, VECTOR_PF } from '../cpu/registers.js';
import { FillPolicy, POLICY_EXCEPTION } from './fill-policy.js';
import {
  FRAME_CODE,
  FRAME_TAGGED,
  isReadOnly,
  isWritten,
  type PhysicalMemory,
  spaOf,
} from './physical.js';
import { OVERRIDE, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE, SUPERVISOR, Tlb, USER } from './tlb.js';
import { TABLE } from './verdicts.js';
import { PageWalker, type PagingFeatures, TABLE_REFUSED, WRITE } from './walk.js';

/** What #AC asks of an access of so many bytes (as measured on an AMD processor). */
function alignmentOf(size: number): number {
  if (size === 10) return 8;
  return size === 2 || size === 4 || size === 8 || size === 16 ? size : 1;
}

/** The system's own access to descriptor tables and task state, whatever the CPL. */
export const IMPLICIT = 4;
/** What `translate` answers when a fault is pending. */
export const TRANSLATE_FAULT = -1;
/** What `translate` answers where there is no (writable) memory; `gpa` is set. */
export const TRANSLATE_MMIO = -2;

const EFLAGS = L.EFLAGS >> 2;
const CR4 = L.CR4 >> 2;
const FOUND_BLANK = L.FOUND_BLANK >> 2;
const CPL = L.CPL >> 2;
const NO_PAGE = -1;
const PAGE_MASK = ~0xfff;

/** What stores of zeros all over a page change of it, or that the first of them has a fault. */
export type Clears = 'nothing' | 'something' | 'fault';

export class Mmu {
  readonly tlb: Tlb;
  readonly walker: PageWalker;
  readonly breakpoints: Breakpoints;
  /** Guest-physical address of the last translation that gave no memory, or a page walk. */
  gpa = 0;
  /** What a non-canonical address raises: #GP, or #SS in accesses to the stack. */
  canonicalVector = VECTOR_GP;
  private hiddenPage = NO_PAGE;
  /** The access under way is the first of those that write all of its page, before any other. */
  overwriting = false;
  /** Zeros are about to be written all over the page, or may be if that changes nothing of it. */
  clearing = false;
  /** Decides about every page, where an extension does. */
  private policy: FillPolicy | null = null;
  /** The policy is asked each time. */
  private asked = false;
  /** Told of each exception of the policy's. */
  onException: (exception: ExtensionException) => void = () => {};

  constructor(
    private readonly record: CpuRecord,
    readonly physical: PhysicalMemory,
    private readonly features: PagingFeatures,
  ) {
    this.tlb = new Tlb(record);
    this.breakpoints = new Breakpoints(record);
    this.walker = new PageWalker(record, physical, features);
    physical.addCache(this.tlb);
    this.walker.configure();
    this.publish();
  }

  /** Page number of the local APIC's registers, which hide memory; -1: none. */
  get apicPage(): number {
    return this.hiddenPage;
  }

  set apicPage(page: number) {
    this.hiddenPage = page;
    this.record.setI32(L.WALK_APIC, page);
  }

  /** Tells emitted code what `PageWalker` does not know of. */
  private publish(): void {
    const { record, physical } = this;
    const { map, flags, lines, verdicts, keyTags, cached } = physical.tables;
    record.setI32(L.WALK_MAP, map.byteOffset);
    record.setI32(L.WALK_MAP_PAGES, map.length);
    record.setI32(L.WALK_FLAGS, flags.byteOffset);
    record.setI32(L.WALK_LINES, lines.byteOffset);
    record.setI32(L.WALK_RAM, physical.ramBase);
    record.setPair(L.WALK_MARK, 0, this.features.tableBitsHi ?? 0);
    record.setI32(L.WALK_VERDICTS, verdicts.byteOffset);
    record.setI32(L.WALK_KEY_TAGS, keyTags.byteOffset);
    record.setI32(L.WALK_CACHED, cached.byteOffset);
    record.setI32(L.WALK_APIC, this.hiddenPage);
    this.allowFastWalk();
  }

  /** Lets emitted code walk the tables, unless somebody has to be asked about each page. */
  private allowFastWalk(): void {
    const watched = this.asked || this.breakpoints.data;
    const refused = watched || !this.physical.tables.inMemory;
    this.record.setI32(L.WALK_REFUSED, refused ? 1 : 0);
  }

  /** After a change of the debug registers. True if translations made before are void. */
  breakpointsChanged(): boolean {
    const changed = this.breakpoints.configure();
    this.allowFastWalk();
    return changed;
  }

  /** Connects the extension whose `fill` decides about every page. */
  setFillPolicy(extension: CpuExtension, vcpu: ExtensionVcpu): void {
    const { physical } = this;
    const markHi = this.features.tableBitsHi ?? 0;
    const lasting = extension.lastingVerdicts === true && physical.tables.verdicts.length > 0;
    const policy = new FillPolicy(extension, vcpu, physical, markHi, lasting);
    this.policy = policy;
    this.asked = !lasting;
    this.walker.locateTable = (gpaLo, gpaHi) => {
      const spa = policy.ask(gpaLo, gpaHi, TABLE, false, true);
      if (spa === POLICY_EXCEPTION) return TABLE_REFUSED;
      if (spa < 0) return spa;
      physical.keys.require(spa / 4096, policy.keyTag);
      this.walker.tableReadOnly = (policy.permissions & RIGHT_WRITE) === 0;
      return spa;
    };
    this.allowFastWalk();
    this.tlb.flushAll();
  }

  /** What the extension said of pages holds no more. */
  flushVerdicts(): void {
    this.physical.verdicts.forget();
    this.tlb.flushAll();
  }

  /** Where the table or other page at `gpa` lies that the processor reads by itself; -1 nowhere. */
  tableSpa(gpa: number): number {
    const { locateTable } = this.walker;
    return locateTable === null ? this.physical.locate(gpa) : locateTable(gpa, 0);
  }

  /** Takes over changed control registers and drops every translation. */
  reconfigure(): void {
    this.walker.configure();
    this.tlb.flushAll();
  }

  /** After a write to CR3. */
  switchTables(): void {
    this.walker.configure();
    this.flushNonGlobal();
  }

  /** Drops every translation but those of global pages, where these are enabled. */
  flushNonGlobal(): void {
    if ((this.record.words[CR4] & CR4_PGE) !== 0) this.tlb.flushNonGlobal();
    else this.tlb.flushAll();
  }

  /**
   * Byte offset in the memory for an access at CPL `who` (or IMPLICIT) to the byte at `lo`/`hi`;
   * TRANSLATE_FAULT; or TRANSLATE_MMIO, `gpa` being set.
   */
  translate(lo: number, hi: number, access: number, who: number): number {
    const host = this.tlb.probe(lo, hi, access, this.tableOf(who));
    return host >= 0 ? host : this.fill(lo, hi, access, who);
  }

  /**
   * What stores of zeros all over the page of `lo`/`hi` change, at the current privilege. Nothing:
   * nobody has written its bytes yet, and it counts as written now. A fault is pending.
   */
  clears(lo: number, hi: number): Clears {
    if (this.judgesElements) return 'something';
    const { words } = this.record;
    words[FOUND_BLANK] = 0;
    this.canonicalVector = VECTOR_GP;
    this.clearing = true;
    try {
      const host = this.translate(lo, hi, WRITE, words[CPL]);
      if (host === TRANSLATE_FAULT) return 'fault';
    } finally {
      this.clearing = false;
    }
    return words[FOUND_BLANK] === 1 ? 'nothing' : 'something';
  }

  /** As `translate`, but only looks into the TLB; -1 if it is not there. */
  known(lo: number, hi: number, access: number, who: number): number {
    return this.tlb.probe(lo, hi, access, this.tableOf(who));
  }

  /** The TLB that holds the rights of accesses by `who`. */
  private tableOf(who: number): number {
    if (who === 3) return USER;
    return who !== IMPLICIT && this.overrides ? OVERRIDE : SUPERVISOR;
  }

  /** Whether EFLAGS.AC lets explicit supervisor accesses pass SMAP. */
  get overrides(): boolean {
    return this.walker.smap && (this.record.words[EFLAGS] & FLAG_AC) !== 0;
  }

  /** Whether accesses to data at CPL 3 must be aligned (#AC): CR0.AM and EFLAGS.AC. */
  get aligned(): boolean {
    const { words } = this.record;
    return (words[EFLAGS] & FLAG_AC) !== 0 && (words[L.CR0 >> 2] & CR0_AM) !== 0;
  }

  /**
   * Whether an access of `size` bytes at CPL 3 may go on; else #AC is pending. It comes before
   * page faults and after the canonical check.
   */
  checkAlignment(lo: number, hi: number, size: number): boolean {
    if ((lo & (alignmentOf(size) - 1)) === 0 || !this.aligned) return true;
    if (!this.walker.isCanonical(hi)) this.fault(this.canonicalVector, 0);
    else this.fault(VECTOR_AC, 0);
    return false;
  }

  /** As `translate`, but never looks into the TLB. */
  fill(lo: number, hi: number, access: number, who: number): number {
    const { walker } = this;
    if (!walker.isCanonical(hi)) return this.fault(this.canonicalVector, 0);
    const table = this.tableOf(who);
    this.policy?.at(lo, hi);
    if (!walker.walk(lo, hi, access, table === USER, table === OVERRIDE)) {
      return walker.tableRefused ? this.refused() : this.pageFault(lo, hi, walker.error);
    }
    return this.enter(lo, hi, access, table);
  }

  private enter(lo: number, hi: number, access: number, table: number): number {
    const { walker, physical } = this;
    let page = (walker.pageLo >>> 12) + walker.pageHi * 0x100000;
    let allowed = RIGHT_READ | RIGHT_WRITE | RIGHT_EXECUTE;
    let spa = -1;
    let readOnly = false;
    const { policy } = this;
    if (policy === null) {
      const entry = page === this.apicPage ? 0 : physical.entry(page);
      if (entry === 0) return this.mmio(page, lo);
      spa = spaOf(entry);
      readOnly = isReadOnly(entry);
    } else {
      const { pageLo, pageHi } = walker;
      spa = policy.ask(pageLo, pageHi, access, table === USER, walker.choosesNoKey);
      if (spa === POLICY_EXCEPTION) return this.refused();
      page = policy.gpa / 4096;
      if (spa < 0 || page === this.apicPage) return this.mmio(page, lo);
      allowed = policy.permissions;
      readOnly = (allowed & RIGHT_WRITE) === 0;
      const taken = this.overwriting || (this.clearing && physical.keys.isBlank(spa / 4096));
      // A write to ROM leaves the frame as it is: taken over unwritten, it would lie open.
      if (taken && !readOnly) physical.keys.claim(spa / 4096, policy.keyTag);
      else physical.keys.require(spa / 4096, policy.keyTag);
    }
    const host = physical.ramBase + spa;
    const at = host + (lo & 0xfff);
    if (readOnly && access === WRITE) return this.mmio(page, lo);
    const frame = spa / 4096;
    const flags = physical.flags[frame];
    // Zeros that are written all over a blank frame are there already, under any key.
    const blank = access === WRITE && physical.keys.isBlank(frame) && !this.judgesElements;
    if (blank) this.record.words[FOUND_BLANK] = 1;
    const cleared = blank && this.clearing;
    let rights = walker.rights & allowed;
    const mayTag =
      walker.dirty &&
      !readOnly &&
      (flags & FRAME_CODE) === 0 &&
      (access === WRITE ? !cleared : isWritten(flags));
    if (cleared) physical.noteZeros(frame);
    if (!mayTag) rights &= ~RIGHT_WRITE;
    else if ((rights & RIGHT_WRITE) !== 0) {
      physical.markDirty(frame);
      physical.flags[frame] |= FRAME_TAGGED;
    }
    if (this.breakpoints.data) rights &= ~this.watchedRights(lo, hi);
    if (rights !== 0) {
      const { global, pageShift } = walker;
      this.tlb.fill(lo, hi, table, host, rights, global, pageShift);
      if (policy !== null) physical.noteCached(frame, lo & PAGE_MASK);
    }
    return at;
  }

  /** Whether each element that a string instruction writes may raise something of its own. */
  private get judgesElements(): boolean {
    return this.breakpoints.data || this.aligned;
  }

  /** What must not go by the TLB, since a breakpoint may lie there. */
  private watchedRights(lo: number, hi: number): number {
    const { breakpoints } = this;
    const reads = breakpoints.dataPage(lo, hi, true) ? RIGHT_READ : 0;
    return reads | (breakpoints.dataPage(lo, hi, false) ? RIGHT_WRITE : 0);
  }

  private mmio(page: number, lo: number): number {
    this.gpa = page * 4096 + (lo & 0xfff);
    return TRANSLATE_MMIO;
  }

  private pageFault(lo: number, hi: number, error: number): number {
    this.record.setPair(L.FAULT_ADDRESS, lo, hi);
    return this.fault(VECTOR_PF, error);
  }

  private fault(vector: number, error: number): number {
    this.record.setI32(L.FAULT_VECTOR, vector);
    this.record.setI32(L.FAULT_ERROR, error);
    return TRANSLATE_FAULT;
  }

  /** The policy's exception is pending instead of the access. */
  private refused(): number {
    const exception = this.policy!.exception!;
    this.onException(exception);
    return this.fault(exception.vector & 31, exception.errorCode ?? -1);
  }
}
