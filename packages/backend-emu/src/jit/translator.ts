/**
 * Translates what is executed often to WebAssembly, and forgets it when its code changes.
 *
 * What is executed often is found by samples: the interpreter says every few thousand instructions
 * which block it is at, at exact counts, so that every run translates the same. One translator
 * serves all vCPUs of a VM: regions belong to code, not to processors.
 */
import type { FormInfo } from '../decode/variant.js';
import {
  formOfHandler,
  HANDLER_HEAD,
  HANDLER_REGION,
  type HandlerSet,
} from '../interp/handlers.js';
import type { CodePlaces, Interpreter, Sampler } from '../interp/interpreter.js';
import type { Block, BlockTranslator, OpCache } from '../interp/op-cache.js';
import * as R from '../isa/op-record.js';
import { ModuleBuilder } from '../wasm/module.js';
import { isCompilable } from './compilable.js';
import { discover } from './discovery.js';
import type { Region } from './region.js';
import { REGION_TYPE, UNCOMPILABLE } from './region-code.js';
import { flagHelperModule, HELPER_TYPE } from './region-flags.js';
import { RegionFunction } from './region-function.js';

/** Instructions between samples, on average: while much is interpreted, and at most. */
const INTERVAL = 2000;
const INTERVAL_MAX = 64_000;
/**
 * Samples of a block that make it hot: a region has to run some hundred thousand instructions for
 * what it saves to pay for translating, compiling and optimising it.
 */
const HOT = 60;
/** A page overwritten more often is, under stress, translated at one time in as many. */
const OFTEN = 4096;
/** Instructions of a region; fewer where it holds what is never executed. */
const INSTRUCTIONS = 600;
const STRESS_INSTRUCTIONS = 60;
/** Instructions of a region that others have a copy of. */
const SHORT = 16;
/** Targets of one jump that a region has compared. */
const TARGETS = 8;
/** Pages of a region. */
const PAGES = 8;
const PAGE_SIZE = 4096;
/** Bytes of regions that are kept; when there are more, the older half goes. */
const BYTES_MAX = 48 << 20;
const REGIONS_MAX = 8000;
const TABLE_GROWTH = 256;

/** A translated region. */
interface Translated {
  readonly blocks: readonly Block[];
  readonly entries: readonly Block[];
  readonly slot: number;
  readonly bytes: number;
  readonly instructions: number;
}

export interface TranslatorOptions {
  readonly mode: 'on' | 'stress';
  readonly memory: WebAssembly.Memory;
  readonly handlers: HandlerSet;
  /** Regions kept at most. */
  readonly regions?: number;
  /** Samples of a block that make it hot. */
  readonly hot?: number;
  /** Milliseconds, for the summary. */
  readonly now: () => number;
}

let helper: WebAssembly.Module | undefined;

export class Translator implements BlockTranslator, Sampler {
  interval = INTERVAL;
  /** Instructions between samples on average, and what varies them: the same in every run. */
  private spacing = INTERVAL;
  private chance = 0;
  /** Counts for the summary. */
  translated = 0;
  instructions = 0;
  bytes = 0;
  milliseconds = 0;
  dropped = 0;
  evictions = 0;
  /** Regions that the host had no memory for. */
  failed = 0;
  private opCache!: OpCache;
  private readonly interpreters: Interpreter[] = [];
  private readonly view: DataView;
  private readonly flags: WebAssembly.ExportValue;
  /** In order of translation. */
  private readonly live = new Set<Translated>();
  private liveBytes = 0;
  private readonly byBlock = new WeakMap<Block, Set<Translated>>();
  private readonly samples = new WeakMap<Block, number>();
  /** Blocks that cannot begin a region. */
  private readonly refused = new WeakSet<Block>();
  /**
   * How often a page's code was overwritten: so many samples more does it take, which count once.
   */
  private readonly overwritten = new Map<number, number>();
  private readonly freeSlots: number[] = [];
  /** The tables of functions cannot grow any more. */
  private tablesFull = false;

  constructor(private readonly options: TranslatorOptions) {
    const { memory } = options;
    this.view = new DataView(memory.buffer);
    helper ??= new WebAssembly.Module(flagHelperModule() as BufferSource);
    this.flags = new WebAssembly.Instance(helper, { env: { memory } }).exports.flags;
    if (options.mode === 'stress') this.interval = 0;
  }

  /** Connects what is built with the translator as its port. */
  connect(opCache: OpCache, interpreters: readonly Interpreter[]): void {
    this.opCache = opCache;
    this.interpreters.push(...interpreters);
  }

  get regions(): number {
    return this.live.size;
  }

  // Sampler ----------------------------------------------------------------------------------

