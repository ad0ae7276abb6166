/**
 * The cases of one structure, numbered: every combination of entry bits, privilege, kind of access,
 * CR0.WP, SMEP, SMAP, NX and protection key; the same with an entry that is not present; and every
 * single bit of every entry inverted, which finds the reserved ones. What a case leaves open
 * (global, available and caching bits, accessed bits of upper levels, other keys) is filled with
 * noise from its number.
 */
import { entryAddress, isLong, leafShift, type PagingStructure } from './structures.js';

export const KINDS = ['read', 'write', 'execute', 'implicit'] as const;

export interface PagingCase {
  /** As many as the structure has levels, root first. */
  readonly entries: readonly bigint[];
  readonly kind: (typeof KINDS)[number];
  readonly user: boolean;
  readonly writeProtect: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  /** EFLAGS.AC. */
  readonly ac: boolean;
  readonly noExecute: boolean;
  /** CR4.PKE and PKRU; undefined without keys. */
  readonly pkru: number | undefined;
}

export const P = 1n;
export const W = 2n;
export const U = 4n;
export const A = 0x20n;
export const D = 0x40n;
export const PS = 0x80n;
export const NX = 1n << 63n;
const KEY_SHIFT = 59n;

/** Dimensions of a product, by name, with their sizes; a case's number is mixed-radix. */
export type Dimensions = readonly (readonly [name: string, size: number])[];

export function product(dimensions: Dimensions): number {
  return dimensions.reduce((count, [, size]) => count * size, 1);
}

/** The value of each dimension in case `number`. */
export function valuesOf(dimensions: Dimensions, number: number): Record<string, number> {
  let rest = number;
  return Object.fromEntries(
    dimensions.map(([name, size]) => {
      const value = rest % size;
      rest = Math.floor(rest / size);
      return [name, value];
    }),
  );
}

function access(structure: PagingStructure): Dimensions {
  return [
    ['kind', KINDS.length],
    ['user', 2],
    ['wp', 2],
    ['smep', 2],
    ['smap', 3], // off, on, on with EFLAGS.AC
    ['nxe', 2],
    ['key', isLong(structure) ? 4 : 1], // off, allowed, no writes, no access
  ];
}

/** Levels above the leaf whose rights count: not PAE's top, which has none. */
function upperLevels({ mode, shifts }: PagingStructure): number[] {
  const levels = shifts.slice(0, -1).map((_, level) => level);
  return mode === 'pae' ? levels.slice(1) : levels;
}

/** The dimensions of the rights: bits of the leaf and of one level above it. */
export function rightsDimensions(structure: PagingStructure): Dimensions {
  const wide = structure.mode !== 'legacy' ? 2 : 1;
  const upper = upperLevels(structure).length;
  return [
    ['leafW', 2],
    ['leafU', 2],
    ['leafNx', wide],
    ['leafA', 2],
    ['leafD', 2],
    ['upper', Math.max(upper, 1)],
    ['upperW', upper === 0 ? 1 : 2],
    ['upperU', upper === 0 ? 1 : 2],
    ['upperNx', upper === 0 ? 1 : wide],
    ...access(structure),
  ];
}

/** A generator of noise from a case's number (xorshift32 of a hash). */
function noiseOf(number: number): () => number {
  let state = (Math.imul(number + 1, 0x9e3779b1) ^ 0x5bd1e995) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    return state;
  };
}

function settings(v: Record<string, number>, pkru: number | undefined) {
  return {
    kind: KINDS[v['kind']!]!,
    user: v['user'] === 1,
    writeProtect: v['wp'] === 1,
    smep: v['smep'] === 1,
    smap: v['smap'] !== 0,
    ac: v['smap'] === 2,
    noExecute: v['nxe'] === 1,
    pkru,
  };
}

/** PKRU that says `value` (0 allowed, 1 no writes, 2 no access) of `key`, noise of others. */
function pkruOf(value: number, key: number, noise: number): number {
  const bits = [0, 2, 1][value]!;
  return ((noise & ~(3 << (key * 2))) | (bits << (key * 2))) >>> 0;
}

/** Bits that mean nothing here: caching, available, and in the leaf global and the page's PAT. */
function idle(structure: PagingStructure, level: number, noise: number): bigint {
  const leaf = level === structure.shifts.length - 1;
  let mask = 0xe18n;
  if (leaf) mask |= leafShift(structure) === 12 ? 0x180n : 0x1100n;
  const high = isLong(structure) ? BigInt(noise & 0x7f) << 52n : 0n;
  return (BigInt(noise >>> 8) & mask) | high;
}

/** Case `number` of the rights. */
export function rightsCase(structure: PagingStructure, number: number): PagingCase {
  const v = valuesOf(rightsDimensions(structure), number);
  const noise = noiseOf(number);
  const key = isLong(structure) ? noise() & 15 : 0;
  const varied = upperLevels(structure)[v['upper']!];
  const last = structure.shifts.length - 1;
  const entries = structure.shifts.map((_, level) => {
    let bits = entryAddress(structure, level) | idle(structure, level, noise()) | P;
    if (level === last) {
      bits |= v['leafW'] === 1 ? W : 0n;
      bits |= v['leafU'] === 1 ? U : 0n;
      bits |= v['leafNx'] === 1 ? NX : 0n;
      bits |= v['leafA'] === 1 ? A : 0n;
      bits |= v['leafD'] === 1 ? D : 0n;
      if (leafShift(structure) !== 12) bits |= PS;
      return bits | (BigInt(key) << KEY_SHIFT);
    }
    if (structure.mode === 'pae' && level === 0) return bits;
    if ((noise() & 1) === 1) bits |= A;
    if (level !== varied) return bits | W | U;
    bits |= v['upperW'] === 1 ? W : 0n;
    bits |= v['upperU'] === 1 ? U : 0n;
    return bits | (v['upperNx'] === 1 ? NX : 0n);
  });
  const pkru = v['key'] === 0 ? undefined : pkruOf(v['key']! - 1, key, noise());
  return { entries, ...settings(v, pkru) };
}

