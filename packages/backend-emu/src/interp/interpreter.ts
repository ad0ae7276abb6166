/**
 * Runs one vCPU's instructions by the core module, exactly to an instruction count.
 *
 * The core module runs until something is rare: it then calls what is here, or returns. How far it
 * may run is the instruction count's to say; a deadline inside a block is a patch of its record.
 */

import type { Clock } from '@cloister/core';
import * as L from '../cpu/layout.js';
import { MODE_64, MODE_CODE_LIMITED, MODE_SIZE_MASK } from '../cpu/mode.js';
import type { CpuRecord } from '../cpu/record.js';
import { VECTOR_GP, VECTOR_SS } from '../cpu/registers.js';
import * as R from '../isa/op-record.js';
import { EXIT } from '../jit/exit.js';
import type { MemoryAccess } from '../mmu/access.js';
import type { Reach } from '../mmu/fast-walk.js';
import type { Mmu } from '../mmu/mmu.js';
import { PAGE_SIZE } from '../mmu/physical.js';
import { NEXT, REDISPATCH } from '../system/outcome.js';
import { checkSegment } from '../system/segment-check.js';
import { ClearingLoops } from './clearing-loop.js';
import { CodeFetch } from './code-fetch.js';
import type { CoreImports } from './core-module.js';
import type { DeliverUsual } from './delivery.js';
import { RUN_FAULT, RUN_LEAVE, RUN_STOP } from './flows.js';
import { formOfHandler, HANDLER_HEAD, HANDLER_REGION } from './handlers.js';
import { InstructionCount } from './instruction-count.js';
import { JumpTargets } from './jump-targets.js';
import { MODE_SINGLE, type OpCache } from './op-cache.js';
import { StopPatches } from './stop-patches.js';
import { fillsWithZeros, overwritesPage } from './whole-pages.js';

const W = (offset: number): number => offset >> 2;
const CUR_OP = W(L.CUR_OP);
const BUDGET = W(L.BUDGET);
const RIP = W(L.RIP);
const RIP_PAGE = W(L.RIP_PAGE);
const NEXT_RIP = W(L.NEXT_RIP);
const MODE = W(L.MODE);
const GENERATION = W(L.GENERATION);
const CS_LIMIT = W(L.segmentOffset(L.SEG.cs) + L.SEG_LIMIT);
const ARG0 = W(L.ARG0);
/** How often regions were left for a deadline, its lower half. */
const REGION_DEADLINES = W(L.REGION_EXITS + EXIT.deadline * 8);

const PAGE_OFFSET = PAGE_SIZE - 1;
const RSP = L.gprOffset(4);
const RBP = L.gprOffset(5);
/** Instructions whose loads, and whose stores, are to the stack. */
const POPS = new Set(['POP', 'POPF', 'RET', 'RETI', 'LEAVE', 'ENTER']);
const PUSHES = new Set(['PUSH', 'PUSHF', 'PUSHSEG', 'CALL', 'CALLI', 'ENTER']);
const NONE: ReadonlySet<string> = new Set();

/** Why a run ended. */
export type InterpreterEnd = 'deadline' | 'fault' | 'leave';

export interface InterpreterOptions {
  readonly memory: WebAssembly.Memory;
  readonly module: WebAssembly.Module;
  readonly record: CpuRecord;
  readonly mmu: Mmu;
  readonly access: MemoryAccess;
  readonly opCache: OpCache;
  /** See `mmu/fast-walk.ts`. */
  readonly reach: Reach;
  /** Runs a system function by number and gives its outcome. */
  readonly callSystem: (number: number) => number;
  /** Translates what is executed often. */
  readonly sampler?: Sampler;
  /** The VM's clock. Counted, it follows the instructions that are executed here. */
  readonly clock?: Clock;
}

/** Who is told which blocks are executed, and decides about translation. */
export interface Sampler {
  /** Instructions between two samples; 0: none. */
  readonly interval: number;
  /** The block whose first record or head is at `record` comes next, `inRegion` or not. */
  sample(record: number, inRegion: boolean, places: CodePlaces): void;
  /** The block that is entered at `target` was found, at its first execution or a later one. */
  found(target: number, places: CodePlaces): number;
}

/** Where code lies, seen from the page of the current instruction. */
export interface CodePlaces {
  /** Host address of the page so many pages behind it; -1: the TLB does not know. */
  page(distance: number): number;
  /** Record that the jump cache leads to from so many bytes behind its beginning; 0: none. */
  cached(distance: number): number;
}

