/**
 * A binary heap of timers, ordered by time, then by the order in which they were set.
 *
 * Cancelled timers stay in the heap until they reach its top: cancelling costs nothing, and a
 * device that re-arms one timer often only pays for the stale entries as they fall due. When more
 * than half of the heap is stale it is rebuilt, so it never grows beyond twice the live timers.
 */
import type { Timer } from '../interfaces/index.js';

class Entry implements Timer {
  constructor(
    readonly at: number,
    readonly order: number,
    public callback: (() => void) | null,
    private readonly owner: TimerHeap,
  ) {}

  cancel(): void {
    if (this.callback === null) return;
    this.callback = null;
    this.owner.cancelled();
  }
}

function before(a: Entry, b: Entry): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Below this many entries stale ones are not worth a rebuild. */
const REBUILD_MIN = 64;

export class TimerHeap {
  private heap: Entry[] = [];
  private stale = 0;
  private nextOrder = 0;

  /** Number of timers that will still fire. */
  get size(): number {
    return this.heap.length - this.stale;
  }

  set(at: number, callback: () => void): Timer {
    const entry = new Entry(at, this.nextOrder++, callback, this);
    this.heap.push(entry);
    this.siftUp(this.heap.length - 1);
    return entry;
  }

  /** Time of the earliest timer, Infinity without one. */
  next(): number {
    this.dropStaleTop();
    return this.heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  /** Removes the earliest timer if it is due at `now` and returns its callback, else null. */
  takeDue(now: number): (() => void) | null {
    this.dropStaleTop();
    const top = this.heap[0];
    if (top === undefined || top.at > now) return null;
    this.pop();
    const callback = top.callback;
    top.callback = null;
    return callback;
  }

  clear(): void {
    for (const entry of this.heap) entry.callback = null;
    this.heap = [];
    this.stale = 0;
  }

  /** A timer was cancelled. */
  cancelled(): void {
    this.stale++;
    if (this.heap.length >= REBUILD_MIN && this.stale * 2 > this.heap.length) this.rebuild();
  }

  private rebuild(): void {
    this.heap = this.heap.filter((entry) => entry.callback !== null);
    this.stale = 0;
    // An ascending array is a heap.
    this.heap.sort((a, b) => (before(a, b) ? -1 : 1));
  }

  private dropStaleTop(): void {
    while (this.heap.length > 0 && this.heap[0]!.callback === null) {
      this.pop();
      this.stale--;
    }
  }

  private pop(): void {
    const last = this.heap.pop()!;
    if (this.heap.length === 0) return;
    this.heap[0] = last;
    this.siftDown();
  }

  private siftUp(from: number): void {
    const heap = this.heap;
    const entry = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  private siftDown(): void {
    const heap = this.heap;
    const entry = heap[0]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, entry)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = entry;
  }
}
