// Host work: when its results come, with either clock, after a reset, a restore and in a replay.
import type { Clock, InputPort, InputSource } from '@cloister/core';
import { FakeClock } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { HostResult, HostWork, type SavedWork } from './host-work.js';

/** An input port that hands over when told, as the machine does at a boundary. */
class FakeInput implements InputPort {
  live = false;
  replaying = false;
  recording = false;
  stalled = false;
  room = true;
  private queue: Uint8Array[] = [];
  private deliverTo: (data: Uint8Array) => void = () => {};
  private listeners: (() => void)[] = [];

  source(name: string, deliver: (data: Uint8Array) => void): InputSource {
    this.deliverTo = deliver;
    return {
      name,
      push: (data) => {
        if (this.room) this.queue.push(data.slice());
        return this.room;
      },
      onRoom: (listener) => void this.listeners.push(listener),
      setLive: (live) => void (this.live = live),
      hold: () => {},
      stall: (on) => void (this.stalled = on),
    };
  }

  boundary(): void {
    for (const data of this.queue.splice(0)) this.deliverTo(data);
    if (this.room) for (const listener of this.listeners) listener();
  }

  snapshot(): never {
    throw new Error('not saved here');
  }

  restore(): void {}
}

function resultOf(byte: number): HostResult {
  const result = new HostResult(1);
  result.data[0] = byte;
  return result;
}

function rig(mode: Clock['mode'] = 'icount') {
  const clock = new FakeClock();
  const input = new FakeInput();
  const delivered: string[] = [];
  const work = new HostWork({
    name: 'disk',
    input,
    clock: Object.assign(Object.create(clock), { mode, at: clock.at.bind(clock) }) as Clock,
    bound: 1000,
    deliver: (token, result) => void delivered.push(`${token}:${[...result]}@${clock.now()}`),
  });
  const open: Record<number, (result: HostResult) => void> = {};
  const start = (token: number, after: number) =>
    work.start(
      token,
      after,
      () => new Promise<HostResult>((resolve) => void (open[token] = resolve)),
    );
  const finish = async (token: number) => {
    open[token]!(resultOf(token));
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  };
  const pass = (ns: number) => {
    clock.advance(ns);
    input.boundary();
  };
  return { clock, input, work, delivered, start, finish, pass, open };
}

describe('host work, counted clock', () => {
  it('delivers at its virtual time what the host did sooner', async () => {
    const { start, finish, pass, delivered, input } = rig();
    start(1, 100);
    await finish(1);
    pass(99);
    expect(delivered).toEqual([]);
    pass(1);
    expect(delivered).toEqual(['1:1@100']);
    expect(input.stalled).toBe(false);
  });

  it('makes the guest wait for a host that is late', async () => {
    const { start, finish, pass, delivered, input } = rig();
    start(1, 100);
    pass(100);
    expect(input.stalled).toBe(true);
    await finish(1);
    expect(input.stalled).toBe(false);
    pass(0);
    expect(delivered).toEqual(['1:1@100']);
  });

  it('keeps the order of starts whatever order the host has', async () => {
    const { start, finish, pass, delivered, input } = rig();
    start(1, 100);
    start(2, 100);
    pass(100);
    await finish(2);
    pass(0);
    expect(delivered).toEqual([]);
    expect(input.stalled).toBe(true);
    await finish(1);
    pass(0);
    expect(delivered).toEqual(['1:1@100', '2:2@100']);
  });

  it('forgets work on a reset, and begins later work only after it', async () => {
    const { start, finish, pass, delivered, input, open, work } = rig();
    start(1, 100);
    pass(100);
    work.reset();
    expect(input.stalled).toBe(false);
    start(2, 100);
    await Promise.resolve();
    expect(open[2]).toBeUndefined();
    await finish(1);
    await finish(2);
    pass(100);
    expect(delivered).toEqual(['2:2@200']);
  });

  it('waits for room', async () => {
    const { start, finish, pass, delivered, input } = rig();
    input.room = false;
    start(1, 0);
    await finish(1);
    pass(0);
    expect(input.stalled).toBe(true);
    input.room = true;
    pass(0);
    pass(0);
    expect(delivered).toEqual(['1:1@0']);
  });

  it('goes on from a saved state in every phase', async () => {
    const a = rig();
    a.start(1, 100);
    a.start(2, 100);
    a.start(3, 200);
    await a.finish(2);
    const saved = a.work.save();
    expect(saved.map(({ phase }) => phase)).toEqual([0, 1, 0]);
    const b = rig();
    const again: number[] = [];
    b.work.load(saved as SavedWork[], (token) => {
      again.push(token);
      return () => Promise.resolve(resultOf(token + 10));
    });
    expect(again).toEqual([1, 3]);
    await b.work.drain();
    b.pass(100);
    b.pass(100);
    expect(b.delivered).toEqual(['1:11@100', '2:2@100', '3:13@200']);
  });

  it('takes a token that comes twice in a damaged record once', async () => {
    const { work, pass, input, delivered } = rig();
    const saved = { token: 1, due: 100, phase: 0, result: new Uint8Array(1) };
    work.load([saved, { ...saved }], (token) => () => Promise.resolve(resultOf(token)));
    await work.drain();
    pass(100);
    await work.drain();
    expect([delivered, work.pending, input.stalled]).toEqual([['1:1@100'], 0, false]);
  });
});

describe('host work, wall clock', () => {
  it('delivers as the host finishes, and keeps the guest awake for it', async () => {
    const { start, finish, pass, delivered, input } = rig('wall');
    start(1, 0);
    start(2, 0);
    expect(input.live).toBe(true);
    await finish(2);
    pass(5);
    await finish(1);
    pass(5);
    expect(delivered).toEqual(['2:2@5', '1:1@10']);
    expect(input.live).toBe(false);
    expect(input.stalled).toBe(false);
  });

  it('delivers no sooner than it may', async () => {
    const { start, finish, pass, delivered } = rig('wall');
    start(1, 50);
    await finish(1);
    pass(49);
    expect(delivered).toEqual([]);
    pass(1);
    expect(delivered).toEqual(['1:1@50']);
  });
});

describe('host work, replay', () => {
  it('is not begun', () => {
    const { start, open, input, pass } = rig();
    input.replaying = true;
    start(1, 100);
    pass(200);
    expect(open[1]).toBeUndefined();
    expect(input.stalled).toBe(false);
  });
});