export class Interpreter {
  /** How often regions had been left for a deadline at the last one. */
  #regionDeadlines = 0;
  /** Functions that records and heads name by number. */
  readonly functions: WebAssembly.Table;
  /** See `delivery.ts`. */
  readonly deliverUsual: DeliverUsual;
  readonly #run: () => number;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #allWords: Int32Array;
  readonly #options: InterpreterOptions;
  readonly #count: InstructionCount;
  readonly #stops: StopPatches;
  readonly #jumps: JumpTargets;
  readonly #fetch: CodeFetch;
  readonly #clearing: ClearingLoops;
  readonly #fromRip = this.#placesFrom(RIP);

  constructor(options: InterpreterOptions) {
    this.#options = options;
    const { memory, record, access, mmu, opCache } = options;
    this.#words = record.words;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#halves = new Uint16Array(memory.buffer);
    this.#allWords = new Int32Array(memory.buffer);
    this.#count = new InstructionCount(record, this.#bytes, options.clock, options.sampler);
    this.#stops = new StopPatches(this.#halves, options.opCache);
    this.#jumps = new JumpTargets(record.words);
    this.#fetch = new CodeFetch(record, mmu);
    this.#clearing = new ClearingLoops(record, mmu, opCache.handlers, this.#count);
    const { words } = record;
    const imports: CoreImports = {
      reach: options.reach,
      loadSlow: (bytes) =>
        access.loadSlow(words[ARG0], words[ARG0 + 1], bytes) && this.#settleFault(POPS),
      storeSlow: (bytes) => {
        // A page begins, maybe in a loop that clears memory: see `clearing-loop.ts`.
        if (bytes === 8 && (words[ARG0] & PAGE_OFFSET) === 0) {
          const found = this.#clearing.goAhead(words[CUR_OP]);
          if (found === 'fault') return this.#settleFault(PUSHES);
        }
        return access.storeSlow(words[ARG0], words[ARG0 + 1], bytes) && this.#settleFault(PUSHES);
      },
      prepareRmw: (bytes) => {
        if (bytes === 0) this.#noteOverwriting();
        try {
          const faulted = access.prepareRmw(words[ARG0], words[ARG0 + 1], bytes);
          return faulted && this.#settleFault(NONE);
        } finally {
          mmu.overwriting = false;
          mmu.clearing = false;
        }
      },
      commitRmw: () => access.commitRmw(),
      checkSegment: (segment, bytes, write) =>
        checkSegment(record, segment, words[ARG0], bytes, write),
      system: (number) => this.#system(number),
      link: (op) => this.#link(op),
      lookup: () => this.#lookup(),
      deadline: (op) => this.#atDeadline(op),
      crossing: (op) => this.#crossing(op),
    };
    const cpuBase = new WebAssembly.Global({ value: 'i32', mutable: false }, record.base);
    const env = { memory, cpuBase, ...imports };
    const instance = new WebAssembly.Instance(options.module, { env: { ...env } });
    this.#run = instance.exports.run as () => number;
    this.deliverUsual = instance.exports.deliver as DeliverUsual;
    this.functions = instance.exports.functions as WebAssembly.Table;
  }

  /** Instructions of pages with a breakpoint on code may run: else the run ends before them. */
  watched = false;
  #ahead = false;
  /** Where in its page what is looked up lies; and the page behind it, for the op cache. */
  #offset = 0;
  readonly #nextPage = () => this.#fetch.host(PAGE_SIZE - this.#offset);

  /** Whether emitted code is executing (or waits for what it called). */
  get running(): boolean {
    return this.#count.running;
  }

  /** Instructions executed so far, not counting one in execution. */
  get executed(): number {
    return this.#count.executed;
  }

  /** Sets the count, e.g. from a snapshot. */
  set executed(count: number) {
    this.#count.executed = count;
  }

  /** Runs at most `slice` instructions from RIP. RIP is up to date afterwards. */
  run(slice: number): InterpreterEnd {
    const words = this.#words;
    const count = this.#count;
    count.begin(slice);
    let end: number;
    do {
      end = this.#run();
      this.#stops.clear();
    } while (end === RUN_STOP && count.left > 0);
    count.running = false;
    if (this.#ahead) {
      this.#ahead = false;
      return 'leave';
    }
    if (end === RUN_FAULT && words[CUR_OP] === 0 && count.left <= 0) {
      // The fetch behind the deadline: whatever comes there comes before it.
      words[W(L.FAULT_VECTOR)] = -1;
      return 'deadline';
    }
    if (end === RUN_FAULT) this.#rewind();
    return end === RUN_FAULT ? 'fault' : end === RUN_LEAVE ? 'leave' : 'deadline';
  }

  /** Tells which block is being executed: that of `record`. */
  #sample(record: number, inRegion: boolean): void {
    const { sampler } = this.#options;
    if (sampler === undefined) return;
    sampler.sample(record, inRegion, this.#placesFrom(RIP_PAGE));
    this.#count.sampled(sampler.interval);
  }

