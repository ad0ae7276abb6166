/**
 * The op cache: predecoded blocks by system-physical address and mode, in the WebAssembly memory.
 *
 * A block is a run of instructions in one page, up to an unconditional branch; conditional branches
 * inside it fall through. It ends with a record that goes on behind it. An instruction that crosses
 * a page, and a repeated string instruction, is a block of its own.
 *
 * Self-modifying code is exact: a write to a page with blocks makes every record of each block that
 * it touches stale, the block in execution included. Memory is given back only all at once.
 *
 * Where code is translated (`jit/`), a block has a head: a record before the first that does
 * nothing, or enters a region. Blocks then end behind what a region leaves to the interpreter too.
 */

import { MODE_16, MODE_64, MODE_CODE_LIMITED, MODE_SIZE_MASK } from '../cpu/mode.js';
import type { Decoded } from '../decode/decoded.js';
import { DECODED, type Decoder } from '../decode/decoder.js';
import { MAX_LENGTH } from '../decode/instruction-bytes.js';
import type { FormInfo } from '../decode/variant.js';
import * as R from '../isa/op-record.js';
import { PAGE_SIZE, type PhysicalMemory } from '../mmu/physical.js';
import { BlockFusion } from './block-fusion.js';
import { BlockHeads } from './block-heads.js';
import {
  HANDLER_CROSS,
  HANDLER_FALL,
  HANDLER_FALL_LEGACY,
  HANDLER_HEAD,
  HANDLER_STALE,
  type HandlerSet,
  handlerOf,
} from './handlers.js';

/** Added to the mode of a block: it has one instruction. */
export const MODE_SINGLE = 64;
/** Instructions in a block at most: a record counts them in 8 bits. */
const BLOCK_LIMIT = 64;
/** Records that a block takes at most: head, CROSS, instructions, FALL. */
const BLOCK_RECORDS = BLOCK_LIMIT + 3;
const MODES = 128;
const PAGE_OFFSET = PAGE_SIZE - 1;

/** A class, not literals: what V8 has compiled for one shape it compiles again for the next. */
export class Block {
  /** Where it is entered: its first record, or its head. */
  target: number;
  /** It, or, where it is one's range in a second page, that one. */
  readonly whole: Block;
  /** Of the whole: no byte of it has been overwritten. */
  alive = true;

  constructor(
    /** Where it begins: what it is found by, and the mode's map. */
    readonly key: number,
    readonly mode: number,
    readonly found: Map<number, Block>,
    /** Address of the first record and their count. */
    readonly record: number,
    readonly count: number,
    /** Byte range in the page; a crossing instruction also has one in the next. */
    readonly start: number,
    readonly end: number,
    /** Branches that are linked to it, where code is translated. */
    readonly linked: number[] = [],
    whole?: Block,
  ) {
    this.target = record;
    this.whole = whole ?? this;
  }

  /** The same instruction, in the byte range that it has in its second page. */
  inNextPage(): Block {
    const { key, mode, found, record, count, end, linked } = this;
    return new Block(key, mode, found, record, count, 0, end - PAGE_SIZE, linked, this);
  }
}

/** What translates blocks. */
export interface BlockTranslator {
  /** Whether a block ends behind an instruction: a region leaves it to the interpreter. */
  ends(info: FormInfo): boolean;
  /** `block` is void, as all of a region with it. */
  killed(block: Block): void;
  /** All blocks are. */
  reset(): void;
}

/** Finds the second page of an instruction: its byte offset in the memory, or -1 (a fault). */
export type NextPage = () => number;

export interface OpCacheOptions {
  readonly physical: PhysicalMemory;
  readonly handlers: HandlerSet;
  readonly decoder: Decoder;
  /** Byte range of the records in the memory. */
  readonly base: number;
  readonly size: number;
  /** Called when everything was dropped: record addresses held elsewhere are void. */
  readonly onReset: () => void;
  /**
   * Called with each instruction decoded. Blocks then end at every branch, so that what is decoded
   * is executed, unless the instruction before it in its block faults.
   */
  readonly onDecoded?: (decoded: Decoded) => void;
  /** Translates blocks; they have heads then. */
  readonly translator?: BlockTranslator;
}

/**
 * Whether a block is as long as can be. Straight code goes on there, or each interrupt would have
 * all that follows decoded once more, in blocks that begin elsewhere.
 */
