// The guest's output: complete and in order, bounded whatever the reader does.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConsoleOutput } from './console-output.js';

/** A reader that takes chunks when told, and an event loop that comes round when told. */
function setUp() {
  const queue: { chunk: Uint8Array; done: (error?: Error | null) => void }[] = [];
  const deferred: (() => void)[] = [];
  const events: string[] = [];
  const received: number[] = [];
  const output = new ConsoleOutput(
    { write: (chunk, done) => queue.push({ chunk, done }) },
    (flush) => deferred.push(flush),
    {
      failed: () => events.push('failed'),
      full: () => events.push('full'),
      room: () => events.push('room'),
    },
  );
  return {
    output,
    events,
    received,
    comeRound: () => {
      for (const flush of deferred.splice(0)) flush();
    },
    take: (count = Number.POSITIVE_INFINITY) => {
      for (const { chunk, done } of queue.splice(0, count)) {
        received.push(...chunk);
        done();
      }
    },
    break: () => queue.shift()?.done(new Error('EPIPE')),
  };
}

test('bytes arrive in order, gathered', async () => {
  const { output, received, comeRound, take } = setUp();
  for (const byte of [1, 2, 3]) expect(output.put(byte)).toBe(true);
  comeRound();
  take(1);
  expect(received).toEqual([1, 2, 3]);
  await output.drained();
  expect(output.lastByte).toBe(3);
});

test('asks for a pause when much is waiting and for the way on when it has left', () => {
  const { output, events, take } = setUp();
  for (let n = 0; n < 65_536; n++) expect(output.put(0)).toBe(true);
  expect(events).toEqual(['full']);
  take(4);
  expect(events).toEqual(['full']);
  take();
  expect(events).toEqual(['full', 'room']);
});

test('refuses bytes at its bound, and takes them again later', () => {
  const { output, received, take } = setUp();
  let accepted = 0;
  while (output.put(accepted & 0xff)) accepted++;
  expect(accepted).toBe(1024 * 1024);
  expect(output.put(0)).toBe(false);
  take();
  expect(output.put(0)).toBe(true);
  expect(received.length).toBe(accepted);
});

test('drained waits for the last byte', async () => {
  const { output, received, take } = setUp();
  output.put(7);
  let drained = false;
  const waiting = output.drained().then(() => {
    drained = true;
  });
  await Promise.resolve();
  expect(drained).toBe(false);
  take();
  await waiting;
  expect(received).toEqual([7]);
});

test('a reader that went away is told once, and holds nothing up', async () => {
  const { output, events, comeRound, take, break: breakPipe } = setUp();
  output.put(1);
  comeRound();
  const waiting = output.drained();
  breakPipe();
  await waiting;
  output.fail(new Error('again'));
  expect(output.put(2)).toBe(true);
  comeRound();
  take();
  await output.drained();
  expect(events).toEqual(['failed']);
});

test('nothing is lost or reordered however reader and loop take turns', () => {
  const step = fc.oneof(
    fc.record({ put: fc.nat(9000) }),
    fc.record({ take: fc.integer({ min: 1, max: 3 }) }),
    fc.constant('round' as const),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { output, received, comeRound, take } = setUp();
      let sent = 0;
      for (const each of steps) {
        if (each === 'round') comeRound();
        else if ('take' in each) take(each.take);
        else for (let n = 0; n < each.put; n++) output.put(sent++ % 251);
      }
      comeRound();
      take();
      expect(received.length).toBe(sent);
      expect(received.every((byte, index) => byte === index % 251)).toBe(true);
    }),
    { numRuns: 30 },
  );
});
