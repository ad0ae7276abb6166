/**
 * The decoder against iced-x86: random and mutated byte strings, and every opcode with every ModRM
 * byte, in 16-, 32- and 64-bit mode.
 *
 * A sample in the unit run, 10^7 strings and all encodings with CLOISTER_FULL=1. The seed is
 * printed; CLOISTER_SEED repeats a run, CLOISTER_CASES sets the number of strings.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { MODE_16, MODE_32, MODE_64 } from '../../packages/backend-emu/src/cpu/mode.js';
import { Decoder, TRUNCATED } from '../../packages/backend-emu/src/decode/decoder.js';
import { MAX_LENGTH } from '../../packages/backend-emu/src/decode/instruction-bytes.js';
import { formOf, variantsOf } from '../../packages/backend-emu/src/decode/variant.js';
import { isExtensionRow } from '../../packages/backend-emu/src/isa/extension-instructions.js';
import { allRows } from '../../packages/backend-emu/src/isa/index.js';
import { ByteStrings, ENCODINGS, STRING_SIZE, writeEncoding } from './byte-strings.js';
import { type Bits, Comparison } from './comparison.js';
import { absentNames, explained } from './deviations.js';
import { icedNames } from './names.js';

const FULL = process.env.CLOISTER_FULL === '1';
const seed = Number(process.env.CLOISTER_SEED ?? Date.now() % 2 ** 31);
const CASES = Number(process.env.CLOISTER_CASES ?? (FULL ? 10_000_000 : 20_000));
/** One encoding in so many; a prime, so that every part of the maps is met. */
const STRIDE = FULL ? 1 : 97;
const BATCH = 100_000;
/** Disagreements of a kind that are worth reading. */
const SHOWN = 3;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe(`decoder and iced-x86, seed ${seed}`, () => {
  const comparison = new Comparison();
  afterAll(() => comparison.close());

  /** Disagreements that no table explains, over `count` strings that `write` makes. */
  function run(count: number, write: (to: Uint8Array, at: number) => void): string[] {
    const found: string[] = [];
    const shown = new Map<string, number>();
    for (let done = 0; done < count; done += BATCH) {
      const size = Math.min(BATCH, count - done);
      const bytes = new Uint8Array(size * STRING_SIZE);
      for (let at = 0; at < bytes.length; at += STRING_SIZE) write(bytes, at);
      for (const bits of [16, 32, 64] as const) compareAll(bytes, bits, shown, found);
    }
    return found;
  }

  function compareAll(
    bytes: Uint8Array,
    bits: Bits,
    shown: Map<string, number>,
    found: string[],
  ): void {
    comparison.open(bytes, bits);
    for (let at = 0; at < bytes.length; at += STRING_SIZE) {
      const difference = comparison.compare(at);
      if (difference === null) continue;
      const code = hex(bytes.subarray(at, at + MAX_LENGTH));
      if (explained(difference, bits, code)) continue;
      const { kind, name, detail } = difference;
      const times = (shown.get(`${kind} ${name}`) ?? 0) + 1;
      shown.set(`${kind} ${name}`, times);
      if (times <= SHOWN) {
        found.push(`${bits}: ${code} ${kind} ${name}: ${detail}; ${comparison.text(at)}`);
      }
    }
  }

  it(`agree on ${CASES} random and mutated strings in three modes`, { timeout: 900_000 }, () => {
    const strings = new ByteStrings(seed);
    expect(run(CASES, (to, at) => strings.write(to, at))).toEqual([]);
  });

  it(`agree on one encoding in ${STRIDE}`, { timeout: 300_000 }, () => {
    let number = seed % STRIDE;
    const write = (to: Uint8Array, at: number): void => {
      writeEncoding(number, to, at);
      number += STRIDE;
    };
    expect(run(Math.floor(ENCODINGS / STRIDE), write)).toEqual([]);
  });

  it('find the end of the bytes alike: an instruction cut short is truncated', () => {
    const strings = new ByteStrings(seed);
    const bytes = new Uint8Array(STRING_SIZE);
    const decoder = new Decoder();
    for (let i = 0; i < 2000; i++) {
      strings.write(bytes, 0);
      for (const mode of [MODE_16, MODE_32, MODE_64]) {
        decoder.decode(bytes, 0, STRING_SIZE, mode);
        const { length, info } = decoder.out;
        if (info.form.mnemonic === 'UD') continue;
        const whole = info.key;
        for (let end = 1; end < length; end++) {
          const where = `${hex(bytes)} to ${end}`;
          expect([decoder.decode(bytes, 0, end, mode), where]).toEqual([TRUNCATED, where]);
        }
        decoder.decode(bytes, 0, length, mode);
        expect(decoder.out.info.key).toBe(whole);
      }
    }
  });
});

describe('what is not implemented', () => {
  it('is not in the instruction table', () => {
    const implemented = allRows()
      .filter((row) => !isExtensionRow(row))
      .flatMap((row) =>
        variantsOf(row).flatMap((variant) => {
          const info = formOf(row, variant);
          return info === null ? [] : icedNames(info);
        }),
      );
    const absent = absentNames();
    expect(implemented.filter((name) => absent.has(name))).toEqual([]);
  });
});
