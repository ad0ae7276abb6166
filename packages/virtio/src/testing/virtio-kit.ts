/**
 * Conformance kit for virtio devices: the clauses of the specification that a device can violate,
 * rings that break the rules, and rings at random. Give it a model, and a request that it answers.
 *
 * It needs no test framework of its own: see `deviceKit` of `@cloister/core/testing`.
 *
 * ```ts
 * virtioKit({ describe, it }, {
 *   name: 'rng',
 *   make: () => rngModel(new FakeRandom()),
 *   request: () => ({ queue: 0, out: [], room: [16] }),
 * });
 * ```
 */
import { FakeRandom, type KitRunner } from '@cloister/core/testing';
import { STATUS_DRIVER_OK } from '../device/features.js';
import { HOSTILE_RINGS } from './hostile-rings.js';
import { KitCase, type VirtioSubject } from './kit-case.js';
import { SPLIT_CLAUSES } from './split-clauses.js';

const SEEDS = 60;
const ROUNDS = 8;

/** Every clause that the kit checks: section and name of its test. */
export const KIT_CLAUSES: readonly { readonly section: string; readonly title: string }[] = [
  ...SPLIT_CLAUSES,
  ...HOSTILE_RINGS,
];

/** A value that is likely to mean something: a small index, an address, or any. */
function value(random: FakeRandom, kit: KitCase): number {
  const end = kit.ram.bytes.length;
  const near = [0, 1, 2, 7, 16, 4096, end - 1, end, 0xffff, 0xffffffff, 0xd0000000];
  if (random.below(2) === 0) return near[random.below(near.length)]!;
  return random.below(2) === 0 ? random.below(end) : random.u32();
}

/** Writes over the rings at random, often over what a sample request put there. */
function scramble(random: FakeRandom, kit: KitCase, packed: boolean): void {
  const { ram } = kit;
  const queue = kit.driver.queues[random.below(kit.driver.queues.length)]!;
  const parts = [
    [queue.desc, 16 * Math.min(queue.size, 4)],
    [queue.driver, packed ? 4 : 6 + 2 * Math.min(queue.size, 4)],
    [queue.device, packed ? 4 : 6 + 8 * Math.min(queue.size, 4)],
  ] as const;
  for (let count = random.below(12); count >= 0; count--) {
    const [start, length] = parts[random.below(8) < 5 ? 0 : 1 + random.below(2)]!;
    const at = start + 2 * random.below(length / 2);
    const word = value(random, kit);
    if (random.below(2) === 0) ram.view.setUint16(at, word & 0xffff, true);
    else if (at + 4 <= ram.bytes.length) ram.view.setUint32(at, word, true);
  }
}

async function fuzz(subject: VirtioSubject, seed: number, packed: boolean): Promise<void> {
  const random = new FakeRandom(seed);
  const kit = new KitCase(subject, seed);
  kit.start({ packed });
  for (let round = 0; round < ROUNDS; round++) {
    try {
      const segments = kit.segments();
      kit.driver.queues[kit.index]!.add(segments, random.below(2) === 0);
    } catch (error) {
      // The ring is full of what was not answered.
      if (!(error instanceof RangeError)) throw error;
    }
    scramble(random, kit, packed);
    for (let index = 0; index < kit.driver.queues.length; index++) {
      kit.driver.transport.notify(index);
    }
    await kit.settle();
    const running = (kit.driver.transport.status() & STATUS_DRIVER_OK) !== 0;
    kit.that(running, 'DRIVER_OK is gone');
    kit.equal(kit.ram.refused.join(), '', `seed ${seed}: accesses beside guest memory`);
  }
  kit.start({ packed });
  const { queue, out, room } = kit.request;
  kit.driver.submit(queue, out, room);
  await kit.settle();
  kit.that(kit.driver.take(queue) !== null, `seed ${seed}: the device is dead after a reset`);
}

/** Declares the tests of one device with the functions of a test framework. */
export function virtioKit(runner: KitRunner, subject: VirtioSubject): void {
  const { it } = runner;
  const { name, transport = 'mmio' } = subject;
  runner.describe(`virtio kit: ${name} over ${transport}`, () => {
    for (const { section, title, check } of [...SPLIT_CLAUSES, ...HOSTILE_RINGS]) {
      it(`${section} ${title}`, async () => {
        const kit = new KitCase(subject);
        await check(kit);
        kit.nothingOutside();
      });
    }
    for (const packed of [false, true]) {
      const ring = packed ? 'packed' : 'split';
      it(`any ${ring} ring: no throw, it ends, nothing beside memory`, async () => {
        for (let seed = 1; seed <= SEEDS; seed++) await fuzz(subject, seed, packed);
      });
      it(`answers over ${ring} rings, direct and indirect`, async () => {
        const kit = new KitCase(subject);
        kit.start({ packed });
        for (let round = 0; round < 100; round++) await kit.ask({ indirect: round % 3 === 0 });
      });
    }
    it('goes on where it was saved, on both rings', async () => {
      for (const packed of [false, true]) {
        const kit = new KitCase(subject);
        kit.start({ packed });
        await kit.ask();
        const { queue, out, room } = kit.request;
        kit.driver.submit(queue, out, room);
        await kit.rig.device.drain();
        const saved = kit.rig.device.snapshot();
        kit.rig.device.reset();
        kit.rig.device.restore(saved);
        await kit.settle();
        kit.that(kit.driver.take(queue) !== null, 'what was asked before is not answered');
        await kit.ask();
      }
    });
  });
}