  /** Whether records are patched for a deadline. */
  get patched(): boolean {
    return this.#stops.any;
  }

  /** Visits where jumps through a register or memory led last: from their page on. */
  eachTarget(visit: (op: number, distance: number) => void): void {
    this.#jumps.eachIndirect(visit);
  }

  /** Has the jump caches lead to new targets of blocks. */
  redirect(targets: ReadonlyMap<number, number>): void {
    this.#jumps.redirect(targets);
  }

  /** Ends the run under way after at most `count` more instructions than the one in execution. */
  shorten(count: number): void {
    if (!this.#count.running) return;
    const words = this.#words;
    const op = words[CUR_OP];
    const rest = op === 0 ? 0 : this.#bytes[op + R.OP_REMAINING] - 1;
    const cut = this.#count.left + rest - count;
    if (cut <= 0) return;
    this.#count.shorten(cut);
    if (words[BUDGET] < 0 && rest > count)
      this.#stops.set(op + (count + 1) * R.OP_SIZE, op + R.OP_SIZE);
  }

  /**
   * A non-canonical address is #SS instead of #GP where the access is to the stack: by the
   * instruction's nature (`implied`) or because RSP or RBP is the base (AMD APM vol. 2, 8.2.12).
   */
  #settleFault(implied: ReadonlySet<string>): number {
    const words = this.#words;
    if (words[W(L.FAULT_VECTOR)] !== VECTOR_GP) return 1;
    const op = words[CUR_OP];
    const base = this.#halves[(op + R.OP_BASE) >> 1];
    const overridden = (this.#bytes[op + R.OP_EA] & R.EA_SEGMENT) !== 0;
    const onStack = (base === RSP || base === RBP) && !overridden;
    const { handlers } = this.#options.opCache;
    const form = formOfHandler(handlers, this.#halves[(op + R.OP_HANDLER) >> 1])?.form;
    const explicit = form?.operands.some(({ kind }) => kind === 'm') === true && onStack;
    if (explicit || implied.has(form?.mnemonic ?? '')) words[W(L.FAULT_VECTOR)] = VECTOR_SS;
    return 1;
  }

  /** Tells the MMU of a fill that writes all of a page; see `whole-pages.ts`. */
  #noteOverwriting(): void {
    const words = this.#words;
    const { mmu, opCache } = this.#options;
    if (mmu.breakpoints.data) return;
    const handler = this.#halves[(words[CUR_OP] + R.OP_HANDLER) >> 1];
    const form = formOfHandler(opCache.handlers, handler)?.form;
    if (form === undefined || !overwritesPage(words, form, this.#count.left)) return;
    // A sample on the way would stop it in the middle of the page: it comes as much later.
    this.#count.postpone(PAGE_SIZE);
    mmu.overwriting = true;
    mmu.clearing = fillsWithZeros(words, form);
  }

  /** Puts RIP and the count to before the instruction that faulted. */
  #rewind(): void {
    const words = this.#words;
    const op = words[CUR_OP];
    if (op === 0) return;
    words[BUDGET] += this.#bytes[op + R.OP_REMAINING];
    this.#setRip(RIP, this.#halves[(op + R.OP_NEXT) >> 1] - this.#bytes[op + R.OP_LENGTH]);
    words[CUR_OP] = 0;
  }

  /** Stores RIP_PAGE + `offset` at word `field`, cut to the mode's width. */
  #setRip(field: number, offset: number): void {
    const words = this.#words;
    const sum = (words[RIP_PAGE] >>> 0) + offset;
    words[field] = sum;
    const long = (words[MODE] & MODE_SIZE_MASK) === MODE_64;
    words[field + 1] = long ? words[RIP_PAGE + 1] + (sum > 0xffffffff ? 1 : 0) : 0;
  }

  #system(number: number): number {
    const words = this.#words;
    const op = words[CUR_OP];
    const next = this.#halves[(op + R.OP_NEXT) >> 1];
    this.#setRip(RIP, next - this.#bytes[op + R.OP_LENGTH]);
    this.#setRip(NEXT_RIP, next);
    const mode = words[MODE];
    const generation = words[GENERATION];
    // How many items string I/O moves at once can be seen: up to the deadline, not to a sample.
    this.#count.unite();
    const outcome = this.#options.callSystem(number);
    this.#count.divide();
    if (outcome !== NEXT) return outcome;
    if (words[MODE] === mode && words[GENERATION] === generation) return NEXT;
    // What is decoded behind it may mean something else now, or lie elsewhere.
    words[RIP] = words[NEXT_RIP];
    words[RIP + 1] = words[NEXT_RIP + 1];
    return REDISPATCH;
  }

