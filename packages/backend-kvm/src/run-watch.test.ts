/** Which VMs have their runs ended for the event loop. */
import { expect, test } from 'vitest';
import type { EventFds } from './event-fds.js';
import type { EventWatch } from './event-watch.js';
import { BUSY_RUNS, RunWatch } from './run-watch.js';
import { FakeSys } from './testing/index.js';

/** Two VMs of one thread, whose event loop has something to do all the time. */
function twoVms() {
  const asked: boolean[] = [];
  let started = 0;
  const events = {
    failed: false,
    add: () => {},
    remove: () => {},
    start: () => void started++,
    begin: (asks: boolean) => void asked.push(asks),
    finish: () => {},
    arm: () => {},
    take: () => started > 0,
  } as unknown as EventWatch;
  const doorbell = { doorbell: () => ({ fd: 3, close: () => {} }) } as unknown as EventFds;
  const vm = () => {
    const watch = new RunWatch(new FakeSys(), doorbell);
    watch.connect(events);
    /** A run until its deadline; whether the event loop would have ended it. */
    const run = (busy = true) => {
      watch.begin();
      const ends = watch.calls();
      watch.finish(busy);
      expect(asked.pop()).toBe(ends);
      return ends;
    };
    return { watch, run };
  };
  return { vms: [vm(), vm()] as const, started: () => started };
}

test('those of a VM that kept it waiting, not those of another one', () => {
  const { vms, started } = twoVms();
  const [busy, other] = vms;
  for (let run = 0; run < BUSY_RUNS; run++) {
    expect(busy.run()).toBe(false);
    expect(other.run(false)).toBe(false);
  }
  expect(started()).toBe(1);
  expect(busy.run()).toBe(true);
  for (let run = 0; run < BUSY_RUNS; run++) expect(other.run()).toBe(false);
  expect(other.run()).toBe(true);
});

test('those of a VM with doorbells, from the first one on', () => {
  const { vms } = twoVms();
  const [rings, other] = vms;
  expect(rings.run(false)).toBe(false);
  rings.watch.watch({ space: 'io', address: 0x80, length: 1, value: 0n }, () => {});
  expect(rings.run(false)).toBe(true);
  expect(other.run(false)).toBe(false);
});
