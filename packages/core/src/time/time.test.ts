// Timers against a sorted list; clocks; the random generator against its authors' algorithm.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FakeHost } from '../testing/fake-host.js';
import { systemHost } from './host-port.js';
import { MachineClock } from './machine-clock.js';
import { deriveNumber, seededRandom } from './random.js';
import { TimerHeap } from './timer-heap.js';

describe('the timer heap', () => {
  test('fires what a sorted list would, in that order', () => {
    const step = fc.oneof(
      fc.record({ set: fc.nat(50) }),
      fc.record({ cancel: fc.nat(200) }),
      fc.record({ to: fc.nat(60) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const heap = new TimerHeap();
        const fired: number[] = [];
        const timers: { at: number; live: boolean; cancel(): void }[] = [];
        for (const each of steps) {
          if ('set' in each) {
            const id = timers.length;
            const timer = heap.set(each.set, () => fired.push(id));
            timers.push({ at: each.set, live: true, cancel: () => timer.cancel() });
          } else if ('cancel' in each) {
            const timer = timers[each.cancel];
            if (timer === undefined) continue;
            timer.cancel();
            timer.live = false;
          } else {
            const due = timers
              .map((timer, id) => ({ ...timer, id }))
              .filter(({ live, at }) => live && at <= each.to)
              .sort((a, b) => a.at - b.at || a.id - b.id);
            fired.length = 0;
            for (let next = heap.takeDue(each.to); next; next = heap.takeDue(each.to)) next();
            expect(fired).toEqual(due.map(({ id }) => id));
            for (const { id } of due) timers[id]!.live = false;
          }
          const live = timers.filter((timer) => timer.live);
          expect(heap.size).toBe(live.length);
          expect(heap.next()).toBe(Math.min(Number.POSITIVE_INFINITY, ...live.map(({ at }) => at)));
        }
      }),
    );
  });

  test('does not grow when one timer is set again and again', () => {
    const heap = new TimerHeap();
    heap.set(5, () => {});
    for (let i = 0; i < 10_000; i++) heap.set(1e9 + i, () => {}).cancel();
    expect(heap.size).toBe(1);
    expect((heap as unknown as { heap: unknown[] }).heap.length).toBeLessThan(200);
  });
});

describe('the clock', () => {
  const noError = (error: unknown) => {
    throw error;
  };

  test('counts instructions, and what is skipped', () => {
    const clock = new MachineClock(0, new FakeHost(), noError);
    let instructions = 0;
    clock.attach(() => instructions);
    instructions = 500;
    clock.skipTo(1200.5);
    expect(clock.now()).toBe(1201);
    clock.skipTo(3);
    expect(clock.now()).toBe(1201);
    instructions += 9;
    expect(clock.now()).toBe(1210);
    expect(clock.instructionsUntil(1300)).toBe(90);
    expect(clock.instructionsUntil(5)).toBe(0);
  });

  test('follows the host only while the VM runs', () => {
    const host = new FakeHost();
    host.drift = 0;
    const clock = new MachineClock(0, host, noError);
    clock.mode = 'wall';
    host.advance(50);
    expect(clock.now()).toBe(0);
    clock.resume();
    host.advance(1.5);
    expect(clock.now()).toBe(1_500_000);
    clock.pause();
    host.advance(1000);
    clock.resume();
    host.advance(1);
    expect(clock.now()).toBe(2_500_000);
    clock.skipTo(9e9);
    expect(clock.now()).toBe(2_500_000);
  });

  test('learns how many instructions fit into host time', () => {
    const host = new FakeHost();
    host.drift = 0;
    const clock = new MachineClock(0, host, noError);
    clock.mode = 'wall';
    for (let i = 0; i < 50; i++) clock.endSlice(200_000, 1);
    expect(clock.instructionsUntil(1e6)).toBeGreaterThan(190_000);
    expect(clock.instructionsUntil(1e6)).toBeLessThanOrEqual(200_000);
  });

  test('saves and takes over its time in either mode', () => {
    const clock = new MachineClock(0, new FakeHost(), noError);
    clock.attach(() => 1000);
    clock.beginRestore('icount', 5000);
    expect(clock.now()).toBe(5000);
    clock.endRestore();
    expect(clock.save()).toEqual({ mode: 'icount', now: 5000 });
    clock.beginRestore('wall', 7000);
    clock.endRestore();
    expect(clock.now()).toBe(7000);
  });

  test('refuses a timer for no time', () => {
    const clock = new MachineClock(0, new FakeHost(), noError);
    expect(() => clock.at(Number.NaN, () => {})).toThrow('a timer needs a time');
  });
});

