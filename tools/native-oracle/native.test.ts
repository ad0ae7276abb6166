/**
 * The emulated processor against the host's own: random operands and flags through every form of
 * the instruction table that a user program may execute, in 64-, 32- and 16-bit code.
 *
 * A sample in the unit run, 200 cases of each form with CLOISTER_FULL=1. The seed is printed;
 * CLOISTER_SEED repeats a run, CLOISTER_FORM (part of a form's name) narrows it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { differences, nativeOutcome } from './comparison.js';
import { EmulatedUser } from './emulated-user.js';
import { LACKING, VENDOR } from './exclusions.js';
import { type NativeForm, nativeForms } from './forms.js';
import { hostIsAmd } from './host.js';
import { type NativeCase, randomCase } from './native-cases.js';
import { NativeOracle, oracleProblem } from './oracle.js';
import { RandomSource } from './random.js';
import { UNTESTED } from './untested.js';
import type { Bits } from './user-state.js';

const problem = oracleProblem();
const full = process.env.CLOISTER_FULL === '1';
const seed = Number(process.env.CLOISTER_SEED ?? Date.now() % 2 ** 31);
const EACH = Number(process.env.CLOISTER_CASES ?? (full ? 200 : 3));
const ALL_BITS: readonly Bits[] = [64, 32, 16];
/** Cases that one process of the oracle answers. */
const BATCH = 4000;
/** Differences of a form that are worth reading. */
const SHOWN = 4;
const TIMEOUT = 600_000;
/** How many answers may be others when asked again. */
const FICKLE_MOST = 3;
const FICKLE_ONE_IN = 10_000;

function hash(text: string): number {
  return [...text].reduce((sum, letter) => Math.imul(sum ^ letter.charCodeAt(0), 16777619), 1);
}

function casesOf(form: NativeForm, from: number): NativeCase[] {
  const random = new RandomSource(from ^ hash(`${form.bits} ${form.name}`));
  return Array.from({ length: EACH }, () => randomCase(form, random));
}

function describeCase({ bits, code, segments, state }: NativeCase): string {
  const limits = segments.map(({ limit, kind }) => `${limit.toString(16)}:${kind}`).join(' ');
  const text = `${Buffer.from(code).toString('hex')} flags ${state.rflags.toString(16)}`;
  return bits === 16 ? `${text} segments ${limits}` : text;
}

/** What a mode needs that some hosts lack. */
const NEEDS: Readonly<Record<Bits, string>> = {
  64: '64-bit programs',
  32: '32-bit programs',
  16: 'a local descriptor table',
};
/** In 64-bit code they load or look at segments of other modes' programs. */
const OF_OTHER_MODES = /^(CALLFI|IRET|JMPFI|LAR|LOADFAR|LSL|MOVTOSEG|RETFI?|VERR|VERW)$/;

/** The modes in which the host's kernel lets a program do nothing. */
function modesOfHost(): ReadonlySet<Bits> {
  const oracle = new NativeOracle();
  try {
    return new Set(
      ALL_BITS.filter((bits) => {
        const nop = nativeForms(bits).forms.find(({ name }) =>
          name.startsWith('CLC '),
        ) as NativeForm;
        const cases = casesOf(nop, 1);
        const answers = oracle.run(cases.map((each) => ({ ...each, state: each.state.bytes })));
        return answers.some((answer) => nativeOutcome(answer).vector < 0);
      }),
    );
  } finally {
    oracle.dispose();
  }
}

const modes = problem === null ? modesOfHost() : new Set<Bits>();
const isWhole = modes.size === ALL_BITS.length;

