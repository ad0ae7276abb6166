/**
 * What both ring formats share: access to guest memory that can only fail into a broken queue, and
 * the data of chains.
 */
import { type Chain, gather, type Segment, scatter } from './chain.js';
import {
  type ChainParts,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  DESC_SIZE,
  gpaOf,
} from './descriptor.js';
import type { OpenQueue, QueueLayout, QueuePorts, QueuePosition, UsedChain } from './virtqueue.js';

/**
 * Reads of the ring until the queue is refilled: bounds the work of one event. A ring
 * that lies over its own used ring, or is filled as fast as it is emptied, never ends.
 */
const READS_AT_ONCE = 4096;

/** Descriptors of an indirect table that is read in one go. */
const TABLE_AT_ONCE = 256;

/** Why a queue breaks whose driver gives out descriptors that the device has not used yet. */
export const TOO_MANY = 'more descriptors are under way than the queue has';

export abstract class Ring implements OpenQueue {
  protected broken = false;
  private budget = READS_AT_ONCE;
  private readonly bytes = new Uint8Array(DESC_SIZE);
  /** The bytes that were read last. */
  protected readonly view = new DataView(this.bytes.buffer);
  /** The first bytes of `bytes`, by how many. */
  private readonly pieces = Array.from({ length: DESC_SIZE + 1 }, (_, size) =>
    this.bytes.subarray(0, size),
  );
  /** The indirect table that was read last; another of its length goes to the same place. */
  private tableBytes = new Uint8Array(0);
  private tableView = new DataView(this.tableBytes.buffer);

  constructor(
    protected readonly layout: QueueLayout,
    protected readonly position: QueuePosition,
    protected readonly ports: QueuePorts,
  ) {}

  /** Takes a chain off the ring. */
  protected abstract take(): Chain | null;
  abstract push(chain: Chain, written: number): void;
  abstract pushTogether(used: readonly UsedChain[]): void;
  protected abstract wantsSignal(): boolean;

  pop(): Chain | null {
    if (this.broken) return null;
    if (this.budget > 0) return this.take();
    this.ports.exhausted();
    return null;
  }

  spend(reads: number): void {
    this.budget -= reads;
  }

  refill(): void {
    this.budget = READS_AT_ONCE;
  }

  signal(): void {
    if (this.broken || this.position.unsignalled === 0) return;
    const wanted = this.wantsSignal();
    this.position.unsignalled = 0;
    if (wanted && !this.broken) this.ports.interrupt();
  }

  read(chain: Chain, offset: number, target: Uint8Array): boolean {
    return gather(this.ports.dma, chain.readable, offset, target);
  }

  write(chain: Chain, offset: number, source: Uint8Array): boolean {
    return scatter(this.ports.dma, chain.writable, offset, source);
  }

  lend(
    segments: readonly Segment[],
    access: 'read' | 'write',
    fn: (spans: readonly Uint8Array[]) => void,
  ): boolean {
    return this.ports.dma.withSpans?.(segments, access, fn) ?? false;
  }

  /** Breaks the queue; null so that it can be returned where a chain is expected. */
  protected fail(reason: string): null {
    if (!this.broken) {
      this.broken = true;
      this.ports.fault(reason);
    }
    return null;
  }

  /** Reads `size` (2, 4, 14 or 16) bytes to the start of `view`. */
  protected fetch(gpa: number, size: number): boolean {
    const target = this.pieces[size]!;
    this.budget--;
    if (this.ports.dma.read(gpa, target)) return true;
    this.fail('the ring is not in guest memory');
    return false;
  }

  /** Writes the first `size` (2, 4, 6, 8 or 16) bytes of `view`. */
  protected store(gpa: number, size: number): boolean {
    const source = this.pieces[size]!;
    if (this.ports.dma.write(gpa, source)) return true;
    this.fail('the ring is not in guest memory');
    return false;
  }

  /**
   * Adds the descriptors of an indirect table to `parts`. Split tables are linked by `next`, packed
   * ones are read in order. Each descriptor is read once.
   */
  protected addIndirect(parts: ChainParts, gpa: number, length: number, linked: boolean): boolean {
    const count = length / DESC_SIZE;
    const why = this.indirectProblem(gpa, length, count);
    if (why !== null) return this.fail(why) !== null;
    // A short table is read at once; of a long one a chain may use a few descriptors only.
    const table = count <= TABLE_AT_ONCE ? this.table(gpa, length) : null;
    let index = 0;
    for (let taken = 0; taken < count; taken++) {
      if (table === null && !this.fetch(gpa + index * DESC_SIZE, DESC_SIZE)) return false;
      const view = table ?? this.view;
      const from = table === null ? 0 : index * DESC_SIZE;
      const flags = view.getUint16(from + (linked ? 12 : 14), true);
      // 2.7.5.3.1: no indirect descriptor inside an indirect table.
      if ((flags & DESC_F_INDIRECT) !== 0) return this.fail('an indirect table nests') !== null;
      const at = gpaOf(view.getUint32(from, true), view.getUint32(from + 4, true));
      const wrong = parts.add(at, view.getUint32(from + 8, true), (flags & DESC_F_WRITE) !== 0);
      if (wrong !== null) return this.fail(wrong) !== null;
      if (!linked) {
        index++;
        continue;
      }
      if ((flags & DESC_F_NEXT) === 0) return true;
      index = view.getUint16(from + 14, true);
      if (index >= count) return this.fail('a descriptor lies outside its table') !== null;
    }
    return linked ? this.fail('a chain in an indirect table has a loop') !== null : true;
  }

  /** Reads a whole table, which is in guest memory. */
  private table(gpa: number, length: number): DataView | null {
    this.budget -= length / DESC_SIZE;
    if (this.tableBytes.length !== length) {
      this.tableBytes = new Uint8Array(length);
      this.tableView = new DataView(this.tableBytes.buffer);
    }
    return this.ports.dma.read(gpa, this.tableBytes) ? this.tableView : null;
  }

  private indirectProblem(gpa: number, length: number, count: number): string | null {
    if (!this.ports.indirect) return 'an indirect descriptor was not negotiated';
    if (length === 0 || length % DESC_SIZE !== 0) return 'an indirect table has an odd length';
    // 2.7.5.3.1: no chain is longer than the queue.
    if (count > this.layout.size) return 'an indirect table is longer than the queue';
    if (gpa < 0 || !this.ports.dma.covers(gpa, length, 'read')) {
      return 'an indirect table is not in guest memory';
    }
    return null;
  }
}
