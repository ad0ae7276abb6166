/** The fakes, as far as tests rely on them. */
import { describe, expect, it } from 'vitest';
import { FakeClock, FakeControl, FakeLine, FakeRandom, FakeSink } from './fakes.js';

describe('FakeClock', () => {
  it('fires timers in order of time, then of setting, each at its moment', () => {
    const clock = new FakeClock(100);
    const fired: string[] = [];
    const note = (name: string) => () => fired.push(`${name}@${clock.now()}`);
    clock.at(130, note('c'));
    clock.at(120, note('a'));
    clock.at(120, note('b'));
    clock.at(50, note('past'));
    clock.at(120, note('cancelled')).cancel();
    clock.advance(25);
    expect(fired).toEqual(['past@100', 'a@120', 'b@120']);
    expect([clock.now(), clock.timers, clock.next]).toEqual([125, 1, 130]);
  });

  it('fires a timer that another sets, if it is due', () => {
    const clock = new FakeClock();
    const fired: number[] = [];
    clock.at(10, () => clock.at(20, () => fired.push(clock.now())));
    clock.advance(30);
    expect(fired).toEqual([20]);
  });

  it('jumps: what was due fires late, once', () => {
    const clock = new FakeClock();
    const fired: number[] = [];
    const again = () => {
      fired.push(clock.now());
      clock.at(clock.now() - 5, again);
    };
    clock.at(10, again);
    clock.jump(100);
    expect(fired).toEqual([100]);
    expect(clock.timers).toBe(1);
  });

  it('can be set without firing', () => {
    const clock = new FakeClock();
    clock.at(10, () => expect.unreachable());
    clock.set(1000);
    expect([clock.now(), clock.timers]).toEqual([1000, 1]);
  });
});

it('FakeLine counts rising edges', () => {
  const line = new FakeLine();
  for (const level of [true, true, false, true]) line.set(level);
  expect([line.level, line.rises]).toEqual([true, 2]);
});

it('FakeSink takes bytes while open', () => {
  const sink = new FakeSink();
  expect(sink.put(65)).toBe(true);
  sink.open = false;
  expect(sink.put(66)).toBe(false);
  expect(sink.text).toBe('A');
});

it('FakeControl notes requests', () => {
  const control = new FakeControl();
  control.powerOff('s5');
  control.reset('key');
  expect(control.requests).toEqual(['power-off s5 0', 'reset key']);
});

it('FakeRandom repeats, covers its range and can be copied', () => {
  const [a, b] = [new FakeRandom(5), new FakeRandom(6)];
  const first = Array.from({ length: 200 }, () => a.below(10));
  expect(new Set(first)).toEqual(new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
  expect(Array.from({ length: 200 }, () => b.below(10))).not.toEqual(first);
  b.copy(a);
  const bytes = new Uint8Array(16);
  b.fill(bytes);
  const other = new Uint8Array(16);
  a.fill(other);
  expect(other).toEqual(bytes);
});