const isStraight = (block: Block | undefined): boolean =>
  block !== undefined && block.count > BLOCK_LIMIT;

export class OpCache {
  /** Counts for the summary. */
  decoded = 0;
  invalidated = 0;
  resets = 0;
  /** Grows when record addresses become void. */
  epoch = 0;
  readonly #blocks = Array.from({ length: MODES }, () => new Map<number, Block>());
  readonly #frames = new Map<number, Block[]>();
  readonly #crossings = new Map<number, Block>();
  /** Pages that have had a block as long as can be, by their first byte. */
  readonly #straight = new Set<number>();
  readonly #heads: BlockHeads;
  readonly #bytes: Uint8Array;
  readonly #halves: Uint16Array;
  readonly #words: Int32Array;
  readonly #physical: PhysicalMemory;
  readonly #decoder: Decoder;
  readonly #options: OpCacheOptions;
  readonly #scratch = new Uint8Array(MAX_LENGTH);
  /** Handlers by number of the form. */
  readonly #handlers: (number | undefined)[] = [];
  readonly #fusion: BlockFusion;
  #next: number;

  constructor(options: OpCacheOptions) {
    this.#options = options;
    this.#physical = options.physical;
    this.#decoder = options.decoder;
    const { memory } = options.physical;
    this.#bytes = memory;
    this.#halves = new Uint16Array(memory.buffer);
    this.#words = new Int32Array(memory.buffer);
    this.#fusion = new BlockFusion(options.handlers, memory, this.#halves, this.#words);
    this.#next = options.base;
    this.#heads = new BlockHeads(options.base, options.size);
    options.physical.onCodeWrite = (frame, offset, length) =>
      this.#codeWritten(frame, offset, length);
  }

  /**
   * Address of the first record of the block at `host` (byte offset in the memory), decoding it
   * where it is not known; 0 if `nextPage` had a fault.
   */
  block(host: number, mode: number, nextPage: NextPage): number {
    // A map for each mode: a key that is a small integer is found several times as fast.
    const key = host | 0;
    const found = this.#blocks[mode];
    const known = found.get(key);
    if (known !== undefined) return known.target;
    if (!this.hasRoom) this.reset();
    return this.#decodeBlock(found, host, mode, nextPage);
  }

  /** The block at `host`, if it is known and has a head. */
  find(host: number, mode: number): Block | undefined {
    const block = this.#blocks[mode].get(host | 0);
    return block !== undefined && this.#heads.get(block.record) === block ? block : undefined;
  }

  /** The block whose first record or head is at `record`. */
  blockOf(record: number): Block | undefined {
    return this.#heads.get(record) ?? this.#heads.get(record + R.OP_SIZE);
  }

  /** Has `block` entered at its head, which has that handler; or, without one, as decoded. */
  setHead(block: Block, handler: number): void {
    const head = block.record - R.OP_SIZE;
    this.#halves[(head + R.OP_HANDLER) >> 1] = handler;
    block.target = handler === HANDLER_HEAD ? block.record : head;
    for (const op of block.linked) this.#words[(op + R.OP_LINK) >> 2] = block.target;
  }

