// How often a kernel is repeated before it is measured.
import { expect, test } from 'vitest';
import { calibrated } from './kernel-machine.mjs';

/** A machine that takes `cost(done)` seconds for a repetition when `done` are behind it. */
function machine(cost: (done: number) => number) {
  const runs: number[] = [];
  let done = 0;
  const measure = async (_kernel: string, repetitions: number) => {
    const seconds = repetitions * cost(done);
    done += repetitions;
    runs.push(seconds);
    return { seconds, result: 'same' };
  };
  return { runs, measure };
}

test('repeats what costs the same until a run is long enough, and once more', async () => {
  const steady = machine(() => 0.001);
  expect(await calibrated('any', steady)).toEqual({ repetitions: 500, result: 'same' });
  expect(steady.runs.filter((seconds) => seconds >= 0.3)).toHaveLength(2);
});

test('goes on while a machine gets faster', async () => {
  const warming = machine((done) => 0.0004 + 0.0008 * Math.exp(-done / 1000));
  const { repetitions } = await calibrated('any', warming);
  expect(warming.runs.length).toBeGreaterThan(5);
  expect(repetitions * 0.0004).toBeGreaterThan(0.3);
  expect(warming.runs.at(-1)).toBeLessThan(repetitions * 0.00042);
});

test('ends where a machine never costs the same twice', async () => {
  let odd = false;
  const restless = machine(() => {
    odd = !odd;
    return odd ? 0.4 : 0.8;
  });
  await calibrated('any', restless);
  expect(restless.runs.filter((seconds) => seconds >= 0.3)).toHaveLength(8);
});

test('measures what takes longer than a run is to be by one repetition', async () => {
  expect(
    await calibrated(
      'any',
      machine(() => 3),
    ),
  ).toEqual({ repetitions: 1, result: 'same' });
});
