/**
 * The ordinary page walk in emitted code: 4- and 5-level tables in RAM, as `walk.ts` and `mmu.ts`
 * have it, which stay the reference and do all else.
 *
 * `reach(cpu, address, access, bytes)` gives the host address for an access (0 read, 1 write, 2
 * execute) to `bytes` bytes at a linear address, having entered the page in the TLB in use and set
 * accessed and dirty bits; or 0, and nothing has changed that the reference would not change: for
 * faults, page crossings, devices, ROM, tables that hold code, frames written for the first time
 * (somebody wants to know), and what `WALK_REFUSED` says.
 *
 * A write to a page with predecoded code gets no write tag, but a host address where it touches no
 * line with code. With `bytes` 0, what is asked for is the tag: there is no address without it.
 *
 * Under an extension whose verdicts on pages last there is a walk of its own. It takes a page, or
 * a table, if the remembered verdict (`verdicts.ts`) permits the access and the frame is kept under
 * the verdict's key now; what is not remembered, or kept otherwise, is refused.
 *
 * One function serves all vCPUs of a memory. Source: as of `walk.ts`.
 */
import * as L from '../cpu/layout.js';
import { ArithmeticEmitter } from '../isa/arithmetic-emitter.js';
import { CodeEmitter, type Label, type Value } from '../wasm/code.js';
import { type FunctionBody, ModuleBuilder } from '../wasm/module.js';
import { LINE_SIZE } from './frame-tables.js';
import {
  FRAME_ALIASED,
  FRAME_CACHED,
  FRAME_CODE,
  FRAME_DIRTY,
  FRAME_TAGGED,
  FRAME_ZEROS,
  READ_ONLY,
} from './physical.js';
import { ELSEWHERE, LAST_INDEX, RIGHT_EXECUTE, RIGHT_READ, RIGHT_WRITE } from './tlb.js';
import {
  TABLE,
  VERDICT_BITS,
  VERDICT_KEYED,
  VERDICT_RIGHTS,
  VERDICT_SHIFT,
  VERDICT_TAG,
} from './verdicts.js';
import { PTE_A, PTE_D, PTE_G, PTE_P, PTE_PS, PTE_U, PTE_W, WRITE } from './walk.js';

export const REACH_TYPE = {
  params: ['i32', 'i64', 'i32', 'i32'],
  results: ['i32'],
} as const;

export type Reach = (cpu: number, address: bigint, access: number, bytes: number) => number;

/** Physical address bits 51:12 of an entry. */
const ADDRESS = 0xffffffffff000n;
/** Address bits below 12 + 9 * n, above those of the offset in a 4 KiB page. */
const within = (bits: number): bigint => (1n << BigInt(bits)) - 0x1000n;
const PAGE_SHIFT = 12;
const PAGE_OFFSET = 0xfff;
const LEVELS = 5;
/** Bits of an entry for a large page that must be zero: between bit 12 (PAT) and the address. */
const LARGE_RESERVED = within(21) & ~0x1000n;
const HUGE_RESERVED = within(30) & ~0x1000n;
const TAG = [
  [RIGHT_READ, L.TLB_TAG_READ],
  [RIGHT_WRITE, L.TLB_TAG_WRITE],
  [RIGHT_EXECUTE, L.TLB_TAG_EXECUTE],
] as const;

/** A guest-physical page's frame. */
interface Frame {
  readonly number: Value;
  readonly readOnly: Value;
  readonly host: Value;
  /** What an extension permits; null without one. */
  readonly permitted: Value | null;
}

class FastWalk extends ArithmeticEmitter {
  readonly #address = this.code.param(1);
  readonly #access = this.code.param(2);
  readonly #bytes = this.code.param(3);
  readonly #low = this.code.fixedLocal('i32');
  readonly #tlb = this.code.fixedLocal('i32');
  readonly #rules = this.code.fixedLocal('i32');
  readonly #isWrite = this.code.fixedLocal('i32');
  /** GPA of the table to be looked into, then of the page. */
  readonly #gpa = this.code.fixedLocal('i64');
  readonly #entry = this.code.fixedLocal('i64');
  /** All entries, and-ed and or-ed. */
  readonly #common = this.code.fixedLocal('i64');
  readonly #any = this.code.fixedLocal('i64');
  readonly #pageShift = this.code.fixedLocal('i32');
  /** Where the entries of this walk are, by level; 0: not used. */
  readonly #path = Array.from({ length: LEVELS }, () => this.code.fixedLocal('i32'));
  readonly #last = this.code.fixedLocal('i32');
  readonly #rights = this.code.fixedLocal('i32');

