/**
 * What is under way, by token, in the order in which it began.
 *
 * A list: there are few, and mostly the first is asked for. A `Map` that goes from nothing to one
 * entry and back again allocates every time.
 */
export class UnderWay<T extends { readonly token: number }> implements Iterable<T> {
  private list: T[] = [];

  get size(): number {
    return this.list.length;
  }

  add(entry: T): void {
    this.list.push(entry);
  }

  get(token: number): T | undefined {
    const index = this.indexOf(token);
    return index < 0 ? undefined : this.list[index];
  }

  has(token: number): boolean {
    return this.indexOf(token) >= 0;
  }

  /** Removes and returns the first with that token. */
  take(token: number): T | undefined {
    const index = this.indexOf(token);
    if (index < 0) return undefined;
    return index === 0 ? this.list.shift() : this.list.splice(index, 1)[0];
  }

  clear(): void {
    this.list = [];
  }

  [Symbol.iterator](): Iterator<T> {
    return this.list.values();
  }

  private indexOf(token: number): number {
    const { list } = this;
    for (let index = 0; index < list.length; index++) {
      if (list[index]!.token === token) return index;
    }
    return -1;
  }
}
