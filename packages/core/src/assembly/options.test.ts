// Options: sizes, seeds, dates, and what is refused with the path of the wrong field.
import { describe, expect, test } from 'vitest';
import type { VmmError } from '../interfaces/index.js';
import type { VmOptions } from '../machine/vm.js';
import { FakeHost } from '../testing/fake-host.js';
import { parseSize, resolveOptions } from './options.js';

describe('sizes', () => {
  test.each([
    ['4096', 4096],
    ['512K', 524_288],
    [' 256m ', 268_435_456],
    ['2G', 2_147_483_648],
    ['0', 0],
  ])('%j is %d bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', 'M', '-1', '1.5G', '12T', '1e6', '0x100', '99999999999G'])(
    '%j is none',
    (text) => {
      expect(() => parseSize(text, 'memory')).toThrow('is not a size');
    },
  );
});

describe('the seed', () => {
  test('is fresh unless given, and then the date is the host’s', () => {
    const host = new FakeHost(1_800_000_000);
    const one = resolveOptions({ host });
    host.chance = 0x11;
    const two = resolveOptions({ host });
    expect(one.seed).not.toBe(two.seed);
    expect(one.seed < 2n ** 53n).toBe(true);
    expect(one.epochSeconds).toBe(1_800_000_000);
  });

  test('fixes the date, another seed another one', () => {
    const dates = [1, 2, 2 ** 40].map((seed) => {
      const host = new FakeHost(5);
      const [first, again] = [resolveOptions({ seed, host }), resolveOptions({ seed, host })];
      expect(first.epochSeconds).toBe(again.epochSeconds);
      return new Date(first.epochSeconds * 1000).getUTCFullYear();
    });
    expect(dates).toEqual([2024, 2024, 2024]);
    expect(resolveOptions({ seed: 1 }).epochSeconds).not.toBe(
      resolveOptions({ seed: 2 }).epochSeconds,
    );
    expect(resolveOptions({ seed: 1, epochSeconds: 7 }).epochSeconds).toBe(7);
  });

  test('may be a number, a bigint or text, up to 64 bits', () => {
    expect(resolveOptions({ seed: '0x10' }).seed).toBe(16n);
    expect(resolveOptions({ seed: 2n ** 64n - 1n }).seed).toBe(2n ** 64n - 1n);
  });
});

describe('what cannot be is refused', () => {
  test.each<[VmOptions, string]>([
    [{ memory: 0 }, 'memory'],
    [{ memory: '0' }, 'memory'],
    [{ memory: 1_000_001 }, 'memory'],
    [{ memory: Number.NaN }, 'memory'],
    [{ memory: '99999G' }, 'memory'],
    [{ memory: 'lots' }, 'memory'],
    [{ cpus: 0 }, 'cpus'],
    [{ cpus: 1.5 }, 'cpus'],
    [{ cpus: 4096 }, 'cpus'],
    [{ seed: -1 }, 'seed'],
    [{ seed: 'abc' }, 'seed'],
    [{ seed: 1.5 }, 'seed'],
    [{ seed: 2n ** 64n }, 'seed'],
    [{ epochSeconds: -5 }, 'epochSeconds'],
    [{ clock: 'sundial' as 'wall' }, 'clock'],
    [{ onReset: 'explode' as 'stop' }, 'onReset'],
    [{ slice: 0 }, 'slice'],
    [{ quantum: Number.POSITIVE_INFINITY }, 'quantum'],
    [{ replay: { inputs: [], memory: 4096 * 100 }, memory: '1M' }, 'memory'],
  ])('%o', (options, path) => {
    let error: VmmError | undefined;
    try {
      resolveOptions(options);
    } catch (each) {
      error = each as VmmError;
    }
    expect(error).toMatchObject({ code: 'invalid-config', path });
    expect(error?.message).not.toContain('\n');
  });
});

test('a replay brings what it was recorded with', () => {
  const replay = { inputs: [], memory: 2 ** 20, cpus: 3, seed: '9', epochSeconds: 77 };
  expect(resolveOptions({ replay })).toMatchObject({
    memory: 2 ** 20,
    cpus: 3,
    seed: 9n,
    epochSeconds: 77,
    clock: 'icount',
  });
});
