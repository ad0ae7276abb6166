/**
 * What the generator of native cases reaches: every way to encode operands turns up, nothing is
 * longer than an instruction may be.
 */
import { describe, expect, it } from 'vitest';
import { nativeForms } from './forms.js';
import { type NativeCase, randomCase } from './native-cases.js';
import { RandomSource } from './random.js';
import { undefinedFlags } from './undefined-flags.js';
import type { Bits } from './user-state.js';

const LEGACY = new Set([0x26, 0x2e, 0x36, 0x3e, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

function cases(bits: Bits): NativeCase[] {
  const random = new RandomSource(1);
  return nativeForms(bits).forms.map((form) => randomCase(form, random));
}

interface Parts {
  readonly prefixes: readonly number[];
  readonly rex: number;
  readonly modrm: number;
}

/** Prefixes, REX and ModRM of a case whose form has ModRM. */
function parts({ code, form, bits }: NativeCase): Parts {
  let at = 0;
  while (LEGACY.has(code[at])) at++;
  const prefixes = [...code.subarray(0, at)];
  const rex = bits === 64 && (code[at] & 0xf0) === 0x40 ? code[at++] : 0;
  return { prefixes, rex, modrm: code[at + form.encoding.opcode.length] };
}

describe('the generator of native cases', () => {
  it.each([64, 32, 16] as const)('makes instructions of at most 15 bytes (%i)', (bits) => {
    expect(Math.max(...cases(bits).map(({ code }) => code.length))).toBeLessThanOrEqual(15);
  });

  it('uses every addressing form, REX bit and prefix in 64-bit code', () => {
    const memory = cases(64).filter(({ form }) => form.memory);
    const seen = memory.map(parts);
    const count = (test: (part: Parts) => boolean): number => seen.filter(test).length;
    const of = (mod: number, rm: number): number =>
      count(({ modrm }) => modrm >> 6 === mod && (modrm & 7) === rm);
    for (const mod of [0, 1, 2]) {
      for (let rm = 0; rm < 8; rm++) expect(of(mod, rm), `mod ${mod} rm ${rm}`).toBeGreaterThan(0);
    }
    for (const bit of [1, 2, 4, 8])
      expect(count(({ rex }) => (rex & bit) !== 0)).toBeGreaterThan(9);
    for (const prefix of LEGACY) {
      expect(
        count(({ prefixes }) => prefixes.includes(prefix)),
        `${prefix}`,
      ).toBeGreaterThan(3);
    }
  });

  it('uses high bytes and their successors under REX', () => {
    const bytes = cases(64).filter(({ form }) => form.name.includes('Eb,Gb') && !form.memory);
    const upper = bytes.map(parts).filter(({ modrm }) => (modrm & 4) !== 0);
    expect(upper.filter(({ rex }) => rex === 0).length).toBeGreaterThan(0);
    expect(upper.filter(({ rex }) => rex !== 0).length).toBeGreaterThan(0);
  });

  it('repeats itself by seed', () => {
    const [form] = nativeForms(64).forms;
    const make = (): NativeCase => randomCase(form, new RandomSource(7));
    expect(make().code).toEqual(make().code);
    expect(make().state.bytes).toEqual(make().state.bytes);
  });
});

describe('undefined flags', () => {
  it('depend on the count of shifts', () => {
    expect(undefinedFlags('SHL', 32, 0)).toBe(0);
    expect(undefinedFlags('SHL', 32, 32)).toBe(0);
    expect(undefinedFlags('SHL', 32, 1)).toBe(0x10);
    expect(undefinedFlags('SHR', 32, 2)).toBe(0x810);
    expect(undefinedFlags('SHL', 8, 9)).toBe(0x811);
    expect(undefinedFlags('RCL', 16, 1)).toBe(0);
    expect(undefinedFlags('ADD', 32, 0)).toBe(0);
  });
});
