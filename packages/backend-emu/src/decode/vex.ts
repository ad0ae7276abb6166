/**
 * The VEX prefixes: C4 with two bytes, C5 with one.
 *
 * Source: AMD APM vol. 3, 1.7 and vol. 4, 1.2.2. Every VEX instruction that this processor has
 * works on general registers and needs VEX.L 0.
 */
import { MODE_REAL } from '../cpu/mode.js';
import type { InstructionBytes } from './instruction-bytes.js';
import type { Prefixes } from './prefixes.js';

export const VEX3 = 0xc4;
export const VEX2 = 0xc5;

const VEX_L = 4;
const PP_REP = [0, 0, 0xf3, 0xf2] as const;

/** Whether `opcode` begins a VEX prefix; outside 64-bit mode it may be LES or LDS. */
export function isVex(opcode: number, bytes: InstructionBytes, { mode, long }: Prefixes): boolean {
  if (opcode !== VEX3 && opcode !== VEX2) return false;
  return long || ((mode & MODE_REAL) === 0 && bytes.next >= 0xc0);
}

/**
 * Reads the bytes behind `opcode` into `prefixes`: the number of the opcode map, or -1 where the
 * instruction is undefined.
 */
export function readVex(opcode: number, bytes: InstructionBytes, prefixes: Prefixes): number {
  const { rex, operand66, lock, rep, long } = prefixes;
  const refused = rex !== 0 || operand66 || lock || rep !== 0;
  const first = bytes.u8();
  const last = opcode === VEX3 ? bytes.u8() : first;
  const map = opcode === VEX3 ? first & 31 : 1;
  // R, X and B are inverted; the short form has neither X nor B, nor W.
  const inverted = opcode === VEX3 ? first >> 5 : (first >> 5) | 3;
  const wide = opcode === VEX3 ? (last >> 7) << 3 : 0;
  prefixes.vex = true;
  prefixes.rex = long ? 0x40 | wide | (inverted ^ 7) : 0;
  // The same bits of a register number that REX would extend do not count elsewhere.
  prefixes.vexRegister = ((last >> 3) & 15) ^ 15;
  prefixes.operand66 = (last & 3) === 1;
  prefixes.rep = PP_REP[last & 3];
  return refused || (last & VEX_L) !== 0 ? -1 : map;
}
