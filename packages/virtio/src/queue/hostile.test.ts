// Rings of any content, by fast-check: the device neither throws nor goes on for ever, touches no
// byte beside guest memory, and works after a reset.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { STATUS_NEEDS_RESET } from '../device/features.js';
import { PackedDriverQueue, SplitDriverQueue } from '../testing/driver-queue.js';
import { EchoModel } from '../testing/echo-model.js';
import { FakeRam } from '../testing/fake-ram.js';
import { mmioRig } from '../testing/mmio-driver.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const RAM = 1 << 16;
const SIZE = 8;

const u16 = fc.oneof(fc.nat(SIZE + 1), fc.constantFrom(0x7fff, 0x8000, 0xffff), fc.nat(0xffff));
const address = fc.oneof(
  fc.nat(RAM - 1),
  fc.constantFrom(0, RAM - 1, RAM, 0xd0000000, 2 ** 32, 2 ** 52, 2 ** 53 - 1),
);
const length = fc.oneof(fc.nat(64), fc.constantFrom(0, RAM, 0x7fffffff, 0xffffffff));
const flags = fc.oneof(fc.nat(7), fc.nat(0xffff));
const descriptor = fc.record({ address, length, flags, next: u16 });

const hostile = fc.record({
  packed: fc.boolean(),
  table: fc.array(descriptor, { minLength: SIZE, maxLength: SIZE }),
  avail: fc.array(u16, { minLength: SIZE + 3, maxLength: SIZE + 3 }),
  /** Where the three parts lie: over each other too. */
  places: fc.tuple(fc.nat(40), fc.nat(40), fc.nat(40)),
  notifications: fc.integer({ min: 1, max: 4 }),
});

it('takes any ring, wherever its parts lie', () => {
  fc.assert(
    fc.property(hostile, ({ packed, table, avail, places, notifications }) => {
      const ram = new FakeRam(RAM);
      const { driver, device, failures, clock } = mmioRig(new EchoModel(1, SIZE), {}, { ram });
      driver.start({ packed });
      driver.transport.setStatus(0);
      driver.negotiate({ packed });
      const [desc, driverArea, deviceArea] = places.map((place) => 0x100 + 16 * place);
      const layout = { size: SIZE, desc: desc!, driver: driverArea!, device: deviceArea! };
      driver.transport.setUpQueue(0, layout);
      driver.setBit(4);
      for (const [index, value] of avail.entries()) {
        ram.view.setUint16(layout.driver + 2 * index, value, true);
      }
      table.forEach((each, index) => {
        const at = layout.desc + 16 * index;
        ram.view.setBigUint64(at, BigInt(each.address), true);
        ram.view.setUint32(at + 8, each.length, true);
        ram.view.setUint16(at + 12, packed ? each.next : each.flags, true);
        ram.view.setUint16(at + 14, packed ? each.flags : each.next, true);
      });
      for (let count = 0; count < notifications; count++) {
        driver.transport.notify(0);
        clock.advance(10_000);
      }
      expect(ram.refused).toEqual([]);
      const failed = (driver.transport.status() & STATUS_NEEDS_RESET) !== 0;
      expect(failures.length).toBe(failed ? 1 : 0);
      device.restore(device.snapshot());
      driver.start({ packed });
      driver.submit(0, [Uint8Array.of(5)], [1]);
      expect(driver.result(0).data[0]).toBe(5);
    }),
    { numRuns: FULL ? 20_000 : 500 },
  );
}, 180_000);

it.each([false, true])('takes no descriptor again before it used it (packed: %s)', (packed) => {
  const model = new EchoModel(1, SIZE);
  const { driver, ram, failures } = mmioRig(model);
  for (let lap = 0; lap < 3; lap++) {
    model.hold = true;
    driver.start({ packed });
    const [queue] = driver.queues;
    // A queue that is full and empties again is no mistake, wherever the ring begins.
    for (let round = 0; round < 2 * SIZE + lap; round++) {
      driver.submit(0, [Uint8Array.of(round)], []);
      model.answer(1);
      driver.result(0);
    }
    for (let count = 0; count < SIZE; count++) driver.submit(0, [Uint8Array.of(count)], []);
    expect(failures).toHaveLength(lap);
    if (queue instanceof PackedDriverQueue) {
      const { availableFlags, nextDescriptor } = queue;
      ram.view.setUint16(nextDescriptor + 14, availableFlags, true);
    } else if (queue instanceof SplitDriverQueue) queue.offer(0);
    driver.transport.notify(0);
    expect(failures).toHaveLength(lap + 1);
    expect(failures.at(-1)).toContain('more descriptors are under way');
  }
});
