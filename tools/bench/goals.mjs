// What ratios to QEMU's TCG the benchmarks are to reach, printed beside what they measure. Goals,
// not assertions: figures depend on the machine.

/**
 * Of what is measured as it runs by default, which translates. Speeds are to be at least a fraction
 * of TCG's, costs at most a multiple.
 */
const GOALS = {
  'mean of the five': { atLeast: 1.1, hoped: 1.5 },
  flat: { atLeast: 1 },
  boot: { atMost: 1.5, hoped: 1 },
  sev: { atMost: 1.05 },
  // Of CPU time for an instruction: the guest's own #VC handler costs what it costs.
  'sev-es': { atMost: 1.1 },
  disk: { atLeast: 1 },
  net: { atLeast: 1 },
};

/** Of the interpreter by itself. */
const INTERPRETED = {
  'mean of the five': { atLeast: 0.22, hoped: 0.3 },
  'rep-movsb': { atLeast: 10 },
  double: { atLeast: 0.5 },
};

/** What a ratio was to be and whether it is, or undefined where there is no goal. */
export const judged = (name, ratio) => verdict(GOALS[name], ratio);

/** The same where nothing is translated. */
export const judgedInterpreted = (name, ratio) => verdict(INTERPRETED[name], ratio);

function verdict(goal, ratio) {
  if (goal === undefined) return undefined;
  const { atLeast, atMost, hoped } = goal;
  const isSpeed = atLeast !== undefined;
  const reaches = (bound) => (isSpeed ? ratio >= bound : ratio <= bound);
  const bound = isSpeed ? `>= ${atLeast}` : `<= ${atMost}`;
  const met = `${bound}: ${reaches(atLeast ?? atMost) ? 'met' : 'missed'}`;
  if (hoped === undefined) return met;
  return `${met}; ${hoped} hoped for: ${reaches(hoped) ? 'reached' : 'not reached'}`;
}