  sample(record: number, inRegion: boolean, places: CodePlaces): void {
    const block = inRegion ? undefined : this.opCache.blockOf(record);
    if (block === undefined || this.isEntered(block) || this.refused.has(block)) {
      this.pause(this.spacing * 2);
      return;
    }
    this.pause(INTERVAL);
    const count = (this.samples.get(block) ?? 0) + 1;
    this.samples.set(block, count);
    if (count < (this.options.hot ?? HOT)) return;
    const page = (block.key >>> 0) - block.start;
    const times = this.overwritten.get(page) ?? 0;
    if (times === 0) this.translate(block, places);
    else this.overwritten.set(page, times - 1);
  }

  /**
   * Has the next sample come after `instructions`, on average: were they always as many, samples
   * could keep step with a loop and always meet the same block of it.
   */
  private pause(instructions: number): void {
    this.spacing = Math.min(instructions, INTERVAL_MAX);
    this.chance = (Math.imul(this.chance, 1664525) + 1013904223) >>> 0;
    this.interval = (this.spacing >> 1) + Math.floor((this.spacing * this.chance) / 2 ** 32);
  }

  /** Where the jump `op` through a register or memory led lately, most often first. */
  private targetsOf(op: number): readonly number[] {
    const counts = new Map<number, number>();
    for (const interpreter of this.interpreters) {
      interpreter.eachTarget((record, distance) => {
        if (record === op) counts.set(distance, (counts.get(distance) ?? 0) + 1);
      });
    }
    const known = [...counts].sort(([, a], [, b]) => b - a);
    return known.slice(0, TARGETS).map(([distance]) => distance);
  }

  found(target: number, places: CodePlaces): number {
    if (this.options.mode !== 'stress') return target;
    const block = this.opCache.blockOf(target);
    if (block === undefined || block.target !== block.record) return target;
    const times = this.overwritten.get((block.key >>> 0) - block.start) ?? 0;
    const due = times < OFTEN || times % OFTEN === 0;
    if (due && !this.refused.has(block)) this.translate(block, places);
    return block.target;
  }

  // BlockTranslator --------------------------------------------------------------------------

  ends(info: FormInfo): boolean {
    return !isCompilable(info);
  }

  killed(block: Block): void {
    const page = (block.key >>> 0) - block.start;
    this.overwritten.set(page, (this.overwritten.get(page) ?? 0) + 1);
    for (const region of this.byBlock.get(block) ?? []) this.drop(region);
  }

  reset(): void {
    for (const region of this.live) this.release(region);
    this.live.clear();
    this.overwritten.clear();
  }

  // Translation ------------------------------------------------------------------------------

  private translate(seed: Block, places: CodePlaces): void {
    if (this.interpreters.some(({ patched }) => patched)) return;
    const begin = this.options.now();
    const pages = this.pagesOf(seed, places);
    const region = discover(seed, {
      view: this.view,
      handlers: this.options.handlers,
      limit: this.options.mode === 'stress' ? STRESS_INSTRUCTIONS : INSTRUCTIONS,
      targetsOf: (op) => this.targetsOf(op),
      blockAt: (place) => {
        const page = pages(Math.floor(place / PAGE_SIZE));
        if (page >= 0) return this.blockAt(page + (place & (PAGE_SIZE - 1)), seed);
        return this.returnAt(places.cached(place), seed);
      },
    });
    const body = region === null ? null : this.emit(region);
    if (region === null || body === null || !this.publish(region, body)) this.refused.add(seed);
    this.milliseconds += this.options.now() - begin;
  }

  /** Host addresses of the pages of the region of `seed`, by their distance from its own. */
  private pagesOf(seed: Block, places: CodePlaces): CodePlaces['page'] {
    const known = new Map([[0, (seed.key >>> 0) - seed.start]]);
    let count = 1;
    return (distance) => {
      let page = known.get(distance);
      if (page !== undefined) return page;
      page = count < PAGES ? places.page(distance) : -1;
      if (page >= 0) count++;
      known.set(distance, page);
      return page;
    };
  }

  /**
   * What may be part of the region of `seed`. Entries of other regions are entered instead, unless
   * these are short.
   */
  private blockAt(host: number, seed: Block): Block | null {
    const { opCache } = this;
    // Under stress a region has what may be executed, not only what has been.
    if (this.options.mode === 'stress' && opCache.hasRoom) opCache.block(host, seed.mode, () => -1);
    const block = opCache.find(host, seed.mode);
    if (block === undefined) return null;
    return block === seed || !this.isEntered(block) || this.isShort(block) ? block : null;
  }

  /**
   * The block at `record`, if it is a return and no more, wherever it lies: a kernel may have all
   * its functions jump to one.
   */
  private returnAt(record: number, seed: Block): Block | null {
    const block = record === 0 ? undefined : this.opCache.blockOf(record);
    if (block === undefined || block.mode !== seed.mode || block.count !== 2) return null;
    const handler = this.view.getUint16(block.record + R.OP_HANDLER, true);
    const info = formOfHandler(this.options.handlers, handler);
    return info?.form.mnemonic === 'RET' ? block : null;
  }