  #lookup(): number {
    const words = this.#words;
    words[CUR_OP] = 0;
    const { breaks } = this.#fetch;
    if (breaks && !this.watched) {
      this.#ahead = true;
      return 0;
    }
    const host = this.#fetch.host(0);
    if (host < 0) return 0;
    const { opCache } = this.#options;
    this.#offset = host & PAGE_OFFSET;
    const mode = words[MODE];
    let record = opCache.block(host, mode, this.#nextPage);
    if ((mode & MODE_CODE_LIMITED) !== 0 && record !== 0 && this.#leavesCode(record)) {
      // The block ends behind the segment: instruction by instruction up to there.
      record = opCache.block(host, mode | MODE_SINGLE, this.#nextPage);
      if (record !== 0 && this.#leavesCode(record)) {
        words[W(L.FAULT_VECTOR)] = VECTOR_GP;
        words[W(L.FAULT_ERROR)] = 0;
        return 0;
      }
    }
    if (record !== 0) record = this.#found(record);
    if (record !== 0 && !breaks) {
      this.#fetch.note();
      this.#jumps.enter(words[RIP], words[RIP + 1], record);
    }
    return record;
  }

  #found(record: number): number {
    return this.#options.sampler?.found(record, this.#fromRip) ?? record;
  }

  /** Where code lies, seen from the page of the address in `field`. */
  #placesFrom(field: number): CodePlaces {
    return {
      page: (distance) => this.#fetch.known(field, distance),
      cached: (distance) => this.#cachedRecord(field, distance),
    };
  }

  #cachedRecord(field: number, distance: number): number {
    const words = this.#words;
    const sum = ((words[field] & ~(PAGE_SIZE - 1)) >>> 0) + distance;
    const lo = sum | 0;
    const hi = (words[field + 1] + Math.floor(sum / 2 ** 32)) | 0;
    return this.#jumps.cached(lo, hi);
  }

  /** Whether the block at RIP ends behind the limit of CS. */
  #leavesCode(record: number): boolean {
    const words = this.#words;
    const count = this.#bytes[record + R.OP_REMAINING];
    const fall = record + count * R.OP_SIZE;
    const start = this.#halves[(record + R.OP_NEXT) >> 1] - this.#bytes[record + R.OP_LENGTH];
    const end = (words[RIP] >>> 0) - start + this.#halves[(fall + R.OP_NEXT) >> 1];
    return end - 1 > words[CS_LIMIT] >>> 0;
  }

  #link(op: number): number {
    const { opCache } = this.#options;
    if (!opCache.hasRoom) return 0;
    const host = this.#fetch.host(0);
    if (host < 0) return 0;
    let record = opCache.block(host, this.#words[MODE], () => -1);
    // A crossing target, or a branch that its own target's decoding made stale, stays unlinked.
    if (record === 0) return 0;
    opCache.noteLink(op, record);
    record = this.#found(record);
    this.#allWords[(op + R.OP_LINK) >> 2] = record;
    const left = this.#bytes[op + R.OP_REMAINING] - 1;
    this.#halves[(op + R.OP_REFUND) >> 1] = left - this.#bytes[record + R.OP_REMAINING];
    return record;
  }

  #atDeadline(late: number): number {
    const words = this.#words;
    const inRegion = words[REGION_DEADLINES] !== this.#regionDeadlines;
    this.#regionDeadlines = words[REGION_DEADLINES];
    if (this.#count.divided) {
      this.#sample(late, inRegion);
      this.#count.divide();
      if (words[BUDGET] >= 0) return 0;
    }
    const handler = this.#halves[late >> 1];
    const isHead = handler === HANDLER_HEAD || handler === HANDLER_REGION;
    const op = isHead ? late + R.OP_SIZE : late;
    const allowed = words[BUDGET] + this.#bytes[op + R.OP_REMAINING];
    if (allowed > 0) {
      this.#stops.set(op + allowed * R.OP_SIZE, op);
      return 0;
    }
    words[BUDGET] = allowed;
    words[CUR_OP] = 0;
    this.#setRip(RIP, this.#halves[(op + R.OP_NEXT) >> 1] - this.#bytes[op + R.OP_LENGTH]);
    return 1;
  }

  #crossing(op: number): number {
    const words = this.#words;
    const start = this.#halves[(op + R.OP_NEXT) >> 1] - this.#bytes[op + R.OP_LENGTH];
    this.#setRip(RIP, start);
    const host = this.#fetch.translate(PAGE_SIZE - start);
    // Offsets above 2 GiB are negative in the record.
    if ((host | 0) === this.#allWords[(op + R.OP_IMMEDIATE) >> 2] && host >= 0) return 1;
    words[W(L.FAULT_VECTOR)] = -1;
    this.#options.opCache.forget(op);
    return 0;
  }
}
