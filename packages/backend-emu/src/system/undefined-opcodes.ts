/**
 * Counts what the guest executed and this processor does not have, for the run's summary: #UD by
 * the bytes at RIP, and features refused by name. Bounded, since the guest chooses the bytes.
 */
const MAX_ENTRIES = 64;

export class UndefinedOpcodes {
  private readonly counts = new Map<string, number>();
  /** Events not told apart any more. */
  others = 0;

  count(what: string): void {
    const known = this.counts.get(what);
    if (known !== undefined) this.counts.set(what, known + 1);
    else if (this.counts.size < MAX_ENTRIES) this.counts.set(what, 1);
    else this.others++;
  }

  /** Pairs of what and how often, most frequent first. */
  list(): readonly (readonly [string, number])[] {
    return [...this.counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  }
}
