/**
 * A cursor on a stack: pushes and pops that check limits and pages, and move no register before
 * `commit`. Faults are #SS with the error code given at the start.
 *
 * Source: AMD APM vol. 2, 4.7.3 (expand-down), 4.8.1, 8.7-8.9 (stacks of events).
 */
import * as L from '../cpu/layout.js';
import { ATTR_DB, ATTR_EXPAND_DOWN } from '../cpu/mode.js';
import type { CpuRecord } from '../cpu/record.js';
import { VECTOR_GP, VECTOR_SS } from '../cpu/registers.js';
import type { MemoryAccess } from '../mmu/access.js';
import type { Mmu } from '../mmu/mmu.js';
import { GUEST_FAULT } from './outcome.js';

const RSP = L.gprOffset(4) >> 2;

export class Stack {
  /** The pointer as moved so far. */
  lo = 0;
  hi = 0;
  /** High half of the last `pop` of 8 bytes, else 0. */
  high = 0;
  private baseLo = 0;
  private limit = 0;
  private attributes = 0;
  private flat = false;
  private mask = 0;
  private who = 0;
  private errorCode = 0;

  constructor(
    private readonly record: CpuRecord,
    private readonly mmu: Mmu,
    private readonly memory: MemoryAccess,
  ) {}

  /** The current stack. `flat`: 64-bit mode. */
  begin(flat: boolean, cpl: number): void {
    const { words } = this.record;
    const ss = L.segmentOffset(L.SEG.ss);
    this.beginAt(
      words[RSP],
      words[RSP + 1],
      this.record.lo(ss),
      this.record.segmentLimit(L.SEG.ss),
      this.record.segmentAttributes(L.SEG.ss),
      flat,
      cpl,
      0,
    );
  }

  /** Another stack: pointer, and the cached fields of its segment. */
  beginAt(
    lo: number,
    hi: number,
    baseLo: number,
    limit: number,
    attributes: number,
    flat: boolean,
    cpl: number,
    errorCode: number,
  ): void {
    this.flat = flat;
    this.mask = flat || (attributes & ATTR_DB) !== 0 ? -1 : 0xffff;
    this.lo = lo & this.mask;
    this.hi = flat ? hi : 0;
    this.baseLo = baseLo;
    this.limit = limit;
    this.attributes = attributes;
    this.who = cpl;
    this.errorCode = errorCode;
  }

  /** Rounds the pointer of a 64-bit stack down to 16 bytes. */
  align16(): void {
    this.lo &= ~15;
  }

  push(size: number, valueLo: number, valueHi: number): void {
    this.move(-size);
    this.check(size);
    this.mmu.canonicalVector = VECTOR_SS;
    const lo = (this.baseFlat() + this.lo) | 0;
    if (size === 8) this.memory.write64(lo, this.hi, valueLo, valueHi, this.who);
    else if (size === 4) this.memory.write32(lo, this.hi, valueLo, this.who);
    else this.memory.write16(lo, this.hi, valueLo, this.who);
    this.mmu.canonicalVector = VECTOR_GP;
  }

  /** The low half of what was popped; the high half is in `high`. */
  pop(size: number): number {
    this.check(size);
    this.mmu.canonicalVector = VECTOR_SS;
    const lo = (this.baseFlat() + this.lo) | 0;
    let value: number;
    this.high = 0;
    if (size === 8) {
      value = this.memory.read64(lo, this.hi, this.who);
      this.high = this.memory.high;
    } else if (size === 4) value = this.memory.read32(lo, this.hi, this.who);
    else value = this.memory.read16(lo, this.hi, this.who);
    this.mmu.canonicalVector = VECTOR_GP;
    this.move(size);
    return value;
  }

  /**
   * The low half of what lies `offset` bytes above the pointer; the high half is in `high`.
   * Processors read frames from their ends.
   */
  peek(offset: number, size: number): number {
    this.move(offset);
    const value = this.pop(size);
    this.move(-offset - size);
    return value;
  }

  /** Moves the pointer by `bytes` without an access. */
  move(bytes: number): void {
    const before = this.lo >>> 0;
    this.lo = (this.lo + bytes) & this.mask;
    if (!this.flat) return;
    if (bytes < 0 && this.lo >>> 0 > before) this.hi = (this.hi - 1) | 0;
    else if (bytes > 0 && this.lo >>> 0 < before) this.hi = (this.hi + 1) | 0;
  }

  /** Stores the pointer in RSP, ESP or SP, as wide as the stack is. */
  commit(): void {
    const { words } = this.record;
    if (this.mask === -1) {
      words[RSP] = this.lo;
      words[RSP + 1] = this.hi;
    } else {
      words[RSP] = (words[RSP] & ~this.mask) | this.lo;
    }
  }

  private baseFlat(): number {
    return this.flat ? 0 : this.baseLo;
  }

  private check(size: number): void {
    if (this.flat) return;
    const first = this.lo >>> 0;
    const last = first + size - 1;
    const top = (this.attributes & ATTR_DB) !== 0 ? 0xffffffff : 0xffff;
    const expandDown = (this.attributes & ATTR_EXPAND_DOWN) !== 0;
    const inside = expandDown ? first > this.limit && last <= top : last <= this.limit;
    if (inside) return;
    this.record.setI32(L.FAULT_VECTOR, VECTOR_SS);
    this.record.setI32(L.FAULT_ERROR, this.errorCode);
    throw GUEST_FAULT;
  }
}
