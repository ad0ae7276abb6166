/**
 * From the instruction table to encodings: opcode bytes, mandatory prefix and what of ModRM an
 * entry fixes, for every row that a mode has.
 */
import { isExtensionRow } from '../../packages/backend-emu/src/isa/extension-instructions.js';
import { OPCODE_MAPS } from '../../packages/backend-emu/src/isa/table/index.js';
import { type Entry, isRow, type Row } from '../../packages/backend-emu/src/isa/table/row.js';
import type { Bits } from './user-state.js';

export interface Encoding {
  readonly row: Row;
  /** Escape bytes and opcode. */
  readonly opcode: readonly number[];
  /** The map behind a VEX prefix; 0: none. */
  readonly vex: number;
  /** ModRM.reg and ModRM.rm where the entry fixes them, else -1. */
  readonly reg: number;
  readonly rm: number;
  readonly mod: 'memory' | 'register' | 'any';
  /** The mandatory prefix; 0: none. */
  readonly prefix: number;
  /** Other prefixes choose other rows. */
  readonly selected: boolean;
  /** REX.W where it chooses the row. */
  readonly wide: boolean | null;
}

type Fixed = Omit<Encoding, 'row' | 'opcode'>;

const FREE: Fixed = { vex: 0, reg: -1, rm: -1, mod: 'any', prefix: 0, selected: false, wide: null };
const PREFIXES = [0, 0x66, 0xf3, 0xf2];

function walk(entry: Entry, opcode: readonly number[], bits: Bits, fixed: Fixed): Encoding[] {
  if (entry === null) return [];
  if (isRow(entry)) return [{ ...fixed, row: entry, opcode }];
  const down = (each: Entry, more: Partial<Fixed>): Encoding[] =>
    walk(each, opcode, bits, { ...fixed, ...more });
  switch (entry.by) {
    case 'reg':
      return entry.entries.flatMap((each, reg) => down(each, { reg }));
    case 'rm':
      return entry.entries.flatMap((each, rm) => down(each, { rm }));
    case 'mod':
      return [
        ...down(entry.memory, { mod: 'memory' }),
        ...down(entry.register, { mod: 'register' }),
      ];
    case 'prefix':
      return entry.entries.flatMap((each, i) =>
        down(each, { prefix: PREFIXES[i], selected: true }),
      );
    case 'wide':
      return [
        ...down(entry.entries[0], { wide: false }),
        ...(bits === 64 ? down(entry.entries[1], { wide: true }) : []),
      ];
    case 'mode':
      return down(bits === 64 ? entry.long : entry.legacy, {});
  }
}

/**
 * What 64-bit mode takes for other things: REX, EVEX. INTO and the rest are undefined opcodes
 * there, and compared; SYSENTER and SYSEXIT are so with one vendor only.
 */
const REUSED = /^(INC|DEC|BOUND|SYSENTER|SYSEXIT)$/;

/** Whether a row means something in the mode, if only an undefined opcode, without extensions. */
function isKnown({ row }: Encoding, bits: Bits): boolean {
  if (isExtensionRow(row)) return false;
  if (bits !== 64) return !row.flags.has('o64');
  return !row.flags.has('i64') || !REUSED.test(row.mnemonic);
}

/** Every encoding that the table has in a mode of `bits`, in the order of the maps. */
export function encodings(bits: Bits): Encoding[] {
  const { primary, secondary, map38, map3a, vex38, vex3a } = OPCODE_MAPS;
  const maps: [readonly number[], readonly Entry[], vex: number][] = [
    [[], primary, 0],
    [[0x0f], secondary, 0],
    [[0x0f, 0x38], map38, 0],
    [[0x0f, 0x3a], map3a, 0],
    [[], vex38, 2],
    [[], vex3a, 3],
  ];
  return maps
    .flatMap(([first, entries, vex]) =>
      entries.flatMap((entry, i) => walk(entry, [...first, i], bits, { ...FREE, vex })),
    )
    .filter((encoding) => isKnown(encoding, bits));
}

/** Operand codes that are fixed and take no bits of the instruction. */
const IMPLIED = new Set([
  'AL',
  'AX',
  'CL',
  'DX',
  'rAX',
  'eAX',
  '1',
  'es',
  'cs',
  'ss',
  'ds',
  'fs',
  'gs',
]);

export function isImplied(operand: string): boolean {
  return IMPLIED.has(operand);
}

/** Whether the encoding has a ModRM byte. */
export function hasModrm({ row, reg, rm, mod }: Encoding): boolean {
  if (reg >= 0 || rm >= 0 || mod !== 'any') return true;
  return row.operands.some((code) => !isImplied(code) && /^[EGMRSCDVWUPQNF]/.test(code));
}
