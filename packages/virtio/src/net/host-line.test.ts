// Between device and backend: what went on is told in time and no sooner than it did; a closed
// line, and a replay, are silent.
import type { InputSource } from '@cloister/core';
import { FakeClock } from '@cloister/core/testing';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DirectInput } from '../testing/direct-input.js';
import type { NetBackend, NetPort } from './backend.js';
import { HostLine } from './host-line.js';
import { WINDOW } from './net-model.js';

class Input extends DirectInput {
  readonly liveness = new Map<string, boolean>();
  isFull = false;
  override source(name: string, deliver: (data: Uint8Array) => void): InputSource {
    const source = super.source(name, deliver);
    const setLive = (on: boolean) => void this.liveness.set(name, on);
    const push: InputSource['push'] = (...args) => !this.isFull && source.push(...args);
    return { ...source, setLive, push };
  }
}

function rig({ replaying = false } = {}) {
  const input = new Input();
  input.replaying = replaying;
  const clock = new FakeClock();
  const told: number[] = [];
  const links: boolean[] = [];
  const batches: Uint8Array[] = [];
  let port: NetPort | null = null;
  let closed = 0;
  const backend: NetBackend = {
    kind: 'test',
    mtu: 1500,
    open(opened) {
      port = opened;
    },
    send() {},
    close() {
      closed++;
    },
  };
  const line = new HostLine('net0', {
    input,
    clock,
    backend,
    receive: (batch) => void batches.push(batch),
    sent: (cost) => void told.push(cost),
    setLink: (up) => void links.push(up),
  });
  return { input, clock, told, links, batches, line, port: () => port, closed: () => closed };
}

const sum = (list: readonly number[]) => list.reduce((all, each) => all + each, 0);

it('tells of every batch once it is off, and never leaves a whole window untold', () => {
  const batch = fc.integer({ min: 1, max: 200_000 });
  fc.assert(
    fc.asyncProperty(
      fc.array(batch, { maxLength: 40 }),
      fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 8 }),
      async (sizes, acks) => {
        const { line, told, port } = rig();
        await line.open();
        const cost = (size: number) => size + 64;
        for (const size of sizes) line.send(new Uint8Array(size), cost(size));
        const total = sum(sizes);
        for (let done = 0, turn = 0; done < total; turn++) {
          const part = Math.min(total - done, acks[turn % acks.length]!);
          port()!.sent(part);
          done += part;
          let whole = 0;
          let gone = 0;
          for (const size of sizes) {
            if (gone + size > done) break;
            gone += size;
            whole += cost(size);
          }
          expect(sum(told)).toBeLessThanOrEqual(whole);
          expect(whole - sum(told)).toBeLessThan(WINDOW / 4);
        }
      },
    ),
    { numRuns: 60 },
  );
});

it('tells what was outside in a state that is taken over', async () => {
  const { line, clock, told } = rig();
  await line.open();
  line.restored(5000);
  expect(told).toEqual([]);
  clock.advance(1);
  expect(told).toEqual([5000]);
});

it('passes frames and link on while it is open', async () => {
  const made = rig();
  expect(made.input.liveness.get('net0')).toBe(true);
  await made.line.open();
  const port = made.port()!;
  expect(port.receive(Uint8Array.of(1))).toBe(true);
  port.setLink(false);
  expect(made.batches).toHaveLength(1);
  expect(made.links).toEqual([false]);
  await made.line.close();
  expect(port.receive(Uint8Array.of(2))).toBe(true);
  port.setLink(true);
  expect(made.batches).toHaveLength(1);
  expect(made.links).toEqual([false]);
  expect(made.closed()).toBe(1);
  expect(made.input.liveness.get('net0')).toBe(false);
});

it('does not give back what it refused and is given later', async () => {
  const { line, port, input } = rig();
  await line.open();
  const back: Uint8Array[] = [];
  const batch = Uint8Array.of(1);
  input.isFull = true;
  expect(port()!.receive(batch, (one) => void back.push(one))).toBe(false);
  input.isFull = false;
  expect(port()!.receive(batch)).toBe(true);
  expect(back).toEqual([]);
});

it('gives back what was lent once the device has nothing left of it', async () => {
  const { line, port } = rig();
  await line.open();
  const back: number[] = [];
  const lend = (byte: number) => {
    port()!.receive(Uint8Array.of(byte), ([first]) => void back.push(first!));
  };
  lend(1);
  expect(back).toEqual([1]);
  // Frames of the next one wait for buffers of the driver's.
  line.room(false);
  lend(2);
  expect(back).toEqual([1]);
  line.room(true);
  expect(back).toEqual([1, 2]);
  line.room(true);
  port()!.receive(Uint8Array.of(3));
  expect(back).toEqual([1, 2]);
});

it('opens nothing in a replay', async () => {
  const { line, clock, told, port } = rig({ replaying: true });
  await line.open();
  expect(port()).toBeNull();
  line.send(new Uint8Array(100), 164);
  line.restored(5000);
  clock.advance(10);
  expect(told).toEqual([]);
});
