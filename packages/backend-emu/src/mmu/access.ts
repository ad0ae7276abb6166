/**
 * Memory accesses outside the TLB's fast path: page-crossing ones, MMIO, ROM, pages with code.
 *
 * `loadSlow`, `storeSlow`, `prepareRmw` and `commitRmw` serve emitted code: data in BOUNCE, answer
 * 1 if a fault is pending. `read*` and `write*` serve system functions: they throw GUEST_FAULT.
 * An access that crosses a page checks both pages before anything is written; one that crosses
 * into MMIO is split at the page.
 */
import * as L from '../cpu/layout.js';
import { MODE_64, MODE_SIZE_MASK } from '../cpu/mode.js';
import type { CpuRecord } from '../cpu/record.js';
import { VECTOR_GP, VECTOR_SS } from '../cpu/registers.js';
import { GUEST_FAULT } from '../system/outcome.js';
import { IMPLICIT, type Mmu, TRANSLATE_FAULT } from './mmu.js';
import type { PhysicalMemory } from './physical.js';
import { READ, WRITE } from './walk.js';

/** What answers accesses to addresses without memory. */
export interface MmioPort {
  /** Fills `data`, which starts as all ones. */
  read(gpa: number, data: Uint8Array): void;
  write(gpa: number, data: Uint8Array): void;
}

const CPL = L.CPL >> 2;
const MODE = L.MODE >> 2;
const RMW_PENDING = L.RMW_PENDING >> 2;
/** Largest access of emitted code or a system function, in bytes. */
const MAX_SIZE = 64;

export class MemoryAccess {
  /** High half of the last `read64`. */
  high = 0;
  private readonly physical: PhysicalMemory;
  private readonly memory: Uint8Array;
  private readonly view: DataView;
  private readonly bounce: number;
  private readonly bounceView: DataView;
  /** Views of one buffer, by length. */
  private readonly mmioData: Uint8Array[] = [];
  // The pieces of an access: at most two, each memory (host >= 0) or MMIO (host -2, gpa).
  private size0 = 0;
  private size1 = 0;
  private host0 = 0;
  private host1 = 0;
  private gpa0 = 0;
  private gpa1 = 0;
  /** Finding the second piece re-encoded a frame, maybe the first one's: each is found anew. */
  private unsettled = false;
  // What is located, for that case.
  private lo = 0;
  private hi = 0;
  private access = READ;
  private who = 0;

  constructor(
    private readonly record: CpuRecord,
    private readonly mmu: Mmu,
    private readonly mmio: MmioPort,
  ) {
    this.physical = mmu.physical;
    this.memory = mmu.physical.memory;
    this.view = mmu.physical.view;
    this.bounce = record.base + L.BOUNCE;
    this.bounceView = new DataView(record.buffer, this.bounce, MAX_SIZE);
    const data = new Uint8Array(MAX_SIZE);
    for (let size = 0; size <= MAX_SIZE; size++) this.mmioData.push(data.subarray(0, size));
  }

  // --- For emitted code -----------------------------------------------------------------------

  /** Loads `size` bytes at the current privilege to BOUNCE; 0 only translates. */
  loadSlow(lo: number, hi: number, size: number, stack = false): number {
    this.mmu.canonicalVector = stack ? VECTOR_SS : VECTOR_GP;
    if (!this.locateAligned(lo, hi, size, READ)) return 1;
    this.gather();
    return 0;
  }

  /** Stores `size` bytes of BOUNCE at the current privilege. */
  storeSlow(lo: number, hi: number, size: number, stack = false): number {
    this.mmu.canonicalVector = stack ? VECTOR_SS : VECTOR_GP;
    if (!this.locateAligned(lo, hi, size, WRITE)) return 1;
    this.scatter();
    return 0;
  }

  /** Checks that `size` bytes can be read and written and loads them; `commitRmw` stores. */
  prepareRmw(lo: number, hi: number, size: number, stack = false): number {
    this.mmu.canonicalVector = stack ? VECTOR_SS : VECTOR_GP;
    if (!this.locateAligned(lo, hi, size, WRITE)) return 1;
    this.gather();
    this.record.words[RMW_PENDING] = 1;
    return 0;
  }

  commitRmw(): void {
    this.record.words[RMW_PENDING] = 0;
    this.scatter();
  }

  // --- For system functions: throw GUEST_FAULT ------------------------------------------------

  read8(lo: number, hi: number, who: number): number {
    const host = this.single(lo, hi, 1, READ, who);
    return host >= 0 ? this.view.getUint8(host) : this.bounceView.getUint8(0);
  }

  read16(lo: number, hi: number, who: number): number {
    const host = this.single(lo, hi, 2, READ, who);
    return host >= 0 ? this.view.getUint16(host, true) : this.bounceView.getUint16(0, true);
  }

  /** Signed. */
  read32(lo: number, hi: number, who: number): number {
    const host = this.single(lo, hi, 4, READ, who);
    return host >= 0 ? this.view.getInt32(host, true) : this.bounceView.getInt32(0, true);
  }

