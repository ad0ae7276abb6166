/**
 * Handlers by range: the line of numbers cut where any filter begins or ends, and for each piece
 * the handlers that cover it, highest priority first.
 */
export interface Ranged<T> {
  readonly base: number;
  readonly end: number;
  readonly priority: number;
  readonly value: T;
}

/** The handlers of one piece: those asked before devices and those asked after. */
export interface Chain<T> {
  readonly above: readonly T[];
  readonly below: readonly T[];
}

const EMPTY: Chain<never> = { above: [], below: [] };

export class RangeMap<T> {
  readonly items: Ranged<T>[] = [];
  private starts: number[] = [];
  private chains: Chain<T>[] = [];
  private stale = false;

  /** An item that overlaps and has the same priority, if there is one. */
  rival(base: number, end: number, priority: number): Ranged<T> | undefined {
    return this.items.find(
      (item) => item.priority === priority && base < item.end && item.base < end,
    );
  }

  add(item: Ranged<T>): void {
    this.items.push(item);
    this.stale = true;
  }

  find(key: number): Chain<T> {
    if (this.stale) this.compile();
    const starts = this.starts;
    let low = 0;
    let high = starts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (starts[middle]! <= key) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? EMPTY : this.chains[low - 1]!;
  }

  private compile(): void {
    this.stale = false;
    const cuts = new Set(this.items.flatMap(({ base, end }) => [base, end]));
    this.starts = [...cuts].sort((a, b) => a - b);
    this.chains = this.starts.map((start) => {
      const here = this.items
        .filter(({ base, end }) => base <= start && start < end)
        .sort((a, b) => b.priority - a.priority);
      return {
        above: here.filter(({ priority }) => priority >= 0).map(({ value }) => value),
        below: here.filter(({ priority }) => priority < 0).map(({ value }) => value),
      };
    });
  }
}