  constructor(
    code: CodeEmitter,
    /** An extension decides on pages. */
    private readonly judged: boolean,
  ) {
    super(code, code.param(0));
  }

  body(): FunctionBody {
    const { code } = this;
    const part = (emit: () => void): void => code.scope(emit);
    part(() => this.#begin());
    code.block((leaf) => {
      this.if(this.eq(this.state32(L.WALK_LEVELS), this.i32(5)), () => this.#step(5, leaf));
      for (let level = 4; level > 0; level--) part(() => this.#step(level, leaf));
    });
    part(() => this.#decide());
    part(() => this.#markUsed());
    part(() => this.#enter());
    code.unreachable();
    return code.finish();
  }

  #refuse(condition: Value): void {
    this.code.if(condition, () => this.code.return(this.i32(0)));
  }

  #bit(value: Value, bit: number): Value {
    return this.and(value, this.constant(value, bit));
  }

  #isSet(value: Value, bits: number | bigint): Value {
    const mask = value.type === 'i32' ? this.i32(Number(bits)) : this.i64(bits);
    return this.ne(this.and(value, mask), this.constant(value, 0));
  }

  #begin(): void {
    const levels = this.state32(L.WALK_LEVELS);
    this.#refuse(this.eqz(levels));
    this.#refuse(this.state32(L.WALK_REFUSED));
    this.set(this.#tlb, this.state32(L.TLB));
    this.#refuse(this.eq(this.#tlb, this.i32(L.TLB_EMPTY)));
    this.set(this.#low, this.wrap(this.#address));
    const end = this.add(this.and(this.#low, this.i32(PAGE_OFFSET)), this.#bytes);
    this.#refuse(this.gtU(end, this.i32(PAGE_OFFSET + 1)));
    const above = this.select(this.eq(levels, this.i32(5)), this.i64(7), this.i64(16));
    const canonical = this.shrS(this.shl(this.#address, above), above);
    this.#refuse(this.ne(canonical, this.#address));
    this.set(this.#rules, this.state32(L.WALK_RULES));
    this.set(this.#isWrite, this.eq(this.#access, this.i32(WRITE)));
    this.set(this.#gpa, this.state64(L.WALK_ROOT));
    this.set(this.#common, this.i64(-1));
  }

  /** Number of the page that is named `gpa`. */
  #pageOf(gpa: Value): Value {
    const address = this.judged ? this.andNot(gpa, this.state64(L.WALK_MARK)) : gpa;
    return this.shrU(address, this.i64(PAGE_SHIFT));
  }

  /** The frame of the page that is named `gpa`, for an access (or TABLE). */
  #frameOf(gpa: Value, access: Value): Frame {
    const page = this.#pageOf(gpa);
    this.#refuse(this.geU(page, this.stateAs('i64.load32_u', L.WALK_MAP_PAGES)));
    const place = this.add(this.state32(L.WALK_MAP), this.shl(this.wrap(page), this.i32(2)));
    const mapped = this.code.load('i32.load', place);
    this.#refuse(this.eqz(mapped));
    const known = this.sub(mapped, this.i32(1));
    const number = this.shrU(known, this.i32(1));
    const host = this.add(this.state32(L.WALK_RAM), this.shl(number, this.i32(PAGE_SHIFT)));
    if (!this.judged) {
      return { number, readOnly: this.and(known, this.i32(READ_ONLY)), host, permitted: null };
    }
    const permitted = this.#verdictOn(gpa, page, number, access);
    return { number, readOnly: this.eqz(this.#bit(permitted, RIGHT_WRITE)), host, permitted };
  }

  /** What the verdict on an access permits; refuses it if the frame is not kept as it says. */
  #verdictOn(gpa: Value, page: Value, frame: Value, access: Value): Value {
    const marked = this.ne(this.and(gpa, this.state64(L.WALK_MARK)), this.i64(0));
    const index = this.or(this.shl(this.wrap(page), this.i32(1)), marked);
    const place = this.add(this.state32(L.WALK_VERDICTS), this.shl(index, this.i32(2)));
    const word = this.code.load('i32.load', place);
    const shift = this.shl(access, this.i32(Math.log2(VERDICT_BITS)));
    const verdict = this.shrU(word, this.add(shift, this.i32(VERDICT_SHIFT)));
    const keyed = this.#bit(verdict, VERDICT_KEYED);
    const tag = this.select(keyed, this.and(word, this.i32(VERDICT_TAG)), this.i32(0));
    const tags = this.add(this.state32(L.WALK_KEY_TAGS), this.shl(frame, this.i32(1)));
    this.#refuse(this.ne(this.code.load('i32.load16_u', tags), tag));
    return this.and(verdict, this.i32(VERDICT_RIGHTS));
  }

  /** Looks into the table of a level; `leaf` is for large pages. */
  #step(level: number, leaf: Label): void {
    const { code } = this;
    const table = this.#frameOf(this.#gpa, this.i32(TABLE));
    this.#refuse(table.readOnly);
    const at = this.#path[level - 1];
    const index = this.shrU(this.#address, this.i64(PAGE_SHIFT + 9 * (level - 1) - 3));
    this.set(at, this.add(table.host, this.wrap(this.and(index, this.i64(0xff8)))));
    this.set(this.#last, at);
    const entry = this.#entry;
    this.set(entry, code.load('i64.load', at));
    this.#refuse(this.eqz(this.#bit(entry, PTE_P)));
    this.#refuse(this.ne(this.and(entry, this.state64(L.WALK_RESERVED)), this.i64(0)));
    this.set(this.#common, this.and(this.#common, entry));
    this.set(this.#any, this.or(this.#any, entry));
    if (level === 1) {
      this.set(this.#pageShift, this.i32(PAGE_SHIFT));
    } else if (level <= 3) {
      this.if(this.#isSet(entry, PTE_PS), () => {
        const bits = PAGE_SHIFT + 9 * (level - 1);
        this.#refuse(this.#isSet(entry, level === 2 ? LARGE_RESERVED : HUGE_RESERVED));
        if (level === 3) this.#refuse(this.eqz(this.#bit(this.#rules, L.WALK_RULE.gigabyte)));
        this.set(this.#pageShift, this.i32(bits));
        const base = this.and(entry, this.i64(ADDRESS & ~within(bits)));
        this.set(this.#gpa, this.or(base, this.and(this.#address, this.i64(within(bits)))));
        code.br(leaf);
      });
    } else {
      this.#refuse(this.#isSet(entry, level === 4 ? PTE_PS | PTE_G : PTE_PS));
    }
    this.set(this.#gpa, this.and(entry, this.i64(ADDRESS)));
  }

  /** Works out the rights that the tables give; refuses an access that they do not allow. */
  #decide(): void {
    const rules = this.#rules;
    const { protect, smep, smap, keys } = L.WALK_RULE;
    const common = this.wrap(this.#common);
    const isUser = this.eq(this.#tlb, this.i32(L.TLB_USER));
    const ofUser = this.#isSet(common, PTE_U);
    const bound = this.or(isUser, this.#isSet(rules, protect));
    const data = this.variable(this.i32(RIGHT_READ | RIGHT_WRITE));
    this.if(this.and(ofUser, this.#isSet(rules, keys)), () => {
      const key = this.wrap(this.and(this.shrU(this.#entry, this.i64(58)), this.i64(0x1e)));
      const bits = this.shrU(this.state32(L.PKRU), key);
      const noWrite = this.select(bound, this.and(bits, this.i32(2)), this.i32(0));
      const denied = this.select(this.#bit(bits, 1), this.i32(3), noWrite);
      this.set(data, this.andNot(data, denied));
    });
    this.if(this.and(bound, this.eqz(this.#bit(common, PTE_W))), () =>
      this.set(data, this.and(data, this.i32(RIGHT_READ))),
    );
    const executable = this.geS(this.#any, this.i64(0));
    const fetch = this.variable(this.select(executable, this.i32(RIGHT_EXECUTE), this.i32(0)));
    this.if(
      isUser,
      () => this.#refuse(this.eqz(ofUser)),
      () =>
        this.if(ofUser, () => {
          this.if(this.#bit(rules, smep), () => this.set(fetch, this.i32(0)));
          const open = this.eq(this.#tlb, this.i32(L.TLB_OVERRIDE));
          const closed = this.and(this.#isSet(rules, smap), this.eqz(open));
          this.if(closed, () => this.set(data, this.i32(0)));
        }),
    );
    this.set(this.#rights, this.or(data, fetch));
    this.#refuse(this.eqz(this.and(this.#rights, this.shl(this.i32(1), this.#access))));
  }

  /** Sets accessed bits, and the dirty bit on a write. */
  #markUsed(): void {
    const clean = this.eqz(this.#isSet(this.#entry, PTE_D));
    const unused = this.eqz(this.#isSet(this.#common, PTE_A));
    this.if(this.or(unused, this.and(this.#isWrite, clean)), () => {
      for (const at of this.#path) this.if(at, () => this.#refuseWatched(at));
      for (const at of this.#path) {
        const isLast = this.and(this.eq(at, this.#last), this.#isWrite);
        const bits = this.select(isLast, this.i32(PTE_A | PTE_D), this.i32(PTE_A));
        const entry = this.code.load('i32.load', at);
        this.if(at, () => this.code.store('i32.store', at, this.or(entry, bits)));
      }
    });
  }

  /** Refuses to write to the frame that the host address `at` lies in, if that has to be told. */
  #refuseWatched(at: Value): void {
    const frame = this.shrU(this.sub(at, this.state32(L.WALK_RAM)), this.i32(PAGE_SHIFT));
    const flags = this.#flagsOf(frame).value;
    const watched = this.and(flags, this.i32(FRAME_DIRTY | FRAME_CODE | FRAME_ZEROS));
    this.#refuse(this.ne(watched, this.i32(FRAME_DIRTY)));
  }

  #flagsOf(frame: Value): { place: Value; value: Value } {
    const place = this.add(this.state32(L.WALK_FLAGS), frame);
    return { place, value: this.code.load('i32.load8_u', place) };
  }

  /** Enters the page in the TLB, and gives the host address. */
  #enter(): void {
    const { code } = this;
    const page = this.#pageOf(this.#gpa);
    this.#refuse(this.eq(page, this.stateAs('i64.load32_u', L.WALK_APIC)));
    const frame = this.#frameOf(this.#gpa, this.#access);
    if (frame.permitted !== null) this.#permit(frame.permitted);
    this.#refuse(this.and(frame.readOnly, this.#isWrite));
    const { place, value: flags } = this.#flagsOf(frame.number);
    const holdsCode = this.#isSet(flags, FRAME_CODE);
    const isDirty = this.eq(
      this.and(flags, this.i32(FRAME_DIRTY | FRAME_ZEROS)),
      this.i32(FRAME_DIRTY),
    );
    this.if(this.#isWrite, () => {
      this.#refuse(this.eqz(isDirty));
      this.if(holdsCode, () => {
        this.#refuse(this.eqz(this.#bytes));
        this.#refuse(this.#touchesCode(frame.number));
      });
    });
    const dirty = this.or(this.#isWrite, this.#isSet(this.#entry, PTE_D));
    const open = this.eqz(this.or(holdsCode, frame.readOnly));
    this.if(
      this.and(this.and(dirty, isDirty), open),
      () =>
        this.if(this.#bit(this.#rights, RIGHT_WRITE), () =>
          code.store('i32.store8', place, this.or(flags, this.i32(FRAME_TAGGED))),
        ),
      () => this.set(this.#rights, this.andNot(this.#rights, this.i32(RIGHT_WRITE))),
    );
    if (this.judged) this.#noteCached(frame.number);
    this.#fill(frame.host);
    code.return(this.add(frame.host, this.and(this.#low, this.i32(PAGE_OFFSET))));
  }

  /** Leaves of the rights what an extension permits. */
  #permit(permitted: Value): void {
    this.#refuse(this.eqz(this.and(permitted, this.shl(this.i32(1), this.#access))));
    this.set(this.#rights, this.and(this.#rights, permitted));
    // Without its write tag a page that can only be written would be an entry for nothing.
    this.#refuse(this.eq(this.#rights, this.i32(RIGHT_WRITE)));
  }

  /** `PhysicalMemory.noteCached`. */
  #noteCached(frame: Value): void {
    const { code } = this;
    const { place, value: flags } = this.#flagsOf(frame);
    const page = this.andNot(this.#low, this.i32(PAGE_OFFSET));
    const at = this.add(this.state32(L.WALK_CACHED), this.shl(frame, this.i32(2)));
    const other = this.ne(code.load('i32.load', at), page);
    const known = this.#isSet(flags, FRAME_CACHED);
    const aliased = this.select(this.and(known, other), this.i32(FRAME_ALIASED), this.i32(0));
    this.if(this.eqz(known), () => code.store('i32.store', at, page));
    code.store('i32.store8', place, this.or(this.or(flags, aliased), this.i32(FRAME_CACHED)));
  }

  /** Whether the access touches a line of `frame` that holds code. */
  #touchesCode(frame: Value): Value {
    const lines = this.add(this.state32(L.WALK_LINES), this.shl(frame, this.i32(3)));
    const shift = this.i32(Math.log2(LINE_SIZE));
    const offset = this.and(this.#low, this.i32(PAGE_OFFSET));
    const first = this.widen(this.shrU(offset, shift));
    const end = this.sub(this.add(offset, this.#bytes), this.i32(1));
    const last = this.widen(this.shrU(end, shift));
    const below = this.shrU(this.i64(-1), this.sub(this.i64(63), last));
    const touched = this.and(this.shl(this.i64(-1), first), below);
    return this.ne(this.and(this.code.load('i64.load', lines), touched), this.i64(0));
  }

  /** `Tlb.fill`. */
  #fill(host: Value): void {
    const { code } = this;
    const low = this.#low;
    const folded = this.xor(this.shrU(low, this.i32(12)), this.shrU(low, this.i32(22)));
    const index = this.and(folded, this.i32(L.TLB_ENTRIES - 1));
    const shift = this.i32(Math.log2(L.TLB_ENTRY_SIZE));
    const offset = this.add(this.#tlb, this.shl(index, shift));
    const entry = this.add(this.cpu, offset);
    const spare = L.TLB_ADDEND + 4;
    const isLast = this.eq(index, this.i32(LAST_INDEX));
    const elsewhere = (BigInt(ELSEWHERE) << 32n) | BigInt(ELSEWHERE);
    const absent = this.select(isLast, this.i64(elsewhere), this.i64(-1));
    const page = this.and(this.#address, this.i64(~BigInt(PAGE_OFFSET)));
    for (const [right, tag] of TAG) {
      const given = this.and(this.#rights, this.i32(right));
      code.store('i64.store', entry, this.select(given, page, absent), tag);
    }
    code.store('i32.store', entry, this.sub(host, this.wrap(page)), L.TLB_ADDEND);
    const global = this.wrap(this.shrU(this.#entry, this.i64(Math.log2(PTE_G))));
    const size = this.shl(this.#pageShift, this.i32(8));
    const isGlobal = this.variable(this.#bit(global, 1));
    code.store('i32.store', entry, this.or(size, isGlobal), spare);
    const notes = this.select(isGlobal, this.i32(L.TLB_NOTES_GLOBAL), this.i32(L.TLB_NOTES));
    const number = this.shrU(this.sub(offset, this.i32(L.TLB_SUPERVISOR)), shift);
    this.#setBit(this.add(this.cpu, notes), number);
    this.setState32(L.TLB_FILLS, this.add(this.state32(L.TLB_FILLS), this.i32(1)));
    this.if(this.ne(this.#pageShift, this.i32(PAGE_SHIFT)), () => this.#noteLarge());
  }

  #noteLarge(): void {
    const region = this.wrap(this.shrU(this.#address, this.i64(30)));
    const hash = this.xor(region, this.shrU(region, this.i32(10)));
    const bit = this.and(hash, this.i32(L.TLB_LARGE_BITS - 1));
    this.#setBit(this.cpu, bit, L.TLB_LARGE);
  }

  /** Sets bit `number` of the bits at `base` and `offset`. */
  #setBit(base: Value, number: Value, offset = 0): void {
    const place = this.add(base, this.shrU(number, this.i32(3)));
    const before = this.code.load('i32.load8_u', place, offset);
    const mark = this.shl(this.i32(1), this.and(number, this.i32(7)));
    this.code.store('i32.store8', place, this.or(before, mark), offset);
  }
}

/** Without an extension's verdicts, and with them. */
const compiled: (WebAssembly.Module | undefined)[] = [];

function walkModule(judged: boolean): WebAssembly.Module {
  const known = compiled[Number(judged)];
  if (known !== undefined) return known;
  const builder = new ModuleBuilder({ minimum: 1, shared: false });
  const index = builder.declare('reach', REACH_TYPE);
  builder.exportFunction('reach', index);
  builder.setBody(index, new FastWalk(new CodeEmitter(REACH_TYPE.params), judged).body());
  const module = new WebAssembly.Module(builder.build() as BufferSource);
  compiled[Number(judged)] = module;
  return module;
}

/** The function for the vCPUs of a memory; `judged`: under an extension whose verdicts last. */
export function reachIn(memory: WebAssembly.Memory, judged = false): Reach {
  const { exports } = new WebAssembly.Instance(walkModule(judged), { env: { memory } });
  return exports.reach as Reach;
}
