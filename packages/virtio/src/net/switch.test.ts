// The switch: learning, flooding, bounds. pcap: what a file holds.
import { expect, it } from 'vitest';
import type { NetPort } from './backend.js';
import { batchOf, framesOf } from './frames.js';
import { pcapHeader, pcapRecord } from './pcap.js';
import { netSwitch, type SwitchPort } from './switch.js';

class Station implements NetPort {
  readonly frames: Uint8Array[] = [];
  full = false;
  acknowledged = 0;
  private room: () => void = () => {};

  constructor(
    readonly id: number,
    readonly port: SwitchPort,
  ) {
    void port.open(this);
  }

  receive(batch: Uint8Array): boolean {
    if (this.full) return false;
    this.frames.push(...framesOf(batch));
    return true;
  }

  onRoom(listener: () => void): void {
    this.room = listener;
  }

  sent(bytes: number): void {
    this.acknowledged += bytes;
  }

  setLink(): void {}

  send(to: number, length = 60): number {
    const frame = new Uint8Array(length);
    frame.set([to === 0xff ? 0xff : 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, this.id]);
    const batch = batchOf([frame]);
    this.port.send(batch);
    return batch.length;
  }

  empty(): void {
    this.full = false;
    this.room();
  }

  take(): number {
    return this.frames.splice(0).length;
  }
}

function stations(count: number): Station[] {
  const hub = netSwitch();
  return Array.from({ length: count }, (_, index) => new Station(index + 1, hub.port()));
}

it('floods what it does not know, and what is for all; then learns', () => {
  const [a, b, c] = stations(3) as [Station, Station, Station];
  const bytes = a.send(2);
  expect(a.acknowledged).toBe(bytes);
  expect([a.take(), b.take(), c.take()]).toEqual([0, 1, 1]);
  b.send(1);
  expect([a.take(), b.take(), c.take()]).toEqual([1, 0, 0]);
  a.send(2);
  expect([a.take(), b.take(), c.take()]).toEqual([0, 1, 0]);
  c.send(0xff);
  expect([a.take(), b.take(), c.take()]).toEqual([1, 1, 0]);
  // To itself: nobody else has to see it.
  a.send(1);
  expect([a.take(), b.take(), c.take()]).toEqual([0, 0, 0]);
  void b.port.close();
  a.send(2);
  expect([b.take(), c.take()]).toEqual([0, 1]);
});

it('keeps a bounded amount for a port that takes nothing', () => {
  const [a, b] = stations(2) as [Station, Station];
  b.full = true;
  for (let i = 0; i < 2000; i++) a.send(2, 1000);
  const kept = Math.floor((1024 * 1024) / 1004);
  expect(b.port.dropped).toBe(2000 - kept);
  b.empty();
  expect(b.take()).toBe(kept);
  a.send(2);
  expect(b.take()).toBe(1);
});

it('has one device at a port', () => {
  const [a] = stations(1) as [Station];
  expect(() => a.port.open(a)).toThrow('one device');
});

it('writes pcap with nanoseconds', () => {
  const header = new DataView(pcapHeader().buffer);
  expect(header.getUint32(0, true)).toBe(0xa1b23c4d);
  expect(header.getUint32(20, true)).toBe(1);
  const record = pcapRecord(Uint8Array.of(1, 2, 3), 2_000_000_005, 100);
  const view = new DataView(record.buffer);
  expect([0, 4, 8, 12].map((at) => view.getUint32(at, true))).toEqual([102, 5, 3, 3]);
  expect([...record.slice(16)]).toEqual([1, 2, 3]);
});