/** The dimensions of absent entries: one of a level, whatever else it says. */
export function absentDimensions(structure: PagingStructure): Dimensions {
  return [
    ['absent', structure.shifts.length],
    ['w', 2],
    ['u', 2],
    ['nx', structure.mode === 'legacy' ? 1 : 2],
    ...access(structure),
  ];
}

/** Case `number` of the absent entries: the other levels are permissive. */
export function absentCase(structure: PagingStructure, number: number): PagingCase {
  const v = valuesOf(absentDimensions(structure), number);
  const noise = noiseOf(number);
  const entries = structure.shifts.map((_, level) => {
    if (level !== v['absent']) return permissive(structure, level);
    // All bits of an absent entry belong to software: address and reserved ones are noise.
    let bits = BigInt(noise()) & ~(P | W | U);
    if (structure.mode !== 'legacy') bits |= (BigInt(noise()) << 32n) & ~NX;
    bits |= v['w'] === 1 ? W : 0n;
    bits |= v['u'] === 1 ? U : 0n;
    return bits | (v['nx'] === 1 ? NX : 0n);
  });
  const pkru = v['key'] === 0 ? undefined : pkruOf(v['key']! - 1, 0, noise());
  return { entries, ...settings(v, pkru) };
}

/** An entry that allows everything. */
function permissive(structure: PagingStructure, level: number): bigint {
  const leaf = level === structure.shifts.length - 1;
  let bits = entryAddress(structure, level) | P;
  if (structure.mode !== 'pae' || level > 0) bits |= W | U;
  return leaf && leafShift(structure) !== 12 ? bits | PS : bits;
}

/**
 * Bits of the entry at `level` that can be inverted without sending the walk elsewhere: not those
 * of addresses that exist, nor the one that makes a table of a page; a 32-bit directory's PS would
 * lead to memory that is not there, and what PAE refuses in its top entries is #GP at MOV CR3.
 */
export function invertible(structure: PagingStructure, level: number, physicalBits: number) {
  const { mode, shifts } = structure;
  const last = shifts.length - 1;
  if (mode === 'pae' && level === 0) return [];
  const large = level === last && leafShift(structure) > 12;
  const low = level === last ? leafShift(structure) : 12;
  // PSE-36 has address bits 39:32 in bits 20:13 of an entry.
  const high = mode === 'legacy' ? 32 : physicalBits;
  const pse36 = (bit: number) => mode === 'legacy' && large && bit >= 13 && bit <= 20;
  const size = (bit: number) => bit === 7 && (large || (mode === 'legacy' && level < last));
  return Array.from({ length: mode === 'legacy' ? 32 : 64 }, (_, bit) => bit).filter(
    (bit) => !(bit >= low && bit < high) && !pse36(bit) && !size(bit),
  );
}

/** The dimensions of inverted bits. */
export function bitDimensions(structure: PagingStructure, physicalBits: number): Dimensions {
  const count = structure.shifts
    .map((_, level) => invertible(structure, level, physicalBits).length)
    .reduce((a, b) => a + b, 0);
  return [
    ['bit', count],
    ['below', 2], // whether the leaf is present
    ...access(structure),
  ];
}

/** Case `number` of the inverted bits: all else is permitted. */
export function bitCase(
  structure: PagingStructure,
  physicalBits: number,
  number: number,
): PagingCase {
  const v = valuesOf(bitDimensions(structure, physicalBits), number);
  const places = structure.shifts.flatMap((_, level) =>
    invertible(structure, level, physicalBits).map((bit) => [level, bit] as const),
  );
  const [at, bit] = places[v['bit']!]!;
  const last = structure.shifts.length - 1;
  const entries = structure.shifts.map((_, level) => {
    let bits = permissive(structure, level);
    if (level === last && v['below'] === 1) bits &= ~P;
    return level === at ? bits ^ (1n << BigInt(bit)) : bits;
  });
  const pkru = v['key'] === 0 ? undefined : pkruOf(v['key']! - 1, 0, noiseOf(number)());
  return { entries, ...settings(v, pkru) };
}

/** Numbers of cases of a product: all, or `most` that are the same each time, spread over it. */
export function caseNumbers(dimensions: Dimensions, most = Number.POSITIVE_INFINITY): number[] {
  const count = product(dimensions);
  if (count <= most) return Array.from({ length: count }, (_, number) => number);
  return Array.from({ length: most }, (_, index) => noiseOf(index)() % count);
}

/** The cases of a structure: rights, absent entries, inverted bits; all, or `most` of each. */
export function* pagingCases(
  structure: PagingStructure,
  physicalBits: number,
  most?: number,
): Generator<PagingCase> {
  const rights = rightsDimensions(structure);
  for (const n of caseNumbers(rights, most)) yield rightsCase(structure, n);
  for (const n of caseNumbers(absentDimensions(structure), most)) yield absentCase(structure, n);
  const bits = bitDimensions(structure, physicalBits);
  for (const n of caseNumbers(bits, most)) yield bitCase(structure, physicalBits, n);
}
