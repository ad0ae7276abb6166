/**
 * The emulated processor against the host's own: random operands and flags through every form of the
 * instruction table that a user program may execute.
 *
 * A sample in the unit run, 200 cases of each form with CLOISTER_FULL=1. The seed is printed;
 * CLOISTER_SEED repeats a run, CLOISTER_FORM (part of a form's name) narrows it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { differences, nativeOutcome } from './comparison.js';
import { EmulatedUser } from './emulated-user.js';
import { type NativeForm, nativeForms } from './forms.js';
import { type NativeCase, randomCase } from './native-cases.js';
import { NativeOracle, oracleProblem } from './oracle.js';
import { RandomSource } from './random.js';
import type { Bits } from './user-state.js';

const problem = oracleProblem();
const seed = Number(process.env.CLOISTER_SEED ?? Date.now() % 2 ** 31);
const EACH = Number(process.env.CLOISTER_CASES ?? (process.env.CLOISTER_FULL === '1' ? 200 : 4));
/** Cases that one process of the oracle answers. */
const BATCH = 4000;
/** Differences of a form that are worth reading. */
const SHOWN = 4;

function hash(text: string): number {
  return [...text].reduce((sum, letter) => Math.imul(sum ^ letter.charCodeAt(0), 16777619), 1);
}

function casesOf(form: NativeForm): NativeCase[] {
  const random = new RandomSource(seed ^ hash(`${form.bits} ${form.name}`));
  return Array.from({ length: EACH }, () => randomCase(form, random));
}

function describeCase({ code, state }: NativeCase): string {
  return `${Buffer.from(code).toString('hex')} flags ${state.rflags.toString(16)}`;
}

describe.skipIf(problem !== null)(`natively, seed ${seed} ${problem ?? ''}`, () => {
  let oracle: NativeOracle;
  const emulated = new EmulatedUser();
  beforeAll(() => {
    oracle = new NativeOracle();
  });
  afterAll(() => oracle.dispose());

  /** Failures by form. */
  function run(forms: readonly NativeForm[]): Record<string, string[]> {
    const failures: Record<string, string[]> = {};
    const perBatch = Math.max(1, Math.floor(BATCH / EACH));
    for (let first = 0; first < forms.length; first += perBatch) {
      const cases = forms.slice(first, first + perBatch).flatMap(casesOf);
      const answers = oracle.run(
        cases.map(({ code, bits, state }) => ({ code, bits, state: state.bytes })),
      );
      cases.forEach((each, i) => {
        const found = differences(each, nativeOutcome(answers[i]), emulated.run(each));
        if (found.length === 0) return;
        const list = (failures[each.form.name] ??= []);
        if (list.length < SHOWN) list.push(`${describeCase(each)}: ${found.join('; ')}`);
      });
    }
    return failures;
  }

  for (const bits of [64, 32, 16] as const satisfies readonly Bits[]) {
    const { forms } = nativeForms(bits);
    const wanted = forms.filter(({ name }) => name.includes(process.env.CLOISTER_FORM ?? ''));
    it(`${wanted.length} forms of ${bits}-bit code agree, ${EACH} cases each`, () => {
      expect(run(wanted)).toEqual({});
    });
  }
});
