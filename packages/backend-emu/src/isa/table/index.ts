/**
 * The whole instruction table: the opcode maps with the x87 escapes, and what VEX adds.
 */
import { PRIMARY } from './primary.js';
import { type Entry, isRow, type Row } from './row.js';
import { SECONDARY } from './secondary.js';
import { SSE_0F } from './sse.js';
import { SSE_0F3A } from './sse-3a.js';
import { SSE_0F38 } from './sse-38.js';
import { VEX_0F3A, VEX_0F38 } from './vex.js';
import { X87 } from './x87.js';

/**
 * Entries of the one-byte, 0F, 0F 38 and 0F 3A maps, 256 each; D8 to DF lie in the first. Then
 * those of VEX maps 2 and 3.
 */
export interface OpcodeMaps {
  readonly primary: readonly Entry[];
  readonly secondary: readonly Entry[];
  readonly map38: readonly Entry[];
  readonly map3a: readonly Entry[];
  readonly vex38: readonly Entry[];
  readonly vex3a: readonly Entry[];
}

function full(...sparse: Readonly<Record<number, Entry>>[]): Entry[] {
  const entries: Entry[] = Array.from({ length: 256 }, () => null);
  for (const map of sparse) {
    for (const [opcode, entry] of Object.entries(map)) entries[Number(opcode)] = entry;
  }
  return entries;
}

export const OPCODE_MAPS: OpcodeMaps = {
  primary: full(Object.fromEntries(PRIMARY.entries()), X87),
  secondary: full(SECONDARY, SSE_0F),
  map38: full(SSE_0F38),
  map3a: full(SSE_0F3A),
  vex38: full(VEX_0F38),
  vex3a: full(VEX_0F3A),
};

/** Rows under an entry, in the order of the manual. */
export function rowsOf(entry: Entry): Row[] {
  if (entry === null) return [];
  if (isRow(entry)) return [entry];
  switch (entry.by) {
    case 'mod':
      return [...rowsOf(entry.memory), ...rowsOf(entry.register)];
    case 'mode':
      return [...rowsOf(entry.legacy), ...rowsOf(entry.long)];
    default:
      return entry.entries.flatMap(rowsOf);
  }
}

/** Every row of the table once. */
export function allRows(maps: OpcodeMaps = OPCODE_MAPS): Row[] {
  const { primary, secondary, map38, map3a, vex38, vex3a } = maps;
  const entries = [primary, secondary, map38, map3a, vex38, vex3a].flat();
  return [...new Set(entries.flatMap(rowsOf))];
}
