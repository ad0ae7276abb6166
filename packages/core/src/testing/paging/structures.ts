/**
 * The translation structures that the paging programs of the corpus go through: every mode and page
 * size, and where their tables and the page under test lie. Guest addresses below 2 MiB are mapped
 * to themselves for the program; the top-level entries of the page under test are its own.
 *
 * Source: AMD APM vol. 2, 5.2 (32-bit, PAE) and 5.3 (four and five levels).
 */

export type PagingMode = 'legacy' | 'pae' | 'long4' | 'long5';

export interface PagingStructure {
  readonly name: string;
  readonly mode: PagingMode;
  /** Lowest address bit that each level translates, root first; the last is the page's size. */
  readonly shifts: readonly number[];
  /** Index of the entry in the table of each level. */
  readonly indices: readonly number[];
}

/** System-physical addresses. */
export const FRAME = 0x150000;
const TABLES = 0x130000;
export const PAGE_SIZE = 4096;

const NAMES: Readonly<Record<number, string>> = { 12: '4K', 21: '2M', 22: '4M', 30: '1G' };
/** Top-level indices in the upper half of the address space, where it has one. */
const MODES: readonly (readonly [PagingMode, readonly number[], readonly number[], string])[] = [
  ['legacy', [22, 12], [0x201, 3], '32-bit'],
  ['pae', [30, 21, 12], [2, 5, 3], 'PAE'],
  ['long4', [39, 30, 21, 12], [0x1f0, 1, 5, 3], '4 levels'],
  ['long5', [48, 39, 30, 21, 12], [0x102, 0x1f0, 1, 5, 3], '5 levels'],
];
const LARGE: Readonly<Record<PagingMode, readonly number[]>> = {
  legacy: [22],
  pae: [21],
  long4: [21, 30],
  long5: [21, 30],
};

export const PAGING_STRUCTURES: readonly PagingStructure[] = MODES.flatMap(
  ([mode, shifts, indices, name]) =>
    [12, ...LARGE[mode]].map((leaf) => ({
      name: `${name}, ${NAMES[leaf]} pages`,
      mode,
      shifts: shifts.filter((shift) => shift >= leaf),
      indices: indices.slice(0, shifts.indexOf(leaf) + 1),
    })),
);

export const isLong = ({ mode }: PagingStructure): boolean => mode.startsWith('long');

/** Bytes of an entry. */
export const entrySize = ({ mode }: PagingStructure): number => (mode === 'legacy' ? 4 : 8);

export const leafShift = ({ shifts }: PagingStructure): number => shifts[shifts.length - 1]!;

/** Physical address of the table of a level below the root. */
export const tableAt = (level: number): number => TABLES + level * PAGE_SIZE;

/** Linear address of the page under test, sign-extended. */
export function testAddress(structure: PagingStructure): bigint {
  const { shifts, indices } = structure;
  const inPage = BigInt(FRAME) & ((1n << BigInt(leafShift(structure))) - 1n);
  const address = shifts.reduce(
    (sum, shift, level) => sum | (BigInt(indices[level]!) << BigInt(shift)),
    inPage,
  );
  if (!isLong(structure)) return address;
  return BigInt.asUintN(64, BigInt.asIntN(structure.mode === 'long5' ? 57 : 48, address));
}

/** What the address in an entry of this level is when nothing else is in it. */
export function entryAddress(structure: PagingStructure, level: number): bigint {
  if (level < structure.shifts.length - 1) return BigInt(tableAt(level + 1));
  return BigInt(FRAME) & ~((1n << BigInt(leafShift(structure))) - 1n);
}
