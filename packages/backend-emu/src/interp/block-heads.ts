/**
 * Blocks with heads, by the address of their first record.
 *
 * A table by number of the record, not a map: a boot decodes 45,000 of them, and asks for one at
 * each link between two.
 */
import * as R from '../isa/op-record.js';
import type { Block } from './op-cache.js';

export class BlockHeads {
  /** By number of the record: 1 + where its block is in the list, or 0. */
  readonly #places: Int32Array;
  readonly #blocks: (Block | undefined)[] = [];

  /** For records in that byte range of the memory. */
  constructor(
    private readonly base: number,
    size: number,
  ) {
    this.#places = new Int32Array(Math.ceil(size / R.OP_SIZE));
  }

  add(block: Block): void {
    this.#places[this.#numberOf(block.record)] = this.#blocks.push(block);
  }

  get(record: number): Block | undefined {
    const place = this.#places[this.#numberOf(record)] ?? 0;
    return place === 0 ? undefined : this.#blocks[place - 1];
  }

  /** Whether it was there. */
  delete(record: number): boolean {
    const number = this.#numberOf(record);
    const place = this.#places[number] ?? 0;
    if (place === 0) return false;
    this.#places[number] = 0;
    this.#blocks[place - 1] = undefined;
    return true;
  }

  clear(): void {
    this.#places.fill(0);
    this.#blocks.length = 0;
  }

  #numberOf(record: number): number {
    return (record - this.base) / R.OP_SIZE;
  }
}