describe.skipIf(problem !== null)(`natively, seed ${seed} ${problem ?? ''}`, () => {
  let oracle: NativeOracle;
  let emulated: EmulatedUser;
  beforeAll(() => {
    oracle = new NativeOracle();
    emulated = new EmulatedUser();
  });
  afterAll(() => oracle.dispose());

  function ask(cases: readonly NativeCase[]) {
    const answers = oracle.run(cases.map((each) => ({ ...each, state: each.state.bytes })));
    return cases.map((each, i) => ({ each, native: nativeOutcome(answers[i]!) }));
  }

  /**
   * Differences by form. What differs is asked again: hosts whose kernel mode is emulated were seen
   * to raise #UD for one instruction in 60,000, another each time.
   */
  function run(forms: readonly NativeForm[]): Record<string, string[]> {
    const failures: Record<string, string[]> = {};
    let fickle = 0;
    const perBatch = Math.max(1, Math.floor(BATCH / EACH));
    for (let first = 0; first < forms.length; first += perBatch) {
      const batch = forms.slice(first, first + perBatch);
      const cases = batch.flatMap((form) => casesOf(form, seed));
      const wrong = ask(cases).filter(
        ({ each, native }) => differences(each, native, emulated.run(each)).length > 0,
      );
      for (const { each, native } of ask(wrong.map((one) => one.each))) {
        const found = differences(each, native, emulated.run(each));
        if (found.length === 0) {
          fickle++;
          continue;
        }
        failures[each.form.name] ??= [];
        const list = failures[each.form.name];
        if (list.length < SHOWN) list.push(`${describeCase(each)}: ${found.join('; ')}`);
      }
    }
    if (fickle > 0)
      process.stderr.write(`the host answered otherwise when asked again: ${fickle}\n`);
    expect(fickle).toBeLessThanOrEqual(FICKLE_MOST + (forms.length * EACH) / FICKLE_ONE_IN);
    return failures;
  }

  for (const bits of ALL_BITS) {
    const { forms } = nativeForms(bits);
    const wanted = forms.filter(
      ({ name, encoding }) =>
        name.includes(process.env.CLOISTER_FORM ?? '') &&
        (isWhole || !OF_OTHER_MODES.test(encoding.row.mnemonic)),
    );
    const lacking = modes.has(bits) ? '' : ` (${LACKING}${NEEDS[bits]})`;
    it.skipIf(!modes.has(bits))(
      `${wanted.length} forms of ${bits}-bit code agree, ${EACH} cases each${lacking}`,
      () => {
        expect(run(wanted)).toEqual({});
      },
      TIMEOUT,
    );
  }

  it('a wrong answer is seen, wherever it is', () => {
    const { forms } = nativeForms(64);
    const [each] = casesOf(forms.find(({ name }) => name === 'ADD Ev,Gv (01) 64') as NativeForm, 1);
    const [answer] = oracle.run([{ ...each, state: each.state.bytes }]);
    const right = () => nativeOutcome({ ...answer, state: answer.state.slice() });
    const wrong = [];
    // Every 7th byte of registers, flags, RIP, vector registers and data.
    for (let at = 0; at < each.state.bytes.length; at += 7) {
      const outcome = right();
      outcome.state.bytes[at] ^= 1;
      if (differences(each, right(), outcome).length > 0) wrong.push(at);
    }
    expect(differences(each, right(), right())).toEqual([]);
    expect(differences(each, right(), { ...right(), vector: 13 })).toEqual(['vector -1 not d']);
    // All but reserved bytes, bits of RFLAGS that cannot change, and the x87 pointers.
    expect(wrong.length).toBeGreaterThan(90);
    expect(wrong.filter((at) => at < 128).length).toBe(19);
  });
});

describe('what is not tested natively', () => {
  it('is in the table, with the reason', () => {
    const found: Record<string, string[]> = {};
    for (const bits of ALL_BITS) {
      for (const { name, reason } of nativeForms(bits).excluded) {
        found[reason] ??= [];
        if (!found[reason].includes(name)) found[reason].push(name);
      }
    }
    for (const [reason, names] of Object.entries(found)) {
      process.stderr.write(`not tested natively, ${reason}: ${names.sort().join(', ')}\n`);
    }
    for (const reason of Object.keys(found)) {
      // What a host lacks is another list on each; an AMD host is asked about all that differs.
      if (reason.startsWith(LACKING)) delete found[reason];
    }
    if (hostIsAmd) found[VENDOR] = [...UNTESTED[VENDOR]];
    expect(found).toEqual(UNTESTED);
  });
});
