// What ratios to QEMU's TCG the benchmarks are to reach, printed beside what they measure. Goals,
// not assertions: figures depend on the machine.

/** Speeds are to be at least a fraction of TCG's, costs at most a multiple. */
const GOALS = {
  'mean of the five': { atLeast: 0.22, hoped: 0.3 },
  'rep-movsb': { atLeast: 10 },
  double: { atLeast: 0.5 },
  boot: { atMost: 6 },
  sev: { atMost: 1.05 },
  // Of CPU time for an instruction: the guest's own #VC handler costs what it costs.
  'sev-es': { atMost: 1.1 },
  disk: { atLeast: 0.25, hoped: 1 },
  net: { atLeast: 0.25, hoped: 1 },
};

/** What a ratio was to be and whether it is, or undefined where there is no goal. */
export function judged(name, ratio) {
  const goal = GOALS[name];
  if (goal === undefined) return undefined;
  const { atLeast, atMost, hoped } = goal;
  const isMet = atLeast !== undefined ? ratio >= atLeast : ratio <= atMost;
  const bound = atLeast !== undefined ? `>= ${atLeast}` : `<= ${atMost}`;
  if (hoped === undefined) return `${bound}: ${isMet ? 'met' : 'missed'}`;
  const hope = ratio >= hoped ? 'reached' : 'not reached';
  return `${bound}: ${isMet ? 'met' : 'missed'}; ${hoped} hoped for: ${hope}`;
}
