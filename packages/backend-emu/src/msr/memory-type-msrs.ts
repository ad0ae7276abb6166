/**
 * The memory-type range registers: fixed and variable ranges, and the default type.
 *
 * Source: AMD APM vol. 2, 7.7 "Memory-Type Range Registers". Types are kept and have no effect:
 * there are no caches. Kernels use all of PAT only where these exist and firmware has enabled them.
 */
import { msr as I } from '@cloister/core/cpu';
import type { MsrEntry } from './entry.js';

/** Registers of fixed ranges, and pairs of base and mask. */
const FIXED = [
  I.MTRR_FIX_64K,
  I.MTRR_FIX_16K,
  I.MTRR_FIX_16K + 1,
  ...Array.from({ length: 8 }, (_, index) => I.MTRR_FIX_4K + index),
];
const VARIABLE = 8;
/** MTRRCAP: eight variable ranges, fixed ranges, write combining. */
const CAPABILITIES = VARIABLE | (1 << 8) | (1 << 10);

/** MTRR_DEF_TYPE: E, FE; what firmware leaves, so that all of memory is write-back. */
const ENABLED = 1 << 11;
const FIXED_ENABLED = 1 << 10;
const HANDED_OVER = ENABLED | 6;
/** MTRR_PHYS_MASK: V. */
const VALID = 1 << 11;

/** Words of the state: the default type, then the low and high half of every other register. */
export const MEMORY_TYPE_WORDS = 1 + 2 * (FIXED.length + 2 * VARIABLE);

function isType(type: number): boolean {
  return type <= 6 && type !== 2 && type !== 3;
}

function areTypes(word: number): boolean {
  return [0, 8, 16, 24].every((shift) => isType((word >>> shift) & 0xff));
}

/** Which values a register takes. */
type Accept = (lo: number, hi: number) => boolean;

/** The registers over `state`, words of which are unsigned. */
export function memoryTypeMsrs(state: number[], physicalBits: number): MsrEntry[] {
  const beyond = ~((1 << (physicalBits - 32)) - 1);
  const base: Accept = (lo, hi) => isType(lo & 0xff) && (lo & 0xf00) === 0 && (hi & beyond) === 0;
  const mask: Accept = (lo, hi) => (lo & (VALID - 1)) === 0 && (hi & beyond) === 0;
  const types: Accept = (lo, hi) => areTypes(lo) && areTypes(hi);
  const variable = Array.from({ length: 2 * VARIABLE }, (_, index) => {
    const name = `MTRR_PHYS_${index % 2 === 0 ? 'BASE' : 'MASK'}${index >> 1}`;
    const accept = index % 2 === 0 ? base : mask;
    return kept(I.MTRR_PHYS_BASE + index, name, state, 1 + 2 * (FIXED.length + index), accept);
  });
  const fixed = FIXED.map((index, place) =>
    kept(index, `MTRR_FIX_${index.toString(16)}`, state, 1 + 2 * place, types),
  );
  return [capabilities(), defaultType(state), ...fixed, ...variable];
}

/** After RESET, and as firmware leaves them. */
export function resetMemoryTypes(state: number[]): void {
  state.fill(0);
  state[0] = HANDED_OVER;
}

function capabilities(): MsrEntry {
  return {
    index: I.MTRR_CAP,
    name: 'MTRR_CAP',
    read: (out) => {
      out.lo = CAPABILITIES;
      return true;
    },
    write: () => false,
  };
}

function defaultType(state: number[]): MsrEntry {
  const defined = 0xff | FIXED_ENABLED | ENABLED;
  return {
    index: I.MTRR_DEF_TYPE,
    name: 'MTRR_DEF_TYPE',
    read: (out) => {
      out.lo = state[0];
      return true;
    },
    write: (lo, hi) => {
      if (hi !== 0 || (lo & ~defined) !== 0 || !isType(lo & 0xff)) return false;
      state[0] = lo;
      return true;
    },
  };
}

function kept(index: number, name: string, state: number[], at: number, accept: Accept): MsrEntry {
  return {
    index,
    name,
    read: (out) => {
      out.lo = state[at];
      out.hi = state[at + 1];
      return true;
    },
    write: (lo, hi) => {
      if (!accept(lo, hi)) return false;
      state[at] = lo;
      state[at + 1] = hi;
      return true;
    },
  };
}
