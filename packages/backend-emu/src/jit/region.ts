/**
 * A region: blocks that are translated into one function, as the op cache has them.
 *
 * They may lie in several pages, which follow upon each other as they did when it was translated:
 * what leads from one to another looks whether it is so yet. A place is a virtual address, counted
 * from the beginning of the page of the block that was hot.
 */
import type { FormInfo } from '../decode/variant.js';
import type { Block } from '../interp/op-cache.js';

/** One instruction of a region. */
export interface RegionOp {
  /** Address of its op record. */
  readonly record: number;
  readonly info: FormInfo;
  /** Place of what follows it. */
  readonly next: number;
}

export interface RegionNode {
  readonly index: number;
  readonly block: Block;
  /** Place where its page begins. */
  readonly base: number;
  /** Instructions up to where the block ends, goes on as another, or is left. */
  readonly ops: readonly RegionOp[];
  /** How the node ends, but for branches: at `next`, or by leaving `op` to the interpreter. */
  readonly end: { readonly next: number } | { readonly op: number } | null;
  /** Where its last instruction may lead, a return or one that names its target by an operand. */
  readonly targets: readonly number[];
  /** Where it may go on within the region, in order of nodes. */
  readonly successors: readonly number[];
  /** The region may be entered here. */
  entry: boolean;
  /** All flags are set before any is asked for or can be seen, but for a deadline at once. */
  readonly setsFlags: boolean;
  /** It lies in a loop. */
  readonly loops: boolean;
  /** CF is asked for, and no other flag, before all are set. */
  readonly needsCarry: boolean;
}

export interface Region {
  readonly nodes: readonly RegionNode[];
  /** Nodes by place. */
  readonly byPlace: ReadonlyMap<number, RegionNode>;
  readonly instructions: number;
}
