/**
 * Rings that break the driver's rules: what the device meets must make it ask for a reset, without
 * using a buffer or touching anything beside guest memory.
 *
 * Source: virtio 1.2, 2.7.1 to 2.7.6, driver requirements: the device enforces them.
 */
import { F_INDIRECT_DESC } from '../device/features.js';
import { type DriverSegment, writeSplitDescriptor } from './driver-queue.js';
import type { KitCase } from './kit-case.js';
import type { Clause } from './split-clauses.js';

const NEXT = 1;
const INDIRECT = 4;

/** Writes a descriptor of the queue's table. */
function descriptor(
  kit: KitCase,
  index: number,
  segment: Partial<DriverSegment>,
  flags = 0,
  next = 0,
): void {
  const { queue, ram } = kit;
  const whole = { gpa: ram.allocate(16), length: 16, write: true, ...segment };
  writeSplitDescriptor(ram, queue.desc + 16 * index, whole, flags, next);
}

/** A row: `break_` writes the ring, the device is notified and has to fail. */
function hostile(
  section: string,
  title: string,
  write: (kit: KitCase) => void,
  features: readonly number[] = [F_INDIRECT_DESC],
): Clause {
  return {
    section,
    title,
    async check(kit) {
      kit.start({ features });
      write(kit);
      kit.driver.transport.notify(kit.index);
      await kit.failsAndRecovers();
    },
  };
}

/** A queue whose registers are wrong when it is enabled. */
function misplaced(title: string, change: (kit: KitCase) => object): Clause {
  return {
    section: '2.7.1',
    title,
    async check(kit) {
      kit.driver.negotiate();
      const queue = kit.driver.makeQueue(4);
      const { size, desc, driver, device } = queue;
      const { transport } = kit.driver;
      transport.setUpQueue(kit.index, { size, desc, driver, device, ...change(kit) });
      kit.that(!transport.queueEnabled(kit.index), 'the queue is enabled');
      kit.equal(kit.rig.failures.length, 1, 'failures');
      kit.nothingOutside();
      kit.start();
      await kit.ask();
    },
  };
}

const END = 1 << 20;

