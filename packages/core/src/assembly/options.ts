/**
 * Options of a VM: defaults, checks, and the seed.
 */

import type { ReplaySource } from '../input/recording.js';
import type { Clock, InputRecord } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { VmOptions } from '../machine/vm.js';
import type { HostPort } from '../time/host-port.js';
import { systemHost } from '../time/host-port.js';
import { deriveNumber, SEED_MAX } from '../time/random.js';

const PAGE_SIZE = 4096;
const MEMORY_DEFAULT = 256 * 2 ** 20;
const MEMORY_MIN = 64 * 2 ** 10;
/** Beyond any machine; a backend's own limit is lower and said by it. */
const MEMORY_MAX = 2 ** 44;
const CPUS_MAX = 255;
/** 2024-01-01 00:00:00 UTC: with a given seed the guest's clock starts within the year after. */
const EPOCH_BASE = 1_704_067_200;
const EPOCH_SPAN = 365 * 86_400;

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Bytes of a size such as `4096`, `512K`, `256M` or `2G` (binary units). */
export function parseSize(text: string, path = 'size'): number {
  const match = /^([0-9]{1,15})([KMG]?)$/.exec(text.trim().toUpperCase());
  const bytes = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2]!]!;
  if (!Number.isSafeInteger(bytes)) {
    throw new VmmError('invalid-config', `${JSON.stringify(text)} is not a size`, {
      path,
      remedy: 'give a number of bytes, or one with K, M or G, such as 256M',
    });
  }
  return bytes;
}

export interface ResolvedOptions {
  readonly memory: number;
  readonly cpus: number;
  readonly seed: bigint;
  readonly epochSeconds: number;
  readonly clock: Clock['mode'] | 'auto';
  readonly record: boolean | ((input: InputRecord) => void);
  readonly replay: ReplaySource | null;
  readonly onReset: 'stop' | 'reboot';
  readonly requireHardware: boolean;
  readonly slice: number;
  readonly quantum: number;
  readonly host: HostPort;
}

function invalid(path: string, message: string, remedy: string): never {
  throw new VmmError('invalid-config', message, { path, remedy });
}

function positive(path: string, value: number, max: number): number {
  if (!Number.isInteger(value) || value < 1 || value > max) {
    invalid(path, `${value} is not a number from 1 to ${max}`, `give a number from 1 to ${max}`);
  }
  return value;
}

function resolveMemory(memory: number | string | undefined): number {
  const bytes = typeof memory === 'string' ? parseSize(memory, 'memory') : memory;
  if (bytes === undefined) return MEMORY_DEFAULT;
  const remedy = 'give a size such as 256M';
  if (!Number.isSafeInteger(bytes) || bytes < MEMORY_MIN || bytes > MEMORY_MAX) {
    invalid('memory', `memory of ${bytes} bytes is not between 64K and 16384G`, remedy);
  }
  if (bytes % PAGE_SIZE !== 0) {
    invalid('memory', `memory of ${bytes} bytes is not a multiple of ${PAGE_SIZE}`, remedy);
  }
  return bytes;
}

function resolveSeed(seed: number | bigint | string): bigint {
  let value: bigint;
  try {
    value = BigInt(seed);
  } catch {
    invalid('seed', `${JSON.stringify(String(seed))} is not a whole number`, 'give a whole number');
  }
  if (value < 0n || value > SEED_MAX) {
    invalid('seed', `seed ${value} does not fit into 64 bits`, 'give a number from 0 to 2^64-1');
  }
  return value;
}

function freshSeed(host: HostPort): bigint {
  const bytes = new Uint8Array(8);
  host.entropy(bytes);
  // 53 bits: such a seed can be typed back in as a plain number.
  return new DataView(bytes.buffer).getBigUint64(0) >> 11n;
}

/** What option and recording say of one thing: the one that says it, an error if they differ. */
function agree<T>(path: string, given: T | undefined, recorded: T | undefined): T | undefined {
  if (given !== undefined && recorded !== undefined && given !== recorded) {
    invalid(
      path,
      `the recording was made with ${path} ${recorded}, not ${given}`,
      `leave out ${path} or give the recorded one`,
    );
  }
  return given ?? recorded;
}

function optional<T, R>(value: T | undefined, resolve: (value: T) => R): R | undefined {
  return value === undefined ? undefined : resolve(value);
}

function recording({ record }: VmOptions): boolean {
  return record !== undefined && record !== false;
}

function resolveClock(options: VmOptions): Clock['mode'] | 'auto' {
  const clock = options.clock ?? 'auto';
  if (clock !== 'auto' && clock !== 'icount' && clock !== 'wall') {
    invalid('clock', `there is no clock ${JSON.stringify(clock)}`, 'give icount, wall or auto');
  }
  const repeatable = recording(options) || options.replay !== undefined;
  if (repeatable && clock === 'wall') {
    invalid('clock', 'a run by the wall clock cannot be recorded or replayed', 'use icount');
  }
  return repeatable ? 'icount' : clock;
}

function resolveEpoch(given: number | undefined, seed: bigint | undefined, host: HostPort): number {
  if (given !== undefined) {
    if (Number.isSafeInteger(given) && given >= 0) return given;
    invalid('epochSeconds', `${given} is no date`, 'give whole seconds since 1970');
  }
  if (seed === undefined) return host.epochSeconds();
  return EPOCH_BASE + deriveNumber(seed, 'epoch', EPOCH_SPAN);
}

/** Fills in defaults; `VmmError('invalid-config')` names the wrong field. */
export function resolveOptions(options: VmOptions): ResolvedOptions {
  const host = options.host ?? systemHost();
  const replay = options.replay ?? null;
  const onReset = options.onReset ?? 'stop';
  if (onReset !== 'stop' && onReset !== 'reboot') {
    invalid('onReset', `cannot ${JSON.stringify(onReset)} on reset`, 'give stop or reboot');
  }
  const seed = agree(
    'seed',
    optional(options.seed, resolveSeed),
    optional(replay?.seed, resolveSeed),
  );
  const epoch = agree('epochSeconds', options.epochSeconds, replay?.epochSeconds);
  const memory = agree('memory', optional(options.memory, resolveMemory), replay?.memory);
  return {
    memory: resolveMemory(memory),
    cpus: positive('cpus', agree('cpus', options.cpus, replay?.cpus) ?? 1, CPUS_MAX),
    seed: seed ?? freshSeed(host),
    epochSeconds: resolveEpoch(epoch, seed, host),
    clock: resolveClock(options),
    record: typeof options.record === 'function' ? options.record : recording(options),
    replay,
    onReset,
    requireHardware: options.requireHardware ?? false,
    slice: positive('slice', options.slice ?? 200_000, 10_000_000),
    quantum: positive('quantum', options.quantum ?? 20_000, 10_000_000),
    host,
  };
}