  /** Low half; the high half is in `high`. */
  read64(lo: number, hi: number, who: number): number {
    const host = this.single(lo, hi, 8, READ, who);
    if (host >= 0) {
      this.high = this.view.getInt32(host + 4, true);
      return this.view.getInt32(host, true);
    }
    this.high = this.bounceView.getInt32(4, true);
    return this.bounceView.getInt32(0, true);
  }

  write8(lo: number, hi: number, value: number, who: number): void {
    const host = this.single(lo, hi, 1, WRITE, who);
    if (host >= 0) {
      this.view.setUint8(host, value);
      this.physical.noteWrite(host, 1);
      return;
    }
    this.bounceView.setUint8(0, value);
    this.scatter();
  }

  write16(lo: number, hi: number, value: number, who: number): void {
    const host = this.single(lo, hi, 2, WRITE, who);
    if (host >= 0) {
      this.view.setUint16(host, value, true);
      this.physical.noteWrite(host, 2);
      return;
    }
    this.bounceView.setUint16(0, value, true);
    this.scatter();
  }

  write32(lo: number, hi: number, value: number, who: number): void {
    const host = this.single(lo, hi, 4, WRITE, who);
    if (host >= 0) {
      this.view.setInt32(host, value, true);
      this.physical.noteWrite(host, 4);
      return;
    }
    this.bounceView.setInt32(0, value, true);
    this.scatter();
  }

  write64(lo: number, hi: number, valueLo: number, valueHi: number, who: number): void {
    const host = this.single(lo, hi, 8, WRITE, who);
    if (host >= 0) {
      this.view.setInt32(host, valueLo, true);
      this.view.setInt32(host + 4, valueHi, true);
      this.physical.noteWrite(host, 8);
      return;
    }
    this.bounceView.setInt32(0, valueLo, true);
    this.bounceView.setInt32(4, valueHi, true);
    this.scatter();
  }

  /** Copies guest bytes to `target` (at most 64), aligned or not. */
  readBytes(lo: number, hi: number, target: Uint8Array, who: number): void {
    if (!this.locate(lo, hi, target.length, READ, who)) throw GUEST_FAULT;
    this.gather();
    target.set(this.memory.subarray(this.bounce, this.bounce + target.length));
  }

  /** Copies `source` (at most 64 bytes) to the guest, aligned or not. */
  writeBytes(lo: number, hi: number, source: Uint8Array, who: number): void {
    if (!this.locate(lo, hi, source.length, WRITE, who)) throw GUEST_FAULT;
    this.memory.set(source, this.bounce);
    this.scatter();
  }

  /**
   * Copies guest bytes to `target` as they stand in memory, whatever key the guest sees them under:
   * what a host reads that emulates an instruction. Within one page, or at most 64 bytes.
   */
  readRaw(lo: number, hi: number, target: Uint8Array, who: number): void {
    if (!this.locate(lo, hi, target.length, READ, who)) throw GUEST_FAULT;
    this.rawPiece(this.first(), this.gpa0, target.subarray(0, this.size0));
    if (this.size1 === 0) return;
    this.rawPiece(this.second(), this.gpa1, target.subarray(this.size0));
  }

  /** Stores `source` as a host would: a guest that sees the place under a key finds it garbled. */
  writeRaw(lo: number, hi: number, source: Uint8Array, who: number): void {
    if (!this.locate(lo, hi, source.length, WRITE, who)) throw GUEST_FAULT;
    this.storeRawPiece(this.first(), this.gpa0, source.subarray(0, this.size0));
    if (this.size1 === 0) return;
    this.storeRawPiece(this.second(), this.gpa1, source.subarray(this.size0));
  }

  private rawPiece(host: number, gpa: number, target: Uint8Array): void {
    const { keys, ramBase } = this.physical;
    if (host >= 0) keys.read(host - ramBase, target, 0);
    else this.mmio.read(gpa, target.fill(0xff));
  }

  private storeRawPiece(host: number, gpa: number, source: Uint8Array): void {
    const { physical } = this;
    if (host < 0) {
      this.mmio.write(gpa, source);
      return;
    }
    physical.keys.write(host - physical.ramBase, source, 0);
    physical.noteWrite(host, source.length);
  }

  /**
   * Host address of `size` bytes of one page that the TLB lets be accessed; else -1. As emitted
   * code does, they may be accessed there with nobody told: where somebody is to be, by a
   * breakpoint too, there is no tag. Whether they must be aligned is for the caller to see to.
   */
  direct(lo: number, hi: number, size: number, access: number, who: number): number {
    return (lo & 0xfff) + size <= 4096 ? this.mmu.known(lo, hi, access, who) : -1;
  }

  /** Raises the fault that a write of `size` bytes would, writing nothing. */
  probeWrite(lo: number, hi: number, size: number, who: number): void {
    this.requireAligned(lo, hi, size, who);
    if (!this.locate(lo, hi, size, WRITE, who)) throw GUEST_FAULT;
  }

  /** Raises #AC where an access of `size` bytes must be aligned and is not. */
  requireAligned(lo: number, hi: number, size: number, who: number): void {
    if (who === 3 && !this.mmu.checkAlignment(lo, hi, size)) throw GUEST_FAULT;
  }

