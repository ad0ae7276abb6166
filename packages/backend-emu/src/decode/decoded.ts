/**
 * What the decoder makes of an instruction.
 */
import * as L from '../cpu/layout.js';
import type { Row } from '../isa/table/row.js';
import type { FormInfo } from './variant.js';

/** One decoded instruction; reused by the decoder. */
export interface Decoded {
  info: FormInfo;
  /** The row of the table that it is of. */
  row: Row;
  /** Bytes. */
  length: number;
  /** Offsets into the vCPU record, or numbers, per operand. */
  readonly registers: Uint16Array;
  base: number;
  index: number;
  segment: number;
  ea: number;
  scale: number;
  immediate: number;
  displacementLo: number;
  displacementHi: number;
  /** The displacement counts from the end of the instruction. */
  relative: boolean;
}

/** The "register" of an absent base, index or segment: it is always zero. */
export const NONE = L.ZERO;

export function newDecoded(info: FormInfo, row: Row): Decoded {
  return {
    info,
    row,
    length: 0,
    registers: new Uint16Array(4),
    base: NONE,
    index: NONE,
    segment: NONE,
    ea: 0,
    scale: 0,
    immediate: 0,
    displacementLo: 0,
    displacementHi: 0,
    relative: false,
  };
}

/** Forgets all operands. */
export function clearOperands(out: Decoded): void {
  out.registers.fill(0);
  out.base = NONE;
  out.index = NONE;
  out.segment = NONE;
  out.ea = 0;
  out.scale = 0;
  out.immediate = 0;
  out.displacementLo = 0;
  out.displacementHi = 0;
  out.relative = false;
}

/** A displacement of 32 bits, sign-extended. */
export function setDisplacement(out: Decoded, value: number): void {
  out.displacementLo = value | 0;
  out.displacementHi = value < 0 ? -1 : 0;
}
