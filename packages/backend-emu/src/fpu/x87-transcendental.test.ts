/** Transcendentals against the host's doubles and where their values are known exactly. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { rounded } from './arithmetic.js';
import { fpuFunctions } from './functions.js';
import { DOUBLE, newRounding, pack64, pack80, unpack64, unpack80 } from './real.js';

const view = new DataView(new ArrayBuffer(L.RECORD_SIZE));
const scratch = new DataView(new ArrayBuffer(8));
const PE = 0x20;
const C2 = 0x400;

function realOf(value: number): ReturnType<typeof unpack64> {
  scratch.setFloat64(0, value);
  return unpack64(scratch.getBigUint64(0));
}

/** Runs a function on a stack; the stack that it leaves, as doubles, and the status word. */
function run(name: string, ...stack: readonly number[]): { stack: number[]; status: number } {
  view.setUint16(L.FCW, 0x37f, true);
  view.setUint16(L.FSW, 0, true);
  view.setUint16(L.FTW, 0xffff, true);
  stack.forEach((value, i) => {
    const { mantissa, signExponent } = pack80(realOf(value));
    view.setBigUint64(L.ST + i * 16, mantissa, true);
    view.setUint16(L.ST + i * 16 + 8, signExponent, true);
    view.setUint16(L.FTW, view.getUint16(L.FTW, true) & ~(3 << (i * 2)), true);
  });
  fpuFunctions[`x87${name}`](view);
  const status = view.getUint16(L.FSW, true);
  const top = (status >> 11) & 7;
  const left: number[] = [];
  for (let i = 0; i < 8; i++) {
    const physical = (top + i) & 7;
    if (((view.getUint16(L.FTW, true) >> (physical * 2)) & 3) === 3) break;
    const at = L.ST + physical * 16;
    const real = unpack80(view.getBigUint64(at, true), view.getUint16(at + 8, true));
    scratch.setBigUint64(0, pack64(rounded(real, DOUBLE, newRounding(0, 63))));
    left.push(scratch.getFloat64(0));
  }
  return { stack: left, status };
}

function close(actual: number, expected: number): void {
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(Math.abs(expected) * 2 ** -51);
}

describe('transcendentals', () => {
  const moderate = fc.double({ min: -20, max: 20, noNaN: true });
  const positive = fc.double({ min: 1e-10, max: 1e10, noNaN: true });

  it('agree with the host', () => {
    fc.assert(
      fc.property(moderate, positive, (a, b) => {
        close(run('FSIN', a).stack[0], Math.sin(a));
        close(run('FCOS', a).stack[0], Math.cos(a));
        close(run('FPTAN', a).stack[1], Math.tan(a));
        close(run('FPATAN', b, a).stack[0], Math.atan2(a, b));
        close(run('F2XM1', a / 20).stack[0], Math.expm1((a / 20) * Math.LN2));
        close(run('FYL2X', b, 1).stack[0], Math.log2(b));
        const small = a / 100;
        close(run('FYL2XP1', small, 1).stack[0], Math.log1p(small) / Math.LN2);
      }),
      { numRuns: 100 },
    );
  });

  it('are exact where the value is', () => {
    expect(run('F2XM1', 1).stack).toEqual([1]);
    expect(run('F2XM1', -1).stack).toEqual([-0.5]);
    expect(run('FYL2X', 8, 5).stack).toEqual([15]);
    expect(run('FYL2X', 0.25, 3).stack).toEqual([-6]);
    expect(run('FSIN', -0).stack).toEqual([-0]);
    expect(run('FCOS', 0).stack).toEqual([1]);
    expect(run('FSINCOS', 0).stack).toEqual([1, 0]);
    expect(run('FPATAN', 1, 0).stack).toEqual([0]);
  });

  it('round tiny arguments and say that they do', () => {
    const { stack, status } = run('FSIN', 2 ** -500);
    expect(stack).toEqual([2 ** -500]);
    expect(status & PE).toBe(PE);
    expect(run('FPATAN', 1, 2 ** -700).stack).toEqual([2 ** -700]);
    close(run('F2XM1', 2 ** -700).stack[0], 2 ** -700 * Math.LN2);
  });

  it('leave angles from 2^63 on alone', () => {
    const { stack, status } = run('FSIN', 2 ** 63);
    expect(stack).toEqual([2 ** 63]);
    expect(status & C2).toBe(C2);
  });

  it('answer a missing operand with the indefinite value', () => {
    const { stack, status } = run('FYL2X');
    expect(stack).toEqual([Number.NaN]);
    expect(status & 0x41).toBe(0x41);
  });
});