export const HOSTILE_RINGS: readonly Clause[] = [
  misplaced('refuses a size that is no power of 2', () => ({ size: 3 })),
  misplaced('refuses a queue of no descriptors', () => ({ size: 0 })),
  misplaced('refuses a queue longer than its maximum', () => ({ size: 32_768 })),
  misplaced('refuses a descriptor table that is not aligned', ({ ram }) => ({
    desc: ram.allocate(256) + 8,
  })),
  misplaced('refuses an available ring that is not aligned', ({ ram }) => ({
    driver: ram.allocate(256) + 1,
  })),
  misplaced('refuses a used ring that is not aligned', ({ ram }) => ({
    device: ram.allocate(256) + 2,
  })),
  misplaced('refuses a ring beside guest memory', () => ({ device: END - 16 })),
  hostile('2.7.4.2', 'fails on a readable descriptor behind a writable one', (kit) => {
    descriptor(kit, 0, { write: true }, NEXT, 1);
    descriptor(kit, 1, { write: false });
    kit.queue.offer(0);
  }),
  hostile('2.7.5.2', 'fails on a chain with a loop', (kit) => {
    descriptor(kit, 0, {}, NEXT, 1);
    descriptor(kit, 1, {}, NEXT, 0);
    kit.queue.offer(0);
  }),
  hostile('2.7.5.2', 'fails on a chain of more than 2^32 bytes', (kit) => {
    kit.ram.claimed = 2 ** 33;
    descriptor(kit, 0, { gpa: 0, length: 0xffffffff }, NEXT, 1);
    descriptor(kit, 1, { gpa: 0, length: 2 });
    kit.queue.offer(0);
  }),
  hostile('2.7.5', 'fails on a descriptor beside guest memory', (kit) => {
    descriptor(kit, 0, { gpa: 0xd0000000, length: 4 });
    kit.queue.offer(0);
  }),
  hostile('2.7.5', 'fails on a descriptor that runs out of guest memory', (kit) => {
    descriptor(kit, 0, { gpa: END - 8, length: 16 });
    kit.queue.offer(0);
  }),
  hostile('2.7.5', 'fails on an address above 2^52', (kit) => {
    descriptor(kit, 0, {});
    kit.ram.view.setUint32(kit.queue.desc + 4, 0xffffffff, true);
    kit.queue.offer(0);
  }),
  hostile('2.7.5', 'fails on a next descriptor outside the table', (kit) => {
    descriptor(kit, 0, {}, NEXT, kit.queue.size);
    kit.queue.offer(0);
  }),
  hostile('2.7.6', 'fails on a head outside the table', (kit) => {
    kit.queue.offer(kit.queue.size);
  }),
  hostile('2.7.6.1', 'fails on an available index that jumps', (kit) => {
    kit.queue.availIdx = kit.queue.size + 1;
  }),
  hostile('2.7.6.1', 'fails on an available index that goes back', (kit) => {
    kit.queue.availIdx = 0xffff;
  }),
  hostile(
    '2.7.5.3.1',
    'fails on an indirect descriptor that was not negotiated',
    (kit) => void kit.queue.add(kit.segments(), true),
    [],
  ),
  hostile('2.7.5.3.1', 'fails on an indirect table inside an indirect table', (kit) => {
    const inner = kit.ram.allocate(16);
    const outer = kit.ram.allocate(16);
    writeSplitDescriptor(kit.ram, inner, { gpa: inner, length: 16, write: true }, 0, 0);
    writeSplitDescriptor(kit.ram, outer, { gpa: inner, length: 16, write: false }, INDIRECT, 0);
    descriptor(kit, 0, { gpa: outer, length: 16, write: false }, INDIRECT);
    kit.queue.offer(0);
  }),
  hostile('2.7.5.3.1', 'fails on an indirect descriptor with a next one', (kit) => {
    kit.queue.add(kit.segments(), true);
    const at = kit.queue.desc + 12;
    kit.ram.view.setUint16(at, INDIRECT | NEXT, true);
  }),
  hostile('2.7.5.3.1', 'fails on an indirect table longer than the queue', (kit) => {
    const length = kit.queue.size + 1;
    const [segment] = kit.segments();
    const bytes = Array.from({ length }, () => ({ ...segment!, length: 1, write: true }));
    kit.queue.add(bytes, true);
  }),
  hostile('2.7.5.3', 'fails on an indirect table of an odd length', (kit) => {
    kit.queue.add(kit.segments(), true);
    const at = kit.queue.desc + 8;
    kit.ram.view.setUint32(at, kit.ram.view.getUint32(at, true) + 8, true);
  }),
  hostile('2.7.5.3', 'fails on an empty indirect table', (kit) => {
    kit.queue.add(kit.segments(), true);
    kit.ram.view.setUint32(kit.queue.desc + 8, 0, true);
  }),
  hostile('2.7.5.3', 'fails on an indirect table beside guest memory', (kit) => {
    descriptor(kit, 0, { gpa: END, length: 16, write: false }, INDIRECT);
    kit.queue.offer(0);
  }),
  hostile('2.7.5.3', 'fails on an indirect table with a loop', (kit) => {
    const table = kit.ram.allocate(32);
    const segment = { gpa: table, length: 1, write: true };
    writeSplitDescriptor(kit.ram, table, segment, NEXT, 1);
    writeSplitDescriptor(kit.ram, table + 16, segment, NEXT, 0);
    descriptor(kit, 0, { gpa: table, length: 32, write: false }, INDIRECT);
    kit.queue.offer(0);
  }),
  hostile('2.7.5.3', 'fails on a next descriptor outside the indirect table', (kit) => {
    const table = kit.ram.allocate(16);
    writeSplitDescriptor(kit.ram, table, { gpa: table, length: 1, write: true }, NEXT, 1);
    descriptor(kit, 0, { gpa: table, length: 16, write: false }, INDIRECT);
    kit.queue.offer(0);
  }),
];
