/**
 * Structured control flow out of a graph of nodes: loops become WebAssembly loops, forward edges
 * branch out of blocks.
 *
 * A loop that is entered at its head alone has no dispatch; one with other entrances begins with a
 * `br_table` on the number of the node to go to, which inner loops do not pass.
 */
import type { CodeEmitter, Label, Value } from '../wasm/code.js';

export interface GraphNode {
  readonly index: number;
  readonly successors: readonly number[];
  readonly entry: boolean;
}

/** A branch to a node: where, and whether the number of the node selects among several. */
interface Target {
  readonly label: Label;
  readonly select: boolean;
}

export class StructureEmitter {
  readonly #targets: (Target | undefined)[] = [];

  constructor(
    readonly code: CodeEmitter,
    /** Local that selects a node. */
    readonly state: Value,
    readonly nodes: readonly GraphNode[],
    readonly emitNode: (index: number) => void,
  ) {}

  /** Emits everything; `state` selects where to begin if there are several entries. */
  emit(): void {
    const all = this.nodes.map(({ index }) => index);
    const entries = all.filter((index) => this.nodes[index].entry);
    this.#sequence(all, new Set(), entries.length > 1 ? entries : []);
  }

  /** Branches to node `index`. */
  branch(index: number): void {
    const target = this.#targets[index];
    if (target === undefined) throw new Error('a branch to where none leads');
    if (target.select) this.code.set(this.state, this.code.i32(index));
    this.code.br(target.label);
  }

  /** Emits `members`, edges to `cut` aside; `dispatch` are the nodes to choose from at first. */
  #sequence(
    members: readonly number[],
    cut: ReadonlySet<number>,
    dispatch: readonly number[],
  ): void {
    const { code } = this;
    const items = components(members, (index) =>
      this.nodes[index].successors.filter((next) => !cut.has(next)),
    );
    const outer = this.#targets.slice();
    const plans = items.map((item) => this.#plan(item, cut));
    const labels: Label[] = [];
    for (let i = items.length - 1; i >= 0; i--) labels[i] = code.openBlock();
    for (const [i, item] of items.entries()) {
      for (const index of item) {
        if (!cut.has(index)) this.#targets[index] = { label: labels[i], select: plans[i].select };
      }
    }
    if (dispatch.length > 0) this.#dispatch(dispatch, items, labels);
    for (const [i, item] of items.entries()) {
      code.close();
      if (plans[i].heads.size > 0) this.#loop(item, cut, plans[i]);
      else this.emitNode(item[0]);
    }
    for (const index of members) this.#targets[index] = outer[index];
  }

  #dispatch(dispatch: readonly number[], items: readonly number[][], labels: Label[]): void {
    const { code } = this;
    const labelOf = (index: number): Label =>
      labels[items.findIndex((item) => item.includes(index))];
    const table = Array.from({ length: Math.max(...dispatch) + 1 }, (_, index) =>
      labelOf(dispatch.includes(index) ? index : dispatch[0]),
    );
    code.brTable(this.state, table, labelOf(dispatch[0]));
  }

  /** The heads of a loop, and what else it may be entered at; none if it is no loop. */
  #plan(item: readonly number[], cut: ReadonlySet<number>): LoopPlan {
    const inside = new Set(item);
    const loops =
      item.length > 1 || (this.nodes[item[0]].successors.includes(item[0]) && !cut.has(item[0]));
    if (!loops) return { heads: new Set(), entries: [], select: false };
    const entered = new Set<number>();
    for (const { index, successors } of this.nodes) {
      if (inside.has(index)) continue;
      for (const next of successors) if (inside.has(next)) entered.add(next);
    }
    const heads = entered.size > 0 ? entered : new Set([Math.min(...item)]);
    const others = item.filter((index) => this.nodes[index].entry && !heads.has(index));
    return { heads, entries: [...heads, ...others], select: heads.size + others.length > 1 };
  }

  #loop(item: readonly number[], cut: ReadonlySet<number>, plan: LoopPlan): void {
    const { heads, entries, select } = plan;
    const saved = [...heads].map((index) => this.#targets[index]);
    this.code.loop((label) => {
      for (const index of heads) this.#targets[index] = { label, select };
      this.#sequence(item, new Set([...cut, ...heads]), select ? entries : []);
    });
    for (const [i, index] of [...heads].entries()) this.#targets[index] = saved[i];
  }
}

interface LoopPlan {
  readonly heads: ReadonlySet<number>;
  readonly entries: readonly number[];
  readonly select: boolean;
}

/**
 * Strongly connected components in topological order.
 *
 * Source: R. Tarjan, "Depth-first search and linear graph algorithms", 1972.
 */
export function components(
  members: readonly number[],
  successors: (index: number) => readonly number[],
): number[][] {
  const inside = new Set(members);
  const order = new Map<number, number>();
  const low = new Map<number, number>();
  const stack: number[] = [];
  const waiting = new Set<number>();
  const found: number[][] = [];
  const visit = (index: number): void => {
    order.set(index, order.size);
    low.set(index, order.get(index) as number);
    stack.push(index);
    waiting.add(index);
    for (const next of successors(index)) {
      if (!inside.has(next)) continue;
      if (!order.has(next)) {
        visit(next);
        low.set(index, Math.min(low.get(index) as number, low.get(next) as number));
      } else if (waiting.has(next)) {
        low.set(index, Math.min(low.get(index) as number, order.get(next) as number));
      }
    }
    if (low.get(index) !== order.get(index)) return;
    const component: number[] = [];
    let last: number;
    do {
      last = stack.pop() as number;
      waiting.delete(last);
      component.push(last);
    } while (last !== index);
    found.push(component.sort((a, b) => a - b));
  };
  for (const index of members) if (!order.has(index)) visit(index);
  return found.reverse();
}
