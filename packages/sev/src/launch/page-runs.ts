/**
 * A set of page numbers as runs: what a guest names in ranges of any size, one after another, costs
 * by the number of runs that there are, never by the number of pages.
 */

/** First page number, number of pages. */
export type PageRun = readonly [first: number, count: number];

export class PageRuns {
  // Ascending, with a gap between each two: first pages, and the pages behind the last.
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];

  has(page: number): boolean {
    const at = below(this.#starts, page + 1) - 1;
    return at >= 0 && page < this.#ends[at]!;
  }

  add([first, count]: PageRun): void {
    const [start, end] = [first, first + count];
    // Those that touch it become one with it.
    const from = below(this.#ends, start);
    const to = below(this.#starts, end + 1);
    const joins = from < to;
    const [low, high] = joins ? [this.#starts[from]!, this.#ends[to - 1]!] : [start, end];
    this.#splice(from, to, [[Math.min(start, low), Math.max(end, high)]]);
  }

  remove([first, count]: PageRun): void {
    const [start, end] = [first, first + count];
    const from = below(this.#ends, start + 1);
    const to = below(this.#starts, end);
    if (from >= to) return;
    const rest: [number, number][] = [];
    if (this.#starts[from]! < start) rest.push([this.#starts[from]!, start]);
    if (this.#ends[to - 1]! > end) rest.push([end, this.#ends[to - 1]!]);
    this.#splice(from, to, rest);
  }

  clear(): void {
    this.#splice(0, this.#starts.length, []);
  }

  runs(): PageRun[] {
    return this.#starts.map((start, at) => [start, this.#ends[at]! - start] as const);
  }

  #splice(from: number, to: number, runs: readonly (readonly [number, number])[]): void {
    this.#starts.splice(from, to - from, ...runs.map(([start]) => start));
    this.#ends.splice(from, to - from, ...runs.map(([, end]) => end));
  }
}

/** How many of the ascending `numbers` are below `limit`. */
function below(numbers: readonly number[], limit: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle]! < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
