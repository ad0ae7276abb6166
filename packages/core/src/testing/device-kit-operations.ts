/** The operations of the device kit: chosen from a seed, performed on a device. */
import type { Device, DeviceRegion } from '../interfaces/index.js';
import type { KitPorts } from './device-kit-ports.js';
import { FakeRandom } from './fakes.js';

export type KitOperation =
  | {
      readonly kind: 'read';
      readonly region: number;
      readonly offset: number;
      readonly size: number;
    }
  | {
      readonly kind: 'write';
      readonly region: number;
      readonly offset: number;
      readonly size: number;
      readonly value: number;
    }
  /** Time goes on: every timer at its moment, or all at once and late. */
  | { readonly kind: 'advance' | 'jump'; readonly value: number }
  /** The sink opens or closes. */
  | { readonly kind: 'sink'; readonly value: boolean }
  | { readonly kind: 'stimulus'; readonly index: number; readonly value: number };

const SIZES = [1, 1, 1, 2, 4] as const;
/** Values at which registers are likely to behave in a special way. */
const VALUES = [0, 1, 2, 4, 0x0f, 0x10, 0x11, 0x20, 0x36, 0x55, 0x7f, 0x80, 0xaa, 0xff] as const;

/** How far time goes in one step, from a few ticks to a day; long ones at once. */
const STEPS = [1_000, 10_000, 100_000] as const;
const JUMPS = [1_000_000, 1_000_000_000, 86_400_000_000_000] as const;

function pick<T>(random: FakeRandom, list: readonly T[]): T {
  return list[random.below(list.length)] as T;
}

function value(random: FakeRandom, size: number): number {
  if (random.below(3) === 0) return pick(random, VALUES);
  return random.u32() % 2 ** (8 * size);
}

function access(
  random: FakeRandom,
  regions: readonly DeviceRegion[],
  hotOffsets: readonly (readonly number[])[],
): KitOperation {
  const region = random.below(regions.length);
  const length = regions[region]?.length ?? 1;
  let size: number = pick(random, SIZES);
  while (size > length) size /= 2;
  const hot = hotOffsets[region] ?? [];
  const wanted =
    hot.length > 0 && random.below(4) !== 0 ? pick(random, hot) : random.below(length - size + 1);
  const offset = Math.min(wanted, length - size);
  if (random.below(2) === 0) return { kind: 'read', region, offset, size };
  return { kind: 'write', region, offset, size, value: value(random, size) };
}

/** `count` operations, the same for the same arguments. */
export function operations(
  regions: readonly DeviceRegion[],
  stimuli: number,
  seed: number,
  count: number,
  hotOffsets: readonly (readonly number[])[],
): KitOperation[] {
  const random = new FakeRandom(seed);
  const list: KitOperation[] = [];
  while (list.length < count) {
    const choice = random.below(20);
    if (choice === 0) list.push({ kind: 'jump', value: random.below(pick(random, JUMPS)) });
    else if (choice <= 2) list.push({ kind: 'advance', value: random.below(pick(random, STEPS)) });
    else if (choice === 3) list.push({ kind: 'sink', value: random.below(2) === 0 });
    else if (choice <= 6 && stimuli > 0) {
      list.push({ kind: 'stimulus', index: random.below(stimuli), value: random.u32() });
    } else if (regions.length > 0) list.push(access(random, regions, hotOffsets));
  }
  return list;
}

/** Performs one operation; the value for a read, else null. */
export function perform(
  rig: {
    readonly device: Device;
    readonly ports: KitPorts;
    readonly stimuli: readonly ((bits: number) => void)[];
  },
  operation: KitOperation,
): number | null {
  const { device, ports, stimuli } = rig;
  switch (operation.kind) {
    case 'read':
      return device.read(operation.region, operation.offset, operation.size);
    case 'write':
      device.write(operation.region, operation.offset, operation.size, operation.value);
      return null;
    case 'advance':
      ports.clock.advance(operation.value);
      return null;
    case 'jump':
      ports.clock.jump(operation.value);
      return null;
    case 'sink':
      ports.sink.open = operation.value;
      return null;
    default:
      stimuli[operation.index]?.(operation.value);
      return null;
  }
}
