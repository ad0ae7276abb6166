/**
 * Process-wide settings that the emulated processor gains from: V8's flags, where they are known,
 * and glibc's habit of giving memory back.
 *
 * Only Node versions on which the flags were tried get them, since an unknown flag prints to
 * standard error; Node 22 and 24 lack the first. In a browser nothing happens.
 */
import { nodeMajor, nodeModule } from './node-module.js';

/** Major versions of Node on which the flags are known to exist and to help. */
const TESTED_NODE_MAJORS: readonly number[] = [20];
const FLAGS: readonly string[] = [
  // V8 gives functions with many virtual registers a cheaper register allocator; for one loop with
  // hundreds of cases that costs a sixth of the speed.
  '--no-turbo-use-mid-tier-regalloc-for-huge-functions',
  // A boot runs much JavaScript for a short time: optimising it costs more than it saves, most of
  // all where one function is compiled as part of many others.
  '--max-inlined-bytecode-size-cumulative=250',
];
/** How much of a function is executed before V8 thinks about optimising it. */
const BUDGET = '--interrupt-budget=540000';
/**
 * Twice V8's own: where an extension answers instructions of the guest, every access to a device is
 * that many functions more.
 */
const BUDGET_FOR_EXITS = '--interrupt-budget=150000';

/**
 * Bytes of a piece of memory that V8 frees when it collects garbage next. By it glibc learns
 * (malloc/malloc.c, M_TRIM_THRESHOLD: twice the largest piece that was mapped by itself and freed)
 * to keep up to twice as much that is free at the top of a heap. Before it gave all above 128 KiB
 * back to the kernel, so that V8's threads took the pages of each function's compilation anew:
 * 30,000 of them in a boot with SEV, 0.3 s. It means nothing to other allocators.
 */
const LESSON = 16 * 2 ** 20;
let taught = false;

interface NodeV8 {
  setFlagsFromString(flag: string): void;
}

/** Once, since what is taken again comes from the heap, and has to be cleared. */
function teachAllocator(): void {
  if (taught) return;
  taught = true;
  new Uint8Array(LESSON).fill(1, 0, 1);
}

/**
 * Teaches the allocator, and sets the flags where they are known; returns whether it did that.
 * Call before code is compiled. `exits`: an extension answers instructions of the guest.
 */
export function tuneHost(exits: boolean, scope: object = globalThis): boolean {
  if (nodeMajor(scope) > 0) teachAllocator();
  if (!TESTED_NODE_MAJORS.includes(nodeMajor(scope))) return false;
  const v8 = nodeModule<NodeV8>('node:v8', scope);
  if (v8 === undefined) return false;
  for (const flag of [...FLAGS, exits ? BUDGET_FOR_EXITS : BUDGET]) v8.setFlagsFromString(flag);
  return true;
}
