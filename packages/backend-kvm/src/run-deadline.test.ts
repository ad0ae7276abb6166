/** When a run's timer is set, put off and found to be over. */
import { expect, test } from 'vitest';
import { RunDeadline } from './run-deadline.js';
import type { ThreadSignals } from './thread-signals.js';

const MS = 1e6;
const GLANCE = 32;

/** `opens`: whether signals may be let through everywhere. */
function deadline(opens = false) {
  const clock = { ns: 0, now: () => clock.ns };
  const armed: number[] = [];
  const state = { open: false, repeat: 0, waiting: false };
  const signals = {
    holder: null as unknown,
    opens,
    open: () => {
      state.open = true;
    },
    close: () => {
      state.open = false;
    },
    arm: (ns: number, repeat: number) => {
      armed.push(ns);
      state.repeat = repeat;
    },
    disarm: () => void armed.push(0),
    drain: () => state.waiting,
  };
  const another = () => new RunDeadline(clock, signals as unknown as ThreadSignals, 7);
  const made = another();
  /** Exits, each of which took `ns`, until one is where the run is to end; their number. */
  const exits = (count: number, ns: number) => {
    for (let done = 1; done <= count; done++) {
      clock.ns += ns;
      made.exited();
      if (made.stopping) return done;
    }
    return null;
  };
  return { made, another, clock, armed, state, exits };
}

test('without exits the timer looks at growing intervals and ends at the deadline', () => {
  const { made, clock, armed } = deadline();
  made.start(1 * MS);
  const awake = () => false;
  for (let looks = 0; looks < 10; looks++) {
    clock.ns += armed.at(-1)!;
    if (made.passed(awake)) break;
  }
  expect(armed).toEqual([0.25 * MS, 0.5 * MS, 0.25 * MS]);
  expect(clock.ns).toBe(1 * MS);
});

test('frequent exits put the timer off, and end the run in time without it', () => {
  const { made, clock, armed, exits } = deadline();
  made.start(10 * MS);
  let fires = armed[0]!;
  for (let glance = 0; glance < 1000 && !made.stopping; glance++) {
    const before = armed.length;
    exits(GLANCE, 8000);
    if (armed.length > before) fires = clock.ns + armed.at(-1)!;
    else if (glance > 0) expect(fires).toBeGreaterThan(clock.ns);
  }
  expect(clock.ns).toBeGreaterThanOrEqual(10 * MS);
  expect(clock.ns).toBeLessThan(10 * MS + GLANCE * 8000);
  // Set once in a millisecond or so.
  expect(armed.length).toBeLessThan(12);
  // Should the exits stop, it fires soon.
  expect(Math.max(...armed)).toBeLessThanOrEqual(2 * MS);
});

test('rare exits do not', () => {
  const { made, armed, exits } = deadline();
  made.start(1000 * MS);
  exits(5 * GLANCE, 0.5 * MS);
  expect(armed).toEqual([0.25 * MS]);
});

test('what this thread asks for is found at the next exit', () => {
  const { made } = deadline();
  made.start(10 * MS);
  expect(made.exited()).toBe(false);
  made.attend();
  expect(made.exited()).toBe(true);
  made.shorten(0);
  expect(made.exited()).toBe(true);
  expect(made.stopping).toBe(true);
});

test('while exits are frequent signals are let through, and the timer repeats', () => {
  const { made, clock, armed, state, exits } = deadline(true);
  made.start(10 * MS);
  expect(state).toMatchObject({ open: false, repeat: 0 });
  exits(GLANCE, 8000);
  expect(state).toMatchObject({ open: true, repeat: 0.25 * MS });
  // An interruption between exits is no reason to look.
  exits(5, 8000);
  expect(made.interrupted()).toBe(false);
  expect(state.open).toBe(true);
  // The next one without an exit since is, whichever signal it was.
  clock.ns += 0.25 * MS;
  expect(made.interrupted()).toBe(true);
  expect(state.open).toBe(false);
  expect(made.passed(() => false)).toBe(false);
  expect(state.repeat).toBe(0);
  // From now on the timer's signals wait.
  expect(made.interrupted()).toBe(false);
  state.waiting = true;
  expect(made.interrupted()).toBe(true);
  exits(GLANCE, 8000);
  expect(state.open).toBe(true);
  made.end();
  expect(state.open).toBe(false);
  expect(armed.at(-1)).toBe(0);
});

test('slower exits behind frequent ones end at the deadline, not at the next glance', () => {
  const { made, clock, state, exits } = deadline(true);
  made.start(3 * MS);
  exits(GLANCE, 8000);
  expect(state.open).toBe(true);
  while (clock.ns < 3 * MS) {
    expect(made.interrupted()).toBe(false);
    expect(exits(1, 0.2 * MS)).toBe(null);
  }
  expect(made.interrupted()).toBe(true);
  expect(made.passed(() => false)).toBe(true);
  expect(state.open).toBe(false);
});

test('signals wait again once exits are rare', () => {
  const { made, clock, armed, state, exits } = deadline(true);
  made.start(1000 * MS);
  exits(GLANCE, 8000);
  expect(state.open).toBe(true);
  exits(GLANCE, 0.5 * MS);
  expect(state).toMatchObject({ open: false, repeat: 0 });
  expect(armed.at(-1)).toBeLessThanOrEqual(1000 * MS - clock.ns);
  exits(GLANCE, 8000);
  expect(state.open).toBe(true);
});

test('the timer that met nothing for a while is set to what is left', () => {
  const { made, clock, armed, exits } = deadline(true);
  made.start(10 * MS);
  exits(GLANCE, 8000);
  // It fires 2 ms later, but between two entries, or where exits came meanwhile.
  expect(exits(20, 0.4 * MS)).toBe(null);
  expect(made.interrupted()).toBe(false);
  expect(made.interrupted()).toBe(true);
  while (!made.passed(() => false)) clock.ns += armed.at(-1)!;
  expect(clock.ns).toBeLessThanOrEqual(10 * MS);
});

test('rare exits let none through, nor does a thread that cannot', () => {
  const rare = deadline(true);
  rare.made.start(1000 * MS);
  rare.exits(5 * GLANCE, 0.5 * MS);
  expect(rare.state.open).toBe(false);
  const unable = deadline(false);
  unable.made.start(1000 * MS);
  unable.exits(5 * GLANCE, 8000);
  expect(unable.state).toMatchObject({ open: false, repeat: 0 });
});

test('a run in a handler finds signals waiting, and the outer goes on behind it', () => {
  const { made, another, state, exits } = deadline(true);
  made.start(10 * MS);
  exits(GLANCE, 8000);
  const inner = another();
  inner.start(1 * MS);
  expect(state).toMatchObject({ open: false, repeat: 0 });
  inner.end();
  expect(state).toMatchObject({ open: false, repeat: 0 });
  exits(GLANCE, 8000);
  expect(state).toMatchObject({ open: true, repeat: 0.25 * MS });
});