  /** Notes that the branch `op` is linked to the block that is entered at `target`. */
  noteLink(op: number, target: number): void {
    if (this.#options.translator !== undefined) this.blockOf(target)?.linked.push(op);
  }

  get handlers(): HandlerSet {
    return this.#options.handlers;
  }

  /** Whether a block can be decoded without dropping everything first. */
  get hasRoom(): boolean {
    const { base, size } = this.#options;
    return this.#next + BLOCK_RECORDS * R.OP_SIZE <= base + size;
  }

  /** Drops everything. */
  reset(): void {
    for (const frame of this.#frames.keys()) this.#physical.clearCode(frame);
    this.#frames.clear();
    for (const found of this.#blocks) found.clear();
    this.#crossings.clear();
    this.#straight.clear();
    this.#heads.clear();
    this.#options.translator?.reset();
    this.#next = this.#options.base;
    this.resets++;
    this.epoch++;
    this.#options.onReset();
  }

  #decodeBlock(found: Map<number, Block>, host: number, mode: number, nextPage: NextPage): number {
    const { translator } = this.#options;
    const hasHead = translator !== undefined && mode === MODE_64;
    const first = this.#next + (hasHead ? R.OP_SIZE : 0);
    const pageStart = host - (host & PAGE_OFFSET);
    const pageEnd = pageStart + PAGE_SIZE;
    const { out } = this.#decoder;
    let at = host;
    let count = 0;
    const most = (mode & MODE_SINGLE) !== 0 ? 1 : BLOCK_LIMIT;
    const maybeStraight = this.#straight.has(pageStart);
    while (count < most && at < pageEnd) {
      if (maybeStraight && count > 0 && isStraight(found.get(at | 0))) break;
      if (this.#decoder.decode(this.#bytes, at, pageEnd, mode) !== DECODED) {
        if (count === 0) return this.#crossing(found, host, mode, nextPage);
        break;
      }
      const { info } = out;
      const alone = info.form.rep !== 0;
      if (alone && count > 0) break;
      at += out.length;
      this.#write(first + count * R.OP_SIZE, at - pageStart, mode);
      count++;
      if (alone || info.description.ends === true) break;
      if (hasHead && translator.ends(info)) break;
      if (this.#options.onDecoded !== undefined && info.operands.at(-1)?.kind === 'j') break;
    }
    this.#close(first, count, at - pageStart, mode);
    const [start, end] = [host - pageStart, at - pageStart];
    const block = new Block(host | 0, mode, found, first, count + 1, start, end);
    if (isStraight(block)) this.#straight.add(pageStart);
    if (hasHead) {
      const head = first - R.OP_SIZE;
      this.#bytes.copyWithin(head, first, first + R.OP_SIZE);
      this.#halves[(head + R.OP_HANDLER) >> 1] = HANDLER_HEAD;
      this.#heads.add(block);
    }
    this.#fusion.fuse(first, count);
    this.#enter(block, pageStart);
    return first;
  }

  /** A block of one instruction that lies across the end of its page. */
  #crossing(found: Map<number, Block>, host: number, mode: number, nextPage: NextPage): number {
    const pageStart = host - (host & PAGE_OFFSET);
    const here = pageStart + PAGE_SIZE - host;
    const second = nextPage();
    if (second < 0) return 0;
    this.#scratch.set(this.#bytes.subarray(host, host + here));
    this.#scratch.set(this.#bytes.subarray(second, second + MAX_LENGTH - here), here);
    this.#decoder.decode(this.#scratch, 0, MAX_LENGTH, mode);
    const { length } = this.#decoder.out;
    const first = this.#next;
    const end = (host & PAGE_OFFSET) + length;
    this.#write(first + R.OP_SIZE, end, mode);
    // The check looks like its instruction, so that RIP and the budget can be told from it.
    this.#bytes.copyWithin(first, first + R.OP_SIZE, first + 2 * R.OP_SIZE);
    this.#halves[(first + R.OP_HANDLER) >> 1] = HANDLER_CROSS;
    this.#words[(first + R.OP_IMMEDIATE) >> 2] = second;
    this.#close(first + R.OP_SIZE, 1, end, mode);
    this.#bytes[first + R.OP_REMAINING] = 1;
    this.#next = first + 3 * R.OP_SIZE;
    const start = host & PAGE_OFFSET;
    const block = new Block(host | 0, mode, found, first, 3, start, end);
    this.#enter(block, pageStart);
    this.#crossings.set(first, block);
    this.#register(block.inNextPage(), second);
    return first;
  }

  /** Writes the decoded instruction as a record; `next` is the page offset behind it. */
  #write(record: number, next: number, mode: number): void {
    const { out } = this.#decoder;
    const bytes = this.#bytes;
    const halves = this.#halves;
    const words = this.#words;
    const half = record >> 1;
    const word = record >> 2;
    halves[half + (R.OP_HANDLER >> 1)] = this.#handlerOf(out.info);
    bytes[record + R.OP_LENGTH] = out.length;
    halves[half + (R.OP_NEXT >> 1)] = next;
    halves[half + (R.OP_REG[0] >> 1)] = out.registers[0];
    halves[half + (R.OP_REG[1] >> 1)] = out.registers[1];
    halves[half + (R.OP_BASE >> 1)] = out.base;
    halves[half + (R.OP_INDEX >> 1)] = out.index;
    halves[half + (R.OP_SEGMENT >> 1)] = out.segment;
    words[word + (R.OP_IMMEDIATE >> 2)] = out.immediate;
    const relative = out.relative ? next : 0;
    const sum = (out.displacementLo >>> 0) + relative;
    words[word + (R.OP_DISPLACEMENT >> 2)] = sum;
    words[word + (R.OP_DISPLACEMENT >> 2) + 1] = out.displacementHi + (sum > 0xffffffff ? 1 : 0);
    const last = out.info.operands.at(-1);
    if (last?.kind === 'j') {
      const target = next + out.displacementLo;
      const same = target >= 0 && target < PAGE_SIZE && next <= PAGE_SIZE;
      // A target cut to 16 bits may be in another page.
      const whole = out.info.form.size !== 16 || (mode & MODE_SIZE_MASK) === MODE_16;
      // Where CS has a limit, what lies within it may change.
      const free = (mode & MODE_CODE_LIMITED) === 0;
      words[word + (R.OP_LINK >> 2)] = same && whole && free ? R.LINK_UNRESOLVED : R.LINK_NEVER;
    } else {
      bytes[record + R.OP_EA] = out.ea;
      bytes[record + R.OP_SCALE] = out.scale;
      halves[half + (R.OP_REG[2] >> 1)] = out.registers[2];
    }
    this.decoded++;
    this.#options.onDecoded?.(out);
  }

  #handlerOf(info: FormInfo): number {
    let handler = this.#handlers[info.number];
    if (handler === undefined) {
      handler = handlerOf(this.#options.handlers, info);
      this.#handlers[info.number] = handler;
    }
    return handler;
  }

  /** Ends a block of `count` instructions and numbers them. */
  #close(first: number, count: number, next: number, mode: number): void {
    for (let i = 0; i < count; i++) {
      this.#bytes[first + i * R.OP_SIZE + R.OP_REMAINING] = count - i;
    }
    const fall = first + count * R.OP_SIZE;
    this.#bytes.fill(0, fall, fall + R.OP_SIZE);
    const long = (mode & MODE_SIZE_MASK) === MODE_64;
    this.#halves[(fall + R.OP_HANDLER) >> 1] = long ? HANDLER_FALL : HANDLER_FALL_LEGACY;
    this.#halves[(fall + R.OP_NEXT) >> 1] = next;
    this.#words[(fall + R.OP_LINK) >> 2] = R.LINK_NEVER;
    this.#next = fall + R.OP_SIZE;
  }

