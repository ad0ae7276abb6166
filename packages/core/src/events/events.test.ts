// Streams: subscribers that throw, pipes, chunks of console output, copies of exits.
import { map, take } from 'rxjs';
import { describe, expect, test } from 'vitest';
import type { ConsoleEvent, FaultEvent, VmExit, WorldSwitch } from '../interfaces/index.js';
import { ConsoleBuffer } from './console-buffer.js';
import { EventHub } from './event-hub.js';
import { copyExit } from './exit-copy.js';

const io = (): VmExit => ({
  kind: 'io',
  vcpu: 0,
  instructions: 5,
  direction: 'out',
  port: 0x80,
  size: 1,
  count: 1,
  data: Uint8Array.of(1),
});

describe('a subscriber that throws', () => {
  const hubWithFaults = () => {
    const hub = new EventHub();
    hub.attach(() => 77);
    const faults: FaultEvent[] = [];
    hub.viewOf().faults.subscribe((fault) => faults.push(fault));
    return { hub, faults };
  };

  test('becomes a fault with its plugin, and the others get every event', () => {
    const { hub, faults } = hubWithFaults();
    const seen: VmExit[] = [];
    hub.viewOf('nosy').exits.subscribe(() => {
      throw new Error('boom');
    });
    hub.viewOf('calm').exits.subscribe((exit) => seen.push(exit));
    hub.exits.next(io());
    expect(seen.length).toBe(1);
    expect(faults).toMatchObject([
      {
        kind: 'plugin-fault',
        plugin: 'nosy',
        message: 'a subscriber of the exits stream threw: boom',
        instructions: 77,
      },
    ]);
  });

  test('behind operators, or in them, is caught as well', () => {
    const { hub, faults } = hubWithFaults();
    const { exits } = hub.viewOf('nosy');
    exits.pipe(map((exit) => exit.kind)).subscribe(() => {
      throw new Error('behind');
    });
    exits
      .pipe(
        map((): string => {
          throw new Error('inside');
        }),
        take(5),
      )
      .subscribe();
    const got: unknown[] = [];
    exits
      .pipe(
        map((): string => {
          throw new Error('handled');
        }),
      )
      .subscribe({ error: (error: Error) => got.push(error.message) });
    hub.exits.next(io());
    expect(faults.map(({ message }) => message)).toEqual([
      'a subscriber of the exits stream threw: behind',
      'a subscriber of the exits stream threw: inside',
    ]);
    expect(got).toEqual(['handled']);
  });

  test('always is reported now and then only, and a thrower at faults does not loop', () => {
    const { hub, faults } = hubWithFaults();
    const { exits, faults: stream } = hub.viewOf('nosy');
    exits.subscribe(() => {
      throw new Error('boom');
    });
    for (let i = 0; i < 1000; i++) hub.exits.next(io());
    expect(faults.length).toBe(10);
    stream.subscribe(() => {
      throw new Error('again');
    });
    hub.fault({ kind: 'guest-fault', message: 'x' });
    expect(faults.length).toBeLessThan(20);
  });
});

describe('streams', () => {
  test('say whether anybody listens, also through pipes, and complete', () => {
    const hub = new EventHub();
    expect(hub.exits.observed).toBe(false);
    let completed = 0;
    const subscription = hub
      .viewOf()
      .exits.pipe(take(9))
      .subscribe({ complete: () => completed++ });
    expect(hub.exits.observed).toBe(true);
    subscription.unsubscribe();
    expect(hub.exits.observed).toBe(false);
    hub.viewOf().lifecycle.subscribe({ complete: () => completed++ });
    hub.complete();
    expect(completed).toBe(1);
  });
});

describe('console output', () => {
  function buffer(observed = true) {
    const events: ConsoleEvent[] = [];
    const made = new ConsoleBuffer({ observed, next: (event) => events.push(event) });
    const text = () =>
      events.map(({ source, bytes }) => `${source}:${new TextDecoder().decode(bytes)}`);
    return { buffer: made, events, text };
  }

  test('leaves in chunks when asked, and when one is full', () => {
    const { buffer: console, text, events } = buffer();
    for (const char of 'hello') console.put('serial0', char.charCodeAt(0));
    console.put('hvc0', 33);
    expect(text()).toEqual([]);
    console.flush();
    console.flush();
    expect(text()).toEqual(['serial0:hello', 'hvc0:!']);
    for (let i = 0; i < 5000; i++) console.put('serial0', 46);
    expect(events[2]!.bytes.length).toBe(4096);
    console.flush();
    expect(events[3]!.bytes.length).toBe(904);
    expect([console.written, console.dropped]).toEqual([5006, 0]);
  });

  test('that nobody observes is counted and gone', () => {
    const { buffer: console, events } = buffer(false);
    for (let i = 0; i < 10_000; i++) console.put('serial0', 46);
    console.flush();
    expect(events).toEqual([]);
    expect([console.written, console.dropped]).toEqual([10_000, 10_000]);
  });

  test('of consoles without end is cut off', () => {
    const { buffer: console, events } = buffer();
    for (let i = 0; i < 1000; i++) console.put(`c${i}`, 46);
    console.flush();
    expect(events.length).toBe(64);
    expect(console.dropped).toBe(936);
  });
});

test('a copy of an exit is frozen and has data of its own', () => {
  const original = io();
  const copy = copyExit(original);
  if (original.kind === 'io') original.data[0] = 9;
  expect(copy).toEqual(io());
  expect(Object.isFrozen(copy)).toBe(true);
  const call = copyExit({
    kind: 'hypercall',
    vcpu: 0,
    instructions: 0,
    number: 1,
    args: new Uint32Array(8),
    resultLo: 0,
    resultHi: 0,
  });
  expect(call).toMatchObject({ kind: 'hypercall', number: 1 });
});

test('world switches: stamped, frozen, and not made while nobody listens', () => {
  const hub = new EventHub();
  hub.attach(() => 77);
  const event = { vcpu: 0, kind: 'exception', code: 0x72, name: 'CPUID', vector: 29 } as const;
  expect(hub.switches.observed).toBe(false);
  hub.switches.next(event);
  const seen: WorldSwitch[] = [];
  hub.viewOf().switches.subscribe((each) => seen.push(each));
  expect(hub.switches.observed).toBe(true);
  hub.switches.next(event);
  expect(seen).toEqual([{ ...event, instructions: 77 }]);
  expect(Object.isFrozen(seen[0])).toBe(true);
});
