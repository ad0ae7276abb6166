/**
 * Loops that clear memory by plain stores, as Linux's memset does until it knows the processor:
 *
 *     1: dec counter; mov [base], value; mov [base + 8], value; …; lea base, [base + 8n]; jnz 1b
 *
 * Where nobody has written the pages ahead yet, zeros are there already, and the host need not
 * provide memory for more of them: iterations over whole such pages are counted, not executed. What
 * guest and host can see is what executing them would have made of it, RFLAGS included.
 */
import { decremented, statusFlags, storeStatusFlags } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { CpuRecord } from '../cpu/record.js';
import { formKey } from '../isa/form.js';
import * as R from '../isa/op-record.js';
import type { Clears, Mmu } from '../mmu/mmu.js';
import { PAGE_SIZE } from '../mmu/physical.js';
import { formOfHandler, type HandlerSet, plainHandler } from './handlers.js';
import type { InstructionCount } from './instruction-count.js';

const ARG0 = L.ARG0 >> 2;
const BOUNCE = L.BOUNCE >> 2;
const BUDGET = L.BUDGET >> 2;
const DECREMENT = 'DEC.64 r64';
const STORE = 'MOV.64 m64,r64';
const ADVANCE = 'LEA.64 r64,m8';
const BRANCH = 'JNZ.64 j64';
/** Bytes of a store, and stores of an iteration at most. */
const BYTES = 8;
const STORES = 16;
/** Pages gone through at once at most. */
const PAGES = 4096;

/** An iteration: offsets of its registers in the record, bytes it clears, its instructions. */
interface Iteration {
  readonly base: number;
  readonly counter: number;
  readonly bytes: number;
  readonly instructions: number;
}

export class ClearingLoops {
  private readonly words: Int32Array;
  private readonly view: DataView;

  constructor(
    private readonly record: CpuRecord,
    private readonly mmu: Mmu,
    private readonly handlers: HandlerSet,
    private readonly count: InstructionCount,
  ) {
    this.words = record.words;
    this.view = new DataView(record.buffer);
  }

  /**
   * The store `op` of `BYTES` bytes in BOUNCE is about to be executed, its address, that of a page,
   * in ARG0. Takes the vCPU to a later iteration if the pages up to there need no stores; the
   * address is that of this iteration's then. What is known of the page that is there: a fault is
   * pending.
   */
  goAhead(op: number): Clears {
    const { words, record } = this;
    if ((words[BOUNCE] | words[BOUNCE + 1]) !== 0) return 'something';
    const loop = this.iterationAt(op);
    if (loop === null || !this.isAtStart(loop)) return 'something';
    const perPage = PAGE_SIZE / loop.bytes;
    const later = record.hi(loop.counter) === 0 ? record.lo(loop.counter) >>> 0 : 0xffffffff;
    const affordable = Math.floor(this.count.left / loop.instructions);
    const most = Math.min(Math.floor(Math.min(later, affordable) / perPage), PAGES);
    let pages = 0;
    let change: Clears = 'nothing';
    for (; pages < most; pages++) {
      change = this.changeBy(pages * PAGE_SIZE);
      if (change !== 'nothing') break;
    }
    if (pages > 0) this.goOn(loop, pages);
    return change;
  }

  /** Whether ARG0 is where the register leads that the loop's addresses are based on. */
  private isAtStart({ base }: Iteration): boolean {
    const { words, record } = this;
    return record.lo(base) === words[ARG0] && record.hi(base) === words[ARG0 + 1];
  }

  /** What writing zeros all over the page `distance` behind ARG0 changes. */
  private changeBy(distance: number): Clears {
    const { words, mmu } = this;
    const [lo, hi] = plus(words[ARG0], words[ARG0 + 1], distance);
    return mmu.clears(lo, hi);
  }

  /** Has the iterations that clear so many pages be over. */
  private goOn(loop: Iteration, pages: number): void {
    const { words, record } = this;
    const bytes = pages * PAGE_SIZE;
    const iterations = bytes / loop.bytes;
    const instructions = iterations * loop.instructions;
    // A sample comes as much later.
    this.count.postpone(instructions);
    words[BUDGET] -= instructions;
    const [lo, hi] = plus(record.lo(loop.base), record.hi(loop.base), bytes);
    record.setPair(loop.base, lo, hi);
    record.setPair(L.ARG0, lo, hi);
    const left = plus(record.lo(loop.counter), record.hi(loop.counter), -iterations);
    record.setPair(loop.counter, left[0], left[1]);
    storeStatusFlags(words, decremented(left[0], left[1], statusFlags(words)));
  }

  /** The iteration whose first store is `op`; null if it is none. */
  private iterationAt(op: number): Iteration | null {
    const { view } = this;
    const first = op - R.OP_SIZE;
    const rest = view.getUint8(first + R.OP_REMAINING);
    if (rest !== view.getUint8(op + R.OP_REMAINING) + 1 || !this.is(first, DECREMENT)) return null;
    const counter = view.getUint16(first + R.OP_REG[0], true);
    const base = view.getUint16(op + R.OP_BASE, true);
    const value = view.getUint16(op + R.OP_REG[1], true);
    if (base === counter || base === value || counter === value) return null;
    let stores = 0;
    let at = op;
    for (; stores < STORES && this.is(at, STORE); stores++, at += R.OP_SIZE) {
      if (view.getUint16(at + R.OP_REG[1], true) !== value) return null;
      if (!this.isAddress(at, base, stores * BYTES)) return null;
    }
    const bytes = stores * BYTES;
    if (stores === 0 || PAGE_SIZE % bytes !== 0 || rest < stores + 3) return null;
    if (!this.is(at, ADVANCE) || !this.isAddress(at, base, bytes)) return null;
    if (view.getUint16(at + R.OP_REG[0], true) !== base) return null;
    const branch = at + R.OP_SIZE;
    if (!this.is(branch, BRANCH)) return null;
    const start = view.getUint16(first + R.OP_NEXT, true) - view.getUint8(first + R.OP_LENGTH);
    if (view.getInt32(branch + R.OP_DISPLACEMENT, true) !== start) return null;
    return { base, counter, bytes, instructions: stores + 3 };
  }

  /** Whether the record at `at` is of that form, and executed by itself. */
  private is(at: number, key: string): boolean {
    const handler = this.view.getUint16(at + R.OP_HANDLER, true);
    if (plainHandler(this.handlers, handler) !== handler) return false;
    const info = formOfHandler(this.handlers, handler);
    return info !== undefined && formKey(info.form) === key;
  }

  /** Whether the address of the record at `at` is `displacement` behind the register `base`. */
  private isAddress(at: number, base: number, displacement: number): boolean {
    const { view } = this;
    return (
      view.getUint8(at + R.OP_EA) === 0 &&
      view.getUint16(at + R.OP_BASE, true) === base &&
      view.getInt32(at + R.OP_DISPLACEMENT, true) === displacement &&
      view.getInt32(at + R.OP_DISPLACEMENT + 4, true) === 0
    );
  }
}

/** Halves of a 64-bit number and `change`, of less than 2^48. */
function plus(lo: number, hi: number, change: number): readonly [lo: number, hi: number] {
  const sum = (lo >>> 0) + change;
  return [sum | 0, (hi + Math.floor(sum / 2 ** 32)) | 0];
}