describe('the random generator', () => {
  /** xoshiro128** as its authors write it in C, with bigint in place of uint32_t. */
  function reference(state: number[]): () => number {
    const M = 0xffffffffn;
    const s = state.map(BigInt);
    const rotl = (x: bigint, k: bigint) => ((x << k) | (x >> (32n - k))) & M;
    return () => {
      const result = (rotl((s[1]! * 5n) & M, 7n) * 9n) & M;
      const t = (s[1]! << 9n) & M;
      s[2]! ^= s[0]!;
      s[3]! ^= s[1]!;
      s[1]! ^= s[2]!;
      s[0]! ^= s[3]!;
      s[2]! ^= t;
      s[3] = rotl(s[3]!, 11n);
      return Number(result);
    };
  }

  test('is xoshiro128**', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.string(), (seed, name) => {
        const random = seededRandom(seed, name);
        const next = reference(random.snapshot().state as number[]);
        for (let i = 0; i < 20; i++) expect(random.u32()).toBe(next());
      }),
    );
  });

  test('gives each consumer its own numbers, the same ones for the same seed', () => {
    const draw = (seed: bigint, name: string) => seededRandom(seed, name).u32();
    expect(draw(1n, 'a')).toBe(draw(1n, 'a'));
    const all = [draw(1n, 'a'), draw(1n, 'b'), draw(2n, 'a'), draw(2n, 'b'), draw(0n, '')];
    expect(new Set(all).size).toBe(5);
    expect(deriveNumber(1n, 'epoch', 10)).toBeLessThan(10);
  });

  test('fills bytes as it gives words, and goes on from a snapshot', () => {
    const [words, bytes] = [seededRandom(7n, 'x'), seededRandom(7n, 'x')];
    const filled = new Uint8Array(10);
    bytes.fill(filled);
    const view = new DataView(filled.buffer);
    expect([view.getUint32(0, true), view.getUint32(4, true)]).toEqual([words.u32(), words.u32()]);
    expect(view.getUint16(8, true)).toBe(words.u32() & 0xffff);
    const copy = seededRandom(0n, '');
    copy.restore(bytes.snapshot());
    expect(copy.u32()).toBe(bytes.u32());
    expect(() => copy.restore({ type: 'random-xoshiro128', version: 1, state: [1, 2] })).toThrow(
      'not the state of a random generator',
    );
  });
});

test('the system’s host has time, chance and turns', async () => {
  const host = systemHost();
  const before = host.now();
  await host.turn();
  await new Promise<void>((resolve) => host.timeout(0, resolve));
  expect(host.now()).toBeGreaterThan(before);
  host.timeout(2 ** 40, () => {})();
  const [a, b] = [new Uint8Array(16), new Uint8Array(16)];
  host.entropy(a);
  host.entropy(b);
  expect(a).not.toEqual(b);
  expect(host.epochSeconds()).toBeGreaterThan(1_700_000_000);
});

test('a host without setImmediate turns by messages', async () => {
  const { setImmediate: immediate } = globalThis;
  const order: string[] = [];
  try {
    Reflect.deleteProperty(globalThis, 'setImmediate');
    const { turn } = systemHost();
    const first = turn().then(() => order.push('turn'));
    await Promise.resolve().then(() => order.push('microtask'));
    await first;
  } finally {
    globalThis.setImmediate = immediate;
  }
  expect(order).toEqual(['microtask', 'turn']);
});
