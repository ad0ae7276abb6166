/** The signal of kicks in several threads of a process, on a scripted kernel. */
import { expect, test } from 'vitest';
import { NR } from './abi/linux.js';
import type { Sys } from './sys/sys.js';
import { FakeSys } from './testing/fake-sys.js';
import { ThreadSignals } from './thread-signals.js';

/** Threads of a process that may make no code: each a port of its own, with one disposition. */
function threads() {
  const state = { set: 0, action: new Uint8Array(32) };
  const thread = (): Sys => {
    const kernel = new FakeSys();
    kernel.failures.set('mprotect', 13);
    return {
      name: 'thread',
      view: (...words) => kernel.view(...words),
      detach: () => {},
      addressOf: () => 0n,
      syscall(number, ...words) {
        if (number !== NR.rt_sigaction) return kernel.syscall(number, ...words);
        const [, action, old] = words;
        if (old instanceof Uint8Array) old.set(state.action);
        if (!(action instanceof Uint8Array)) return 0;
        state.action = action.slice();
        state.set++;
        return 0;
      },
    };
  };
  return { state, thread };
}

test('where no handler can be, the signal is ignored once: that takes away those that wait', () => {
  const { state, thread } = threads();
  const first = ThreadSignals.acquire(thread());
  expect(first.opens).toBe(false);
  expect([...state.action.subarray(0, 8)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0]);
  const second = ThreadSignals.acquire(thread());
  expect(second.opens).toBe(false);
  expect(state.set).toBe(1);
  first.release();
  second.release();
});