  #enter(block: Block, pageStart: number): void {
    block.found.set(block.key, block);
    this.#register(block, pageStart);
  }

  #register(block: Block, pageStart: number): void {
    const frame = this.#frame(pageStart);
    const list = this.#frames.get(frame);
    if (list === undefined) this.#frames.set(frame, [block]);
    else list.push(block);
    this.#physical.markCode(frame, block.start, Math.min(block.end, PAGE_SIZE));
  }

  #frame(host: number): number {
    return Math.floor((host - this.#physical.ramBase) / PAGE_SIZE);
  }

  #codeWritten(frame: number, offset: number, length: number): void {
    const list = this.#frames.get(frame);
    if (list === undefined) return;
    let hits = 0;
    for (const block of list) {
      if (block.start >= offset + length || offset >= block.end) continue;
      this.#kill(block);
      hits++;
    }
    // Most writes are to data beside the code.
    if (hits === 0) return;
    const kept = list.filter((block) => block.whole.alive);
    this.#physical.clearCode(frame);
    if (kept.length === 0) this.#frames.delete(frame);
    else this.#frames.set(frame, kept);
    for (const { start, end } of kept)
      this.#physical.markCode(frame, start, Math.min(end, PAGE_SIZE));
  }

  /** Forgets the block that begins with `record`: its second page is elsewhere now. */
  forget(record: number): void {
    const block = this.#crossings.get(record);
    if (block !== undefined) this.#kill(block);
  }

  #kill(block: Block): void {
    this.invalidated++;
    this.#crossings.delete(block.record);
    if (block.whole.alive) block.found.delete(block.key);
    block.whole.alive = false;
    const hasHead = this.#heads.delete(block.record);
    if (hasHead) this.#options.translator?.killed(block);
    for (const op of block.linked) this.#words[(op + R.OP_LINK) >> 2] = R.LINK_UNRESOLVED;
    block.linked.length = 0;
    for (let i = hasHead ? -1 : 0; i < block.count; i++) {
      this.#halves[(block.record + i * R.OP_SIZE + R.OP_HANDLER) >> 1] = HANDLER_STALE;
    }
  }
}
