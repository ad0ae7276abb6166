/**
 * Conformance kit for devices: what the `Device` interface promises, checked by random accesses.
 *
 * It needs no test framework of its own: give it the `describe` and `it` of yours (vitest, mocha,
 * node:test). It chooses accesses from a seed, and a failure names the seed and the step.
 *
 * ```ts
 * import { describe, it } from 'vitest';
 * import { deviceKit } from '@cloister/core/testing';
 * deviceKit({ describe, it }, { name: 'dice', make: ({ random }) => dice({ random }) });
 * ```
 */
import type { Device, Snapshot } from '../interfaces/index.js';
import { isVmmError } from '../interfaces/index.js';
import { type KitOperation, operations, perform } from './device-kit-operations.js';
import { KitPorts } from './device-kit-ports.js';
import { damagedCopies, equal, plainCopy, snapshotSize, stray } from './device-kit-values.js';

/** The functions of a test framework that the kit uses. */
export interface KitRunner {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => void | Promise<void>): void;
}

/** A device, and what happens to it from outside. */
export interface KitDevice {
  readonly device: Device;
  /**
   * Events from outside, such as input or a pin; chosen at random and called with 32 random bits.
   * They may do the same for equal bits only.
   */
  readonly stimuli?: readonly ((bits: number) => void)[];
}

export interface DeviceSubject {
  readonly name: string;
  /** Makes a fresh device on the given ports; called many times. */
  make(ports: KitPorts): Device | KitDevice;
  /** Seeds to try; default 20. */
  readonly seeds?: number;
  /** Accesses per seed and phase; default 400. */
  readonly steps?: number;
  /** The longest snapshot allowed, in bytes of its values; default 65536. */
  readonly maxStateBytes?: number;
  /** Timers that the device may have set at one moment; default 8. */
  readonly maxTimers?: number;
  /** Offsets worth trying more often than by chance, per region. */
  readonly hotOffsets?: readonly (readonly number[])[];
}

/** A device with its ports, under test. */
interface Rig {
  readonly ports: KitPorts;
  readonly device: Device;
  readonly stimuli: readonly ((bits: number) => void)[];
}

function fail(message: string): never {
  throw new Error(message);
}

function check(condition: boolean, message: () => string): void {
  if (!condition) fail(message());
}

function build(subject: DeviceSubject, time = 0): Rig {
  const ports = new KitPorts(time);
  const made = subject.make(ports);
  const { device, stimuli = [] } = 'device' in made ? made : { device: made };
  return { ports, device, stimuli };
}

/** Performs the operations; returns what was read. */
function run(
  subject: DeviceSubject,
  rig: Rig,
  list: readonly KitOperation[],
  why: string,
): number[] {
  const reads: number[] = [];
  list.forEach((operation, step) => {
    const where = (): string =>
      `${why}, step ${step} (${describeOperation(rig.device, operation)})`;
    let value: number | null;
    try {
      value = perform(rig, operation);
    } catch (error) {
      throw new Error(`${where()}: the device threw ${String(error)}`, { cause: error });
    }
    if (value === null || operation.kind !== 'read') return;
    const limit = 2 ** (8 * operation.size);
    check(
      Number.isInteger(value) && value >= 0 && value < limit,
      () => `${where()}: read gave ${value}, no unsigned number of ${operation.size} bytes`,
    );
    check(
      rig.ports.clock.timers <= (subject.maxTimers ?? 8),
      () => `${where()}: ${rig.ports.clock.timers} timers are set`,
    );
    reads.push(value);
  });
  return reads;
}

function describeOperation(device: Device, operation: KitOperation): string {
  if (operation.kind !== 'read' && operation.kind !== 'write') {
    return `${operation.kind} ${operation.value}`;
  }
  const region = device.regions[operation.region];
  const at = `${region?.name}+0x${operation.offset.toString(16)}/${operation.size}`;
  return operation.kind === 'read' ? `read ${at}` : `write ${at} 0x${operation.value.toString(16)}`;
}

function plan(subject: DeviceSubject, rig: Rig, seed: number): KitOperation[] {
  const { steps = 400, hotOffsets = [] } = subject;
  return operations(rig.device.regions, rig.stimuli.length, seed, steps, hotOffsets);
}

function sameState(a: Snapshot, b: Snapshot, why: string): void {
  const difference = equal(a, b, 'snapshot');
  check(difference === null, () => `${why}: ${difference}`);
}

/** Runs the same operations on two rigs and demands the same reads, effects and state. */
function sameBehaviour(subject: DeviceSubject, a: Rig, b: Rig, seed: number, why: string): void {
  const [linesA, linesB] = [a.ports.highLines(), b.ports.highLines()];
  check(linesA === linesB, () => `${why}: lines that are high: [${linesA}] against [${linesB}]`);
  const list = plan(subject, a, seed);
  a.ports.effects.length = 0;
  b.ports.effects.length = 0;
  const readsA = run(subject, a, list, why);
  const readsB = run(subject, b, list, why);
  const reads = equal(readsA, readsB, 'reads');
  check(reads === null, () => `${why}: ${reads}`);
  const effects = equal(a.ports.effects, b.ports.effects, 'effects');
  check(effects === null, () => `${why}: ${effects}`);
  sameState(a.device.snapshot(), b.device.snapshot(), why);
}

