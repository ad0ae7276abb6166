/**
 * What a device has to do with its status and its split queues: a table of the clauses that begin
 * with "the device MUST", in the order of the specification, each with a check of it.
 *
 * Source: virtio 1.2, 2.1 to 2.7. `docs/virtio.md` lists the same rows.
 */
import {
  F_EVENT_IDX,
  F_INDIRECT_DESC,
  F_VERSION_1,
  FeatureSet,
  STATUS_ACKNOWLEDGE,
  STATUS_DRIVER,
  STATUS_DRIVER_OK,
  STATUS_FEATURES_OK,
} from '../device/features.js';
import { writeSplitDescriptor } from './driver-queue.js';
import type { KitCase } from './kit-case.js';

export interface Clause {
  /** Section of the specification. */
  readonly section: string;
  /** What the device does, as the test is called. */
  readonly title: string;
  check(kit: KitCase): void | Promise<void>;
}

const PLAIN = { features: [] } as const;
const WITH_EVENTS = { features: [F_EVENT_IDX] } as const;

/** Bytes of `[gpa, gpa + length)`, for comparing. */
const bytes = (kit: KitCase, gpa: number, length: number) => kit.ram.at(gpa, length).join();

export const SPLIT_CLAUSES: readonly Clause[] = [
  {
    section: '2.1.2',
    title: 'uses no buffer and notifies nobody before DRIVER_OK',
    async check(kit) {
      const { driver } = kit;
      driver.negotiate();
      driver.setUpQueues();
      const { queue, out, room } = kit.request;
      driver.submit(queue, out, room);
      await kit.settle();
      kit.equal(driver.take(queue), null, 'used buffers before DRIVER_OK');
      kit.that(!kit.rig.irq.level, 'an interrupt came before DRIVER_OK');
      driver.setBit(STATUS_DRIVER_OK);
      await kit.kick();
      kit.that(driver.take(queue) !== null, 'the buffer is not used after DRIVER_OK');
    },
  },
  {
    section: '2.2.2',
    title: 'does not accept features that it did not offer',
    check(kit) {
      const { transport } = kit.driver;
      const offered = transport.deviceFeatures();
      const bit = Array.from({ length: 64 }, (_, index) => index).find((at) => !offered.has(at))!;
      transport.setStatus(0);
      transport.setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER);
      transport.setDriverFeatures(FeatureSet.of([F_VERSION_1, bit]));
      transport.setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
      if ((transport.status() & STATUS_FEATURES_OK) !== 0) {
        throw new Error(`feature ${bit} was accepted though not offered by ${kit.rig.device.name}`);
      }
    },
  },
  {
    section: '6.1',
    title: 'offers VERSION_1 and does not work without it',
    check({ driver: { transport } }) {
      if (!transport.deviceFeatures().has(F_VERSION_1)) throw new Error('VERSION_1 is not offered');
      transport.setStatus(0);
      transport.setDriverFeatures(FeatureSet.of([]));
      transport.setStatus(STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
      if ((transport.status() & STATUS_FEATURES_OK) !== 0) throw new Error('no VERSION_1, yet OK');
    },
  },
  {
    section: '2.2.2',
    title: 'keeps to the features of FEATURES_OK',
    async check(kit) {
      kit.driver.negotiate(PLAIN);
      const { transport } = kit.driver;
      transport.setDriverFeatures(transport.deviceFeatures());
      kit.driver.setUpQueues();
      kit.driver.setBit(STATUS_DRIVER_OK);
      // Indirect descriptors were not agreed on: one breaks the queue.
      kit.driver.submit(kit.index, [Uint8Array.of(1)], [8], { indirect: true });
      await kit.settle();
      kit.equal(kit.rig.failures.length, 1, 'failures by a feature that came too late');
    },
  },
  {
    section: '2.4.1',
    title: 'reads 0 once it is reset, and then uses no buffer and notifies nobody',
    async check(kit) {
      kit.start();
      const { queue, out, room } = kit.request;
      kit.driver.add(queue, out, room);
      kit.driver.transport.setStatus(0);
      kit.equal(kit.driver.transport.status(), 0, 'the status after a reset');
      kit.that(!kit.driver.transport.queueEnabled(queue), 'a queue is enabled after a reset');
      await kit.kick();
      kit.equal(kit.driver.take(queue), null, 'used buffers after a reset');
      kit.that(!kit.rig.irq.level, 'an interrupt is pending after a reset');
    },
  },
  {
    section: '2.4.1',
    title: 'answers nothing after a reset that was asked before',
    async check(kit) {
      kit.start();
      const { queue, out, room } = kit.request;
      kit.driver.submit(queue, out, room);
      kit.driver.take(queue);
      const used = kit.queue.usedIdx;
      kit.driver.transport.setStatus(0);
      await kit.settle();
      kit.equal(kit.queue.usedIdx, used, 'the used index after a reset');
    },
  },
  {
    section: '2.7.4.1',
    title: 'assumes no arrangement of descriptors',
    async check(kit) {
      kit.start();
      const { out, room } = kit.request;
      const { written } = await kit.ask();
      // One byte of each descriptor's, as far as the queue goes; the rest in the last.
      const each = Math.floor(kit.queue.size / 2) - 1;
      const pieces = <T>(whole: readonly T[]): T[][] => {
        const single = whole.slice(0, each - 1).map((one) => [one]);
        const rest = whole.slice(each - 1);
        return rest.length > 0 ? [...single, rest] : single;
      };
      const data = pieces(out.flatMap((part) => [...part])).map((part) => Uint8Array.from(part));
      const places = pieces(Array.from({ length: room.reduce((a, b) => a + b, 0) }, () => 1));
      kit.driver.submit(
        kit.index,
        data,
        places.map(({ length }) => length),
      );
      await kit.settle();
      kit.equal(kit.driver.result(kit.index).written, written, 'bytes written');
    },
  },
  {
    section: '2.7.5.1',
    title: 'writes to no device-readable buffer, descriptor or available ring',
    async check(kit) {
      kit.start(PLAIN);
      const segments = kit.segments();
      const { queue } = kit;
      queue.add(segments);
      const watched = [
        ...segments.filter(({ write }) => !write).map(({ gpa, length }) => [gpa, length] as const),
        [queue.desc, 16 * queue.size] as const,
        [queue.driver, 6 + 2 * queue.size] as const,
      ];
      const before = watched.map(([gpa, length]) => bytes(kit, gpa, length));
      await kit.kick();
      kit.that(queue.take() !== null, 'the device did not answer');
      watched.forEach(([gpa, length], index) => {
        kit.that(bytes(kit, gpa, length) === before[index], `the device wrote to 0x${gpa}`);
      });
    },
  },
  {
    section: '2.7.5.3.2',
    title: 'ignores the write-only flag of the descriptor of an indirect table',
    async check(kit) {
      kit.start({ features: [F_INDIRECT_DESC] });
      const { queue, ram } = kit;
      const segments = kit.segments();
      const head = queue.add(segments, true);
      const at = queue.desc + 16 * head + 12;
      ram.view.setUint16(at, ram.view.getUint16(at, true) | 2, true);
      await kit.kick();
      kit.equal(queue.take()?.id, head, 'the used buffer');
    },
  },
  {
    section: '2.7.5.3.2',
    title: 'takes chained descriptors followed by an indirect one',
    async check(kit) {
      kit.start({ features: [F_INDIRECT_DESC] });
      const { written } = await kit.ask();
      const { queue, ram } = kit;
      const segments = kit.segments();
      const table = ram.allocate(16 * segments.length);
      const [first, ...rest] = segments;
      rest.forEach((segment, index) => {
        const last = index === rest.length - 1;
        writeSplitDescriptor(ram, table + 16 * index, segment, last ? 0 : 1, index + 1);
      });
      const whole = { gpa: table, length: 16 * rest.length, write: false };
      if (rest.length === 0) {
        // A request of one segment: split in two, the second half behind the table.
        const half = { ...first!, gpa: first!.gpa + 1, length: first!.length - 1 };
        writeSplitDescriptor(ram, table, half, 0, 0);
        writeSplitDescriptor(ram, queue.desc + 16, { ...whole, length: 16 }, 4, 0);
        writeSplitDescriptor(ram, queue.desc, { ...first!, length: 1 }, 1, 1);
      } else {
        writeSplitDescriptor(ram, queue.desc + 16, whole, 4, 0);
        writeSplitDescriptor(ram, queue.desc, first!, 1, 1);
      }
      queue.offer(0);
      await kit.kick();
      kit.equal(queue.take()?.written, written, 'bytes written');
    },
  },
  {
    section: '2.7.7.2',
    title: 'without EVENT_IDX notifies when flags is 0, whatever used_event says',
    async check(kit) {
      kit.start(PLAIN);
      kit.ram.view.setUint16(kit.queue.usedEvent, 0x7fff, true);
      await kit.ask();
      kit.that(kit.driver.transport.takeInterrupts().used, 'no notification');
    },
  },
  {
    section: '2.7.7.2',
    title: 'without EVENT_IDX does not notify when flags is 1',
    async check(kit) {
      kit.start(PLAIN);
      kit.queue.setInterrupts(false);
      await kit.ask();
      kit.that(!kit.driver.transport.takeInterrupts().used, 'a notification came');
    },
  },
  {
    section: '2.7.7.2',
    title: 'with EVENT_IDX notifies when it passes used_event, whatever flags says',
    async check(kit) {
      kit.start(WITH_EVENTS);
      kit.ram.view.setUint16(kit.queue.driver, 1, true);
      kit.ram.view.setUint16(kit.queue.usedEvent, 0, true);
      await kit.ask();
      kit.that(kit.driver.transport.takeInterrupts().used, 'no notification at used_event');
    },
  },
  {
    section: '2.7.7.2',
    title: 'with EVENT_IDX does not notify before used_event',
    async check(kit) {
      kit.start(WITH_EVENTS);
      kit.ram.view.setUint16(kit.queue.usedEvent, 1, true);
      const segments = kit.segments();
      kit.queue.add(segments);
      await kit.kick();
      kit.that(!kit.driver.transport.takeInterrupts().used, 'a notification came too early');
      kit.queue.add(kit.segments());
      await kit.kick();
      kit.that(kit.driver.transport.takeInterrupts().used, 'no notification at used_event');
    },
  },
  {
    section: '2.7.8.2',
    title: 'sets len, and writes that many bytes, before it moves the used index',
    async check(kit) {
      kit.start(PLAIN);
      const { queue, ram } = kit;
      const segments = kit.segments();
      const writable = segments.filter(({ write }) => write);
      for (const { gpa, length } of writable) ram.bytes.fill(0xa5, gpa, gpa + length);
      const order: string[] = [];
      ram.onWrite = (gpa) => {
        if (gpa === queue.device + 2) order.push('idx');
        else if (gpa >= queue.device + 4 && gpa < queue.device + 12) order.push('element');
        else order.push('data');
      };
      queue.add(segments);
      await kit.kick();
      ram.onWrite = null;
      const used = queue.take();
      kit.that(used !== null, 'the device did not answer');
      kit.equal(order.at(-1), 'idx', 'what is written last');
      kit.that(order.indexOf('element') < order.indexOf('idx'), 'the element comes too late');
      const room = writable.reduce((sum, { length }) => sum + length, 0);
      kit.that(used!.written <= room, `len is ${used!.written} in a buffer of ${room}`);
    },
  },
  {
    section: '2.7.10.2',
    title: 'leaves the flags of the used ring at 0 with EVENT_IDX, at 0 or 1 without',
    async check(kit) {
      for (const options of [WITH_EVENTS, PLAIN]) {
        kit.start(options);
        await kit.ask();
        const flags = kit.ram.view.getUint16(kit.queue.device, true);
        kit.that(flags === 0 || (flags === 1 && options === PLAIN), `used flags are ${flags}`);
      }
    },
  },
  {
    section: '2.7.10.2',
    title: 'asks to be notified of the next buffer once it has none left',
    async check(kit) {
      kit.start(WITH_EVENTS);
      for (let round = 0; round < 3 * kit.queue.size; round++) {
        const { queue, out, room } = kit.request;
        // A device that waits for the host wants a buffer once that has something.
        await kit.settle();
        kit.driver.add(queue, out, room);
        kit.that(kit.queue.wantsNotify(), `buffer ${round} would not be noticed`);
        await kit.kick();
        kit.driver.result(queue);
      }
    },
  },
  {
    section: '2.7.10.2',
    title: 'handles spurious notifications',
    async check(kit) {
      kit.start();
      for (const index of [kit.index, kit.index, 99, 0xffffffff]) {
        kit.driver.transport.notify(index);
      }
      await kit.ask();
      kit.equal(kit.rig.failures.length, 0, 'failures');
    },
  },
  {
    section: '2.7.13.3',
    title: 'reads each field of the rings once: what it checked is what it uses',
    async check(kit) {
      kit.start({ features: [F_INDIRECT_DESC] });
      const { queue, ram } = kit;
      const segments = kit.segments();
      const head = queue.add(segments, true);
      const { view } = ram;
      const table = view.getUint32(queue.desc + 16 * head, true);
      const places = [
        ...segments.map((_, index) => table + 16 * index),
        queue.desc + 16 * head,
        queue.driver + 4,
      ];
      const reads = new Map<number, number>();
      ram.onRead = (gpa, length) => {
        for (const place of places) {
          if (gpa <= place && place < gpa + length) reads.set(place, (reads.get(place) ?? 0) + 1);
        }
      };
      await kit.kick();
      ram.onRead = null;
      kit.that(queue.take() !== null, 'the device did not answer');
      for (const place of places)
        kit.equal(reads.get(place), 1, `reads of 0x${place.toString(16)}`);
    },
  },
];
