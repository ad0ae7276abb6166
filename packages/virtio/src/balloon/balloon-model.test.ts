// The balloon: inflating, reporting, statistics, and requests that make no sense.
import { deviceKit } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { FakeRam } from '../testing/fake-ram.js';
import { mmioRig } from '../testing/mmio-driver.js';
import { mmioDevice } from '../transport/mmio.js';
import { balloonModel } from './balloon-model.js';

function rig() {
  const ram = new FakeRam(1 << 20);
  const model = balloonModel({
    discard(gpa, length) {
      if (gpa % 4096 !== 0 || length % 4096 !== 0 || !ram.covers(gpa, length)) return false;
      ram.bytes.fill(0, gpa, gpa + length);
      return true;
    },
  });
  return { model, ...mmioRig(model, {}, { ram }) };
}

const pages = (...numbers: number[]) => new Uint8Array(Uint32Array.from(numbers).buffer);

describe('virtio-balloon', () => {
  it('tells the driver its target, and learns how much it holds', () => {
    const { model, driver } = rig();
    driver.start();
    model.setTarget(300);
    expect(driver.transport.takeInterrupts().config).toBe(true);
    expect(driver.transport.readConfig(0, 4)).toBe(300);
    driver.transport.writeConfig(4, 4, 256);
    driver.transport.writeConfig(0, 4, 1);
    expect(driver.transport.readConfig(0, 4)).toBe(300);
    expect(model.counters.actual).toBe(256);
    // The host's wish outlives the driver.
    driver.start();
    expect(driver.transport.readConfig(0, 4)).toBe(300);
    expect(model.counters.actual).toBe(0);
  });

  it('gives the pages of an inflated balloon back to the host', () => {
    const { model, driver, ram } = rig();
    driver.start();
    ram.bytes.fill(7, 0x80000, 0x84000);
    driver.submit(0, [pages(0x80, 0x82)], []);
    expect(driver.result(0).written).toBe(0);
    const first = [0x80, 0x81, 0x82, 0x83].map((page) => ram.bytes[page * 4096]);
    expect(first).toEqual([0, 7, 0, 7]);
    expect(model.counters.inflatedPages).toBe(2);
    driver.submit(1, [pages(0x80, 0x82)], []);
    driver.result(1);
  });

  it('does a bounded number of pages at a time, and the others a moment later', () => {
    const { model, driver, ram, clock } = rig();
    driver.start();
    const gpa = ram.place(pages(...Array.from({ length: 4096 }, () => 0x80)));
    for (let i = 0; i < 3; i++) driver.queues[0]!.add([{ gpa, length: 4 * 4096, write: false }]);
    driver.transport.notify(0);
    expect(model.counters.inflatedPages).toBe(4096);
    clock.advance(1000);
    expect(model.counters.inflatedPages).toBe(2 * 4096);
    clock.advance(1000);
    expect(model.counters.inflatedPages).toBe(3 * 4096);
    for (let i = 0; i < 2; i++) {
      driver.queues[4]!.add([{ gpa: 0x10_000 * (8 + i), length: 0x10_000, write: true }]);
    }
    driver.transport.notify(4);
    expect(model.counters.reportedBytes).toBe(0x20_000);
  });

  it('gives back what the driver reports as free', () => {
    const { model, driver, ram } = rig();
    driver.start();
    ram.bytes.fill(7, 0x80000, 0x84000);
    driver.queues[4]!.add([{ gpa: 0x80000, length: 0x3000, write: true }]);
    driver.transport.notify(4);
    expect(driver.queues[4]!.take()).not.toBeNull();
    expect(ram.bytes[0x80000]).toBe(0);
    expect(ram.bytes[0x83000]).toBe(7);
    expect(model.counters.reportedBytes).toBe(0x3000);
  });

  it('has the statistics when the driver has told them, once for each question', () => {
    const { model, driver } = rig();
    driver.start();
    const stats = new Uint8Array(20);
    new DataView(stats.buffer).setUint16(0, 4, true);
    new DataView(stats.buffer).setBigUint64(2, 123_456_789_012n, true);
    new DataView(stats.buffer).setUint16(10, 6, true);
    driver.submit(2, [stats], []);
    expect(driver.take(2)).toBeNull();
    expect([...model.counters.statistics]).toEqual([
      [4, 123_456_789_012],
      [6, 0],
    ]);
    model.askStatistics();
    expect(driver.take(2)).not.toBeNull();
    model.askStatistics();
    expect(driver.take(2)).toBeNull();
  });

  it('asks for a reset when pages are no RAM', () => {
    for (const [queue, out] of [
      [0, pages(0x100)],
      [0, pages(0xffffffff)],
      [0, Uint8Array.of(1, 2, 3)],
    ] as const) {
      const { driver, failures } = rig();
      driver.start();
      driver.submit(queue, [out], []);
      expect(failures).toEqual(['a balloon request is not of pages in RAM']);
    }
    const { driver, failures } = rig();
    driver.start();
    driver.queues[4]!.add([{ gpa: 0x80010, length: 0x1000, write: true }]);
    driver.transport.notify(4);
    expect(failures).toHaveLength(1);
  });
});

deviceKit(
  { describe, it },
  {
    name: 'virtio-balloon',
    make: (ports) =>
      mmioDevice(balloonModel({ discard: () => true }), { base: 0xd0000000 })({
        dma: new FakeRam(65_536),
        clock: ports.clock,
        irq: ports.line(),
      }),
  },
);