/** Expects a refusal with the right code and no change. */
function refuses(device: Device, snapshot: Snapshot, why: string): void {
  const before = device.snapshot();
  try {
    device.restore(snapshot);
  } catch (error) {
    check(
      isVmmError(error) && error.code === 'snapshot-mismatch',
      () => `${why}: refused with ${String(error)}, not with VmmError('snapshot-mismatch')`,
    );
    sameState(before, device.snapshot(), `${why}: refused, yet the device changed`);
    return;
  }
  fail(`${why}: restored`);
}

function describeRegions(device: Device): void {
  check(device.name !== '', () => 'the device has no name');
  for (const region of device.regions) {
    const limit = region.space === 'io' ? 0x10000 : 2 ** 52;
    check(
      Number.isSafeInteger(region.base) &&
        Number.isSafeInteger(region.length) &&
        region.base >= 0 &&
        region.length > 0 &&
        region.base + region.length <= limit,
      () => `region ${region.name} is out of range`,
    );
    check(region.name !== '', () => `the region at ${region.base} has no name`);
    for (const other of device.regions) {
      const apart =
        other === region ||
        other.space !== region.space ||
        other.base >= region.base + region.length ||
        region.base >= other.base + other.length;
      check(apart, () => `regions ${region.name} and ${other.name} overlap`);
    }
  }
}

function restoresExactly(subject: DeviceSubject, seed: number, used: boolean): void {
  const why = `seed ${seed}`;
  const a = build(subject);
  run(subject, a, plan(subject, a, seed), why);
  const saved = a.device.snapshot();
  const b = build(subject);
  // A device that was used before must not keep anything of that life.
  if (used) run(subject, b, plan(subject, b, seed + 1000), `${why}, the other device`);
  b.ports.catchUp(a.ports);
  b.device.restore(plainCopy(saved));
  sameState(saved, b.device.snapshot(), `${why}, right after the restore`);
  sameBehaviour(subject, a, b, seed + 2000, `${why}, after the restore`);
}

function resetsToFresh(subject: DeviceSubject, seed: number): void {
  const why = `seed ${seed}`;
  const a = build(subject);
  run(subject, a, plan(subject, a, seed), why);
  a.device.reset();
  const b = build(subject, a.ports.clock.now());
  b.ports.catchUp(a.ports);
  sameState(b.device.snapshot(), a.device.snapshot(), `${why}, after the reset`);
  sameBehaviour(subject, b, a, seed + 3000, `${why}, after the reset`);
}

function snapshotIsData(subject: DeviceSubject, seed: number): void {
  const rig = build(subject);
  run(subject, rig, plan(subject, rig, seed), `seed ${seed}`);
  const saved = rig.device.snapshot();
  const found = stray(saved.state, 'state');
  check(found === null, () => `seed ${seed}: ${found}`);
  const size = snapshotSize(saved.state);
  const limit = subject.maxStateBytes ?? 65_536;
  check(size <= limit, () => `seed ${seed}: the snapshot has ${size} bytes, over ${limit}`);
  sameState(saved, rig.device.snapshot(), `seed ${seed}, two snapshots at one moment`);
  const copy = plainCopy(saved);
  run(subject, rig, plan(subject, rig, seed + 4000), `seed ${seed}`);
  rig.device.snapshot();
  sameState(copy, saved, `seed ${seed}: later accesses changed a snapshot`);
}

function refusesForeign(subject: DeviceSubject): void {
  const rig = build(subject);
  run(subject, rig, plan(subject, rig, 7), 'seed 7');
  const saved = rig.device.snapshot();
  const { device } = rig;
  refuses(device, { ...saved, version: saved.version + 1 }, 'a later version');
  refuses(device, { ...saved, version: 0 }, 'version 0');
  refuses(device, { ...saved, type: `${saved.type}-other` }, 'another type');
  for (const { state, what } of damagedCopies(saved.state)) {
    refuses(device, { ...saved, state }, `a state ${what}`);
  }
}

/** Declares the tests of one device with the functions of a test framework. */
export function deviceKit(runner: KitRunner, subject: DeviceSubject): void {
  const seeds = Array.from({ length: subject.seeds ?? 20 }, (_, index) => index + 1);
  const { it } = runner;
  runner.describe(`device kit: ${subject.name}`, () => {
    it('has a name and regions that exist and lie apart', () => {
      describeRegions(build(subject).device);
    });
    it('takes any access: no throw, unsigned values of the right size, few timers', () => {
      for (const seed of seeds) {
        const rig = build(subject);
        run(subject, rig, plan(subject, rig, seed), `seed ${seed}`);
      }
    });
    it('repeats: equal accesses give equal reads, effects and state', () => {
      for (const seed of seeds) {
        sameBehaviour(subject, build(subject), build(subject), seed, `seed ${seed}`);
      }
    });
    it('saves bounded plain data that later accesses do not change', () => {
      for (const seed of seeds) snapshotIsData(subject, seed);
    });
    it('restores into a fresh device, which then behaves the same', () => {
      for (const seed of seeds) restoresExactly(subject, seed, false);
    });
    it('restores into a used device, which then behaves the same', () => {
      for (const seed of seeds) restoresExactly(subject, seed, true);
    });
    it('resets to the state of a fresh device', () => {
      for (const seed of seeds) resetsToFresh(subject, seed);
    });
    it('refuses foreign and damaged snapshots, unchanged', () => {
      refusesForeign(subject);
    });
    it('drains, and releases its timers when disposed', async () => {
      const rig = build(subject);
      run(subject, rig, plan(subject, rig, 11), 'seed 11');
      await rig.device.drain();
      await rig.device.dispose?.();
      check(rig.ports.clock.timers === 0, () => `${rig.ports.clock.timers} timers are left`);
    });
  });
}
