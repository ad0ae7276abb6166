// The entropy device: fills buffers, the same way for the same seed, and refuses others.
import { deviceKit, FakeRandom } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { STATUS_NEEDS_RESET } from '../device/features.js';
import { FakeRam } from '../testing/fake-ram.js';
import { mmioRig } from '../testing/mmio-driver.js';
import { mmioDevice } from '../transport/mmio.js';
import { rngModel } from './rng-model.js';

describe('virtio-rng', () => {
  it('fills every segment of a buffer with the next random bytes', () => {
    const { driver } = mmioRig(rngModel(new FakeRandom(3)));
    driver.start();
    driver.submit(0, [], [16, 1, 40]);
    const first = driver.result(0);
    expect(first.written).toBe(57);
    const expected = new Uint8Array(57);
    new FakeRandom(3).fill(expected);
    expect(first.data).toEqual(expected);
    driver.submit(0, [], [57]);
    expect(driver.result(0).data).not.toEqual(expected);
  });

  it('fills no more than its bound', () => {
    const { driver } = mmioRig(rngModel(new FakeRandom()));
    driver.start();
    driver.submit(0, [], [100_000]);
    expect(driver.result(0).written).toBe(65_536);
  });

  it('makes a bounded amount at once, and the rest a moment later', () => {
    const ram = new FakeRam(1 << 22);
    const { driver, clock } = mmioRig(rngModel(new FakeRandom()), {}, { ram });
    driver.start();
    // Many descriptors of one place: a buffer costs its driver nothing.
    const gpa = ram.allocate(65_536);
    const [queue] = driver.queues;
    for (let i = 0; i < 64; i++) queue!.add([{ gpa, length: 65_536, write: true }]);
    driver.transport.notify(0);
    const filled = () => {
      let count = 0;
      while (driver.take(0) !== null) count++;
      return count;
    };
    const first = filled();
    expect(first).toBeLessThanOrEqual(17);
    clock.advance(10_000);
    expect(first + filled()).toBe(64);
  });

  it('asks for a reset when a request has data in it, or no room', () => {
    for (const [out, room] of [
      [[Uint8Array.of(1)], [8]],
      [[Uint8Array.of(1)], []],
    ] as const) {
      const { driver, failures } = mmioRig(rngModel(new FakeRandom()));
      driver.start();
      driver.submit(0, out, room);
      expect(driver.transport.status() & STATUS_NEEDS_RESET).not.toBe(0);
      expect(failures).toHaveLength(1);
      expect(driver.take(0)).toBeNull();
    }
  });
});

deviceKit(
  { describe, it },
  {
    name: 'virtio-rng',
    make: (ports) =>
      mmioDevice(rngModel(ports.random), { base: 0xd0000000 })({
        dma: new FakeRam(65_536),
        clock: ports.clock,
        irq: ports.line(),
      }),
  },
);
