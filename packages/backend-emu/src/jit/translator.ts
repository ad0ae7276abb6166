/**
 * Translates what is executed often to WebAssembly, and forgets it when its code changes.
 *
 * What is executed often is found by samples: the interpreter says every few thousand instructions
 * which block it is at, at exact counts, so that every run translates the same. One translator
 * serves all vCPUs of a VM: regions belong to code, not to processors.
 */
import type { FormInfo } from '../decode/variant.js';
import { HANDLER_HEAD, HANDLER_REGION, type HandlerSet } from '../interp/handlers.js';
import type { CodePages, Interpreter, Sampler } from '../interp/interpreter.js';
import type { Block, BlockTranslator, OpCache } from '../interp/op-cache.js';
import * as R from '../isa/op-record.js';
import { ModuleBuilder } from '../wasm/module.js';
import { isCompilable } from './compilable.js';
import { discover } from './discovery.js';
import type { Region } from './region.js';
import { REGION_TYPE, UNCOMPILABLE } from './region-code.js';
import { flagHelperModule, HELPER_TYPE } from './region-flags.js';
import { RegionFunction } from './region-function.js';

/** Instructions between samples: while much is interpreted, and at most. */
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
}

export interface TranslatorOptions {
  readonly mode: 'on' | 'stress';
  readonly memory: WebAssembly.Memory;
  readonly handlers: HandlerSet;
  /** Regions kept at most. */
  readonly regions?: number;
  /** Milliseconds, for the summary. */
  readonly now: () => number;
}

let helper: WebAssembly.Module | undefined;

export class Translator implements BlockTranslator, Sampler {
  interval = INTERVAL;
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

  sample(record: number, pageAt: CodePages): void {
    const block = this.opCache.blockOf(record);
    if (block === undefined || block.target !== block.record || this.refused.has(block)) {
      this.interval = Math.min(this.interval * 2, INTERVAL_MAX);
      return;
    }
    this.interval = INTERVAL;
    const count = (this.samples.get(block) ?? 0) + 1;
    this.samples.set(block, count);
    if (count < HOT) return;
    const page = (block.key >>> 0) - block.start;
    const times = this.overwritten.get(page) ?? 0;
    if (times === 0) this.translate(block, pageAt);
    else this.overwritten.set(page, times - 1);
  }

  found(target: number, pageAt: CodePages): number {
    if (this.options.mode !== 'stress') return target;
    const block = this.opCache.blockOf(target);
    if (block === undefined || block.target !== block.record) return target;
    const times = this.overwritten.get((block.key >>> 0) - block.start) ?? 0;
    const due = times < OFTEN || times % OFTEN === 0;
    if (due && !this.refused.has(block)) this.translate(block, pageAt);
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

  private translate(seed: Block, pageAt: CodePages): void {
    if (this.interpreters.some(({ patched }) => patched)) return;
    const begin = this.options.now();
    const pages = this.pagesOf(seed, pageAt);
    const region = discover(seed, {
      view: this.view,
      handlers: this.options.handlers,
      limit: this.options.mode === 'stress' ? STRESS_INSTRUCTIONS : INSTRUCTIONS,
      blockAt: (place) => {
        const page = pages(Math.floor(place / PAGE_SIZE));
        return page < 0 ? null : this.blockAt(page + (place & (PAGE_SIZE - 1)), seed);
      },
    });
    const body = region === null ? null : this.emit(region);
    if (region === null || body === null || !this.publish(region, body)) this.refused.add(seed);
    this.milliseconds += this.options.now() - begin;
  }

  /** Host addresses of the pages of the region of `seed`, by their distance from its own. */
  private pagesOf(seed: Block, pageAt: CodePages): CodePages {
    const known = new Map([[0, (seed.key >>> 0) - seed.start]]);
    return (distance) => {
      let page = known.get(distance);
      if (page !== undefined) return page;
      if (known.size >= PAGES) return -1;
      page = pageAt(distance);
      if (page >= 0) known.set(distance, page);
      return page;
    };
  }

  /** What may be part of the region of `seed`; entries of other regions are entered instead. */
  private blockAt(host: number, seed: Block): Block | null {
    const { opCache } = this;
    // Under stress a region has what may be executed, not only what has been.
    if (this.options.mode === 'stress' && opCache.hasRoom) opCache.block(host, seed.mode, () => -1);
    const block = opCache.find(host, seed.mode);
    if (block === undefined) return null;
    return block === seed || block.target === block.record ? block : null;
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
    const translated: Translated = { blocks, entries, slot, bytes: bytes.length };
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
