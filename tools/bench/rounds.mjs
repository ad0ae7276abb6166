// A guest that does the same parts of work in rounds: a translator is warm only after some of them,
// so what a machine does at first and what it does in the end are told apart.
import { median, spreadPercent } from './statistics.mjs';

export const ROUNDS = 10;
/** The last rounds, which count as settled. */
const SETTLED = 3;

const labelOf = (part, round) => `${part}-${round}`;

/** What the guest calls the parts of its rounds. */
export const labelsOf = (parts) =>
  Array.from({ length: ROUNDS }, (_, round) => parts.map((part) => labelOf(part, round))).flat();

/**
 * What to report of a part that moves `amount`, by the runs of two machines: seconds by label.
 * Rates in the last rounds, how they compare, then and in the first round, and the spread of ours.
 */
export function comparedRates(part, amount, [ours, theirs]) {
  const first = (runs) => median(runs.map((run) => run[labelOf(part, 0)]));
  const last = Array.from({ length: SETTLED }, (_, i) => labelOf(part, ROUNDS - 1 - i));
  const settled = (runs) => runs.flatMap((run) => last.map((label) => run[label]));
  const [mine, other] = [settled(ours), settled(theirs)];
  return {
    cloister: amount / median(mine),
    'qemu tcg': amount / median(other),
    'x of tcg': median(other) / median(mine),
    'x at first': first(theirs) / first(ours),
    'spread %': spreadPercent(mine),
  };
}
