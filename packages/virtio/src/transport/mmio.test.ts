// virtio-mmio: registers, negotiation, queues and interrupts, driven by the mock driver.
import { deviceKit } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { F_ACCESS_PLATFORM, STATUS_DRIVER_OK, STATUS_NEEDS_RESET } from '../device/features.js';
import { EchoModel } from '../testing/echo-model.js';
import { FakeRam } from '../testing/fake-ram.js';
import { type MmioTransport, mmioRig } from '../testing/mmio-driver.js';
import { MMIO, type MmioOptions, mmioDevice } from './mmio.js';

describe('virtio-mmio', () => {
  it('needs a reset when a queue of a running device is disabled, and gives nothing back', () => {
    const model = new EchoModel(1, 8);
    const { driver, failures } = mmioRig(model);
    const { device } = driver.transport as MmioTransport;
    driver.start();
    model.hold = true;
    driver.submit(0, [Uint8Array.of(1)], [1]);
    device.write(0, MMIO.QueueSel, 4, 0);
    device.write(0, MMIO.QueueReady, 4, 0);
    expect(driver.transport.queueEnabled(0)).toBe(false);
    expect(driver.transport.status() & STATUS_NEEDS_RESET).not.toBe(0);
    expect(failures).toHaveLength(1);
    model.answerAt(0);
    expect(driver.take(0)).toBeNull();
    driver.start();
    model.hold = false;
    driver.submit(0, [Uint8Array.of(2)], [1]);
    expect([...driver.result(0).data]).toEqual([2]);
  });

  for (const packed of [false, true]) {
    for (const indirect of [false, true]) {
      it(`echoes, packed ${packed}, indirect ${indirect}`, () => {
        const { driver, irq, failures } = mmioRig(new EchoModel(2));
        driver.start({ packed });
        for (let round = 0; round < 50; round++) {
          const queue = round % 2;
          const out = [Uint8Array.of(round, 1, 2), Uint8Array.of(3, 4)];
          const id = driver.submit(queue, out, [1, 7], { indirect });
          expect(irq.level).toBe(true);
          expect(driver.transport.takeInterrupts()).toEqual({ used: true, config: false });
          expect(irq.level).toBe(false);
          const { data, ...used } = driver.result(queue);
          expect(used).toEqual({ id, written: 5 });
          expect([...data]).toEqual([round, 1, 2, 3, 4, 0, 0, 0]);
          expect(driver.take(queue)).toBeNull();
        }
        expect(failures).toEqual([]);
      });
    }
    it(`takes at DRIVER_OK what was made available before it, packed ${packed}`, () => {
      // As Linux does with the first statistics of a balloon: it notifies too early, and once.
      const { driver } = mmioRig(new EchoModel(1));
      driver.negotiate({ packed });
      driver.setUpQueues({ packed });
      driver.submit(0, [Uint8Array.of(7)], [2]);
      expect(driver.take(0)).toBeNull();
      driver.setBit(STATUS_DRIVER_OK);
      expect([...driver.result(0).data]).toEqual([7, 0]);
    });

    it(`answers out of order, packed ${packed}`, () => {
      const model = new EchoModel(1, 16);
      const { driver } = mmioRig(model);
      driver.start({ packed });
      model.hold = true;
      for (let round = 0; round < 20; round++) {
        const ids = [0, 1, 2].map((i) =>
          driver.submit(0, [Uint8Array.of(i), Uint8Array.of(9)], [2]),
        );
        model.answerAt(2);
        model.answerAt(0);
        model.answerAt(0);
        const results = [0, 1, 2].map(() => driver.result(0));
        expect(results.map(({ id }) => id)).toEqual([ids[2], ids[0], ids[1]]);
        expect(results.map(({ data }) => data[0])).toEqual([2, 0, 1]);
      }
    });
  }
});

describe('ACCESS_PLATFORM', () => {
  const offers = (restricted: boolean, options: Partial<MmioOptions> = {}): boolean => {
    const { driver, ram } = mmioRig(new EchoModel(2), options);
    ram.restricted = restricted;
    return driver.transport.deviceFeatures().has(F_ACCESS_PLATFORM);
  };

  it('is offered where the device reaches only what is shared', () => {
    expect(offers(true)).toBe(true);
    expect(offers(false)).toBe(false);
  });

  it('is offered or not as the transport is told', () => {
    expect(offers(false, { accessPlatform: true })).toBe(true);
    expect(offers(true, { accessPlatform: false })).toBe(false);
  });
});

deviceKit(
  { describe, it },
  {
    name: 'virtio-mmio',
    make: (ports) => {
      const ram = new FakeRam(65536);
      return mmioDevice(new EchoModel(2), { base: 0xd0000000 })({
        dma: ram,
        clock: ports.clock,
        irq: ports.line(),
      });
    },
    hotOffsets: [
      [0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x60, 0x64, 0x70, 0x80, 0x90, 0xa0, 0x100],
    ],
  },
);