  /** Whether the region that `block` enters is so short that others have its code as well. */
  private isShort(block: Block): boolean {
    for (const { entries, instructions } of this.byBlock.get(block) ?? [])
      if (instructions <= SHORT && entries.includes(block)) return true;
    return false;
  }

  private emit(region: Region): Uint8Array | null {
    const module = new ModuleBuilder({ minimum: 1, shared: false });
    const helperIndex = module.importFunction('flags', HELPER_TYPE);
    const index = module.declare('region', REGION_TYPE);
    module.exportFunction('region', index);
    const { mode } = region.nodes[0].block;
    const headAt = (host: number): number => {
      const block = this.opCache.find(host, mode);
      return block === undefined ? 0 : block.record - R.OP_SIZE;
    };
    try {
      const emitted = new RegionFunction(region, { view: this.view, headAt }, helperIndex);
      module.setBody(index, emitted.build());
    } catch (error) {
      if (error !== UNCOMPILABLE) throw error;
      return null;
    }
    return module.build();
  }

  /** Has `region` executed from now on; false if the host cannot. */
  private publish(region: Region, bytes: Uint8Array): boolean {
    const compiled = this.compile(bytes);
    const slot = compiled === null ? null : this.takeSlot();
    if (compiled === null || slot === null) {
      this.failed++;
      this.evict();
      return false;
    }
    for (const { functions } of this.interpreters) functions.set(slot, compiled);
    const blocks = region.nodes.map(({ block }) => block);
    const entered = region.nodes.filter(({ entry, block }) => entry && !this.isEntered(block));
    const entries = entered.map(({ block }) => block);
    const translated: Translated = {
      blocks,
      entries,
      slot,
      bytes: bytes.length,
      instructions: region.instructions,
    };
    for (const block of blocks) {
      const known = this.byBlock.get(block);
      if (known === undefined) this.byBlock.set(block, new Set([translated]));
      else known.add(translated);
    }
    for (const { block, index } of entered) {
      const head = block.record - R.OP_SIZE;
      this.view.setInt32(head + R.OP_REGION, slot, true);
      this.view.setInt32(head + R.OP_ENTRY, index, true);
      this.opCache.setHead(block, HANDLER_REGION);
    }
    const targets = new Map(entries.map(({ record, target }) => [record, target]));
    for (const interpreter of this.interpreters) interpreter.redirect(targets);
    this.live.add(translated);
    this.liveBytes += bytes.length;
    this.translated++;
    this.instructions += region.instructions;
    this.bytes += bytes.length;
    if (this.liveBytes > BYTES_MAX || this.live.size > (this.options.regions ?? REGIONS_MAX))
      this.evict();
    return true;
  }

  /** The function of a region; null where the host lacks the memory: there is the interpreter. */
  private compile(bytes: Uint8Array): WebAssembly.ExportValue | null {
    const { memory, mode } = this.options;
    try {
      const module = new WebAssembly.Module(bytes as BufferSource);
      const instance = new WebAssembly.Instance(module, { env: { memory, flags: this.flags } });
      return instance.exports.region;
    } catch (error) {
      // What is wrong with a module itself has to be seen in tests, but end no guest.
      if (mode === 'stress' && !(error instanceof RangeError)) throw error;
      return null;
    }
  }

  private isEntered(block: Block): boolean {
    return block.target !== block.record;
  }

  /** A number that no region has; null if there is none left. */
  private takeSlot(): number | null {
    const free = this.freeSlots.pop();
    if (free !== undefined) return free;
    if (this.tablesFull) return null;
    let first = 0;
    try {
      for (const { functions } of this.interpreters) first = functions.grow(TABLE_GROWTH);
    } catch {
      // Some may have grown: their numbers would differ from now on.
      this.tablesFull = true;
      return null;
    }
    for (let i = TABLE_GROWTH - 1; i > 0; i--) this.freeSlots.push(first + i);
    return first;
  }

  private evict(): void {
    this.evictions++;
    const count = this.live.size >> 1;
    let done = 0;
    for (const region of this.live) {
      if (done++ >= count) break;
      this.drop(region);
    }
  }

  /** Has the interpreter execute the blocks of `region` again. */
  private drop(region: Translated): void {
    if (!this.live.delete(region)) return;
    this.dropped++;
    for (const block of region.blocks) this.byBlock.get(block)?.delete(region);
    for (const block of region.entries) this.opCache.setHead(block, HANDLER_HEAD);
    this.release(region);
  }

  private release({ slot, bytes }: Translated): void {
    this.liveBytes -= bytes;
    for (const { functions } of this.interpreters) functions.set(slot, null);
    this.freeSlots.push(slot);
  }
}