  /**
   * Host address of an access within one page of memory; else -1, after preparing the pieces
   * (and, for a read, loading them to BOUNCE).
   */
  private single(lo: number, hi: number, size: number, access: number, who: number): number {
    this.requireAligned(lo, hi, size, who);
    if ((lo & 0xfff) + size <= 4096) {
      const host = this.mmu.translate(lo, hi, access, who);
      if (host >= 0) {
        if (this.mmu.breakpoints.data) this.touch(lo, hi, size, access, who);
        return host;
      }
      if (host === TRANSLATE_FAULT) throw GUEST_FAULT;
    }
    if (!this.locate(lo, hi, size, access, who)) throw GUEST_FAULT;
    if (access === READ) this.gather();
    return -1;
  }

  // --- Pieces ---------------------------------------------------------------------------------

  /** `locate` at the current privilege, after the check of alignment. */
  private locateAligned(lo: number, hi: number, size: number, access: number): boolean {
    const who = this.record.words[CPL];
    if (who === 3 && !this.mmu.checkAlignment(lo, hi, size)) return false;
    return this.locate(lo, hi, size, access, who);
  }

  /** Translates the one or two pieces; false if a fault is pending. */
  private locate(lo: number, hi: number, size: number, access: number, who: number): boolean {
    const { mmu } = this;
    if (mmu.breakpoints.data) this.touch(lo, hi, size, access, who);
    const room = 4096 - (lo & 0xfff);
    this.size0 = size <= room ? size : room;
    this.size1 = size - this.size0;
    this.unsettled = false;
    this.host0 = mmu.translate(lo, hi, access, who);
    if (this.host0 === TRANSLATE_FAULT) return false;
    this.gpa0 = mmu.gpa;
    if (this.size1 === 0) return true;
    const nextLo = (lo + this.size0) | 0;
    const wide = (this.record.words[MODE] & MODE_SIZE_MASK) === MODE_64;
    const nextHi = nextLo === 0 && wide ? (hi + 1) | 0 : hi;
    const { keys } = this.physical;
    const { switches } = keys;
    this.host1 = mmu.translate(nextLo, nextHi, access, who);
    this.gpa1 = mmu.gpa;
    this.unsettled = keys.switches !== switches;
    if (this.unsettled) {
      this.lo = lo;
      this.hi = hi;
      this.access = access;
      this.who = who;
    }
    return this.host1 !== TRANSLATE_FAULT;
  }

  /** Where the first piece lies now. */
  private first(): number {
    const { lo, hi, access, who } = this;
    return this.unsettled ? this.mmu.translate(lo, hi, access, who) : this.host0;
  }

  /** Where the second piece lies now. */
  private second(): number {
    if (!this.unsettled) return this.host1;
    const nextLo = (this.lo + this.size0) | 0;
    const wide = (this.record.words[MODE] & MODE_SIZE_MASK) === MODE_64;
    const nextHi = nextLo === 0 && wide ? (this.hi + 1) | 0 : this.hi;
    return this.mmu.translate(nextLo, nextHi, this.access, this.who);
  }

  /** Notes an access for data breakpoints. A fault will void it. */
  private touch(lo: number, hi: number, size: number, access: number, who: number): void {
    if (who !== IMPLICIT) this.mmu.breakpoints.touch(lo, hi, size, access === WRITE);
  }

  private gather(): void {
    if (this.size0 === 0) return;
    this.loadPiece(this.first(), this.gpa0, this.size0, this.bounce);
    if (this.size1 !== 0) {
      this.loadPiece(this.second(), this.gpa1, this.size1, this.bounce + this.size0);
    }
  }

  private scatter(): void {
    this.storePiece(this.first(), this.gpa0, this.size0, this.bounce);
    if (this.size1 !== 0) {
      this.storePiece(this.second(), this.gpa1, this.size1, this.bounce + this.size0);
    }
  }

  private loadPiece(host: number, gpa: number, size: number, to: number): void {
    if (host >= 0) {
      copy(this.memory, host, to, size);
      return;
    }
    const spa = gpa === this.apicGpa(gpa) ? -1 : this.physical.locate(gpa);
    if (spa >= 0) {
      // Reading, for a later write, what only writes may not touch: ROM.
      copy(this.memory, this.physical.ramBase + spa + (gpa % 4096), to, size);
      return;
    }
    const data = this.mmioData[size].fill(0xff);
    this.mmio.read(gpa, data);
    this.memory.set(data, to);
  }

  private storePiece(host: number, gpa: number, size: number, from: number): void {
    if (host >= 0) {
      copy(this.memory, from, host, size);
      this.physical.noteWrite(host, size);
      return;
    }
    const data = this.mmioData[size];
    data.set(this.memory.subarray(from, from + size));
    this.mmio.write(gpa, data);
  }

  /** `gpa` itself if it lies in the APIC's page, which hides memory. */
  private apicGpa(gpa: number): number {
    return Math.floor(gpa / 4096) === this.mmu.apicPage ? gpa : -1;
  }
}

function copy(memory: Uint8Array, from: number, to: number, size: number): void {
  memory.copyWithin(to, from, from + size);
}
