/**
 * The decoding mode: what the bytes of an instruction mean besides the bytes themselves. It is part
 * of a block's key, so code decoded in one mode is never run in another.
 *
 * Source: AMD APM vol. 1, 2.2 (modes) and vol. 3, 1.2.2 and 1.2.3 (default sizes).
 */
import * as L from './layout.js';

/** Default operand and address size of the code segment. */
export const MODE_16 = 0;
export const MODE_32 = 1;
export const MODE_64 = 2;
export const MODE_SIZE_MASK = 3;
/** SS.B: the stack pointer is ESP (else SP). Not set in 64-bit mode. */
export const MODE_STACK_32 = 4;
/** Some segment is not flat (base 0, limit 4 GiB, writable): memory operands check segments. */
export const MODE_SEGMENTED = 8;
/** Real or virtual-8086 mode: instructions that these modes refuse are #UD. */
export const MODE_REAL = 16;
/** CS ends before 4 GiB: targets of branches and the ends of blocks are checked. */
export const MODE_CODE_LIMITED = 32;

export const ATTR_CODE = 1 << 3;
export const ATTR_EXPAND_DOWN = 1 << 2;
export const ATTR_WRITABLE = 1 << 1;
export const ATTR_S = 1 << 4;
export const ATTR_P = 1 << 7;
export const ATTR_L = 1 << 9;
export const ATTR_DB = 1 << 10;
export const ATTR_G = 1 << 11;

const CR0_PE = 1;
const EFER_LMA = 1 << 10;
const EFLAGS_VM = 1 << 17;

/** A flat segment needs no check on a memory operand. */
function isFlat(view: DataView, offset: number): boolean {
  const attributes = view.getUint16(offset + L.SEG_ATTRIBUTES, true);
  const base = view.getUint32(offset, true) | view.getUint32(offset + 4, true);
  const limit = view.getUint32(offset + L.SEG_LIMIT, true);
  const usable = ATTR_P | ATTR_S | ATTR_WRITABLE;
  const plainData = (attributes & (usable | ATTR_CODE | ATTR_EXPAND_DOWN)) === usable;
  return base === 0 && limit === 0xffffffff && plainData;
}

/** The mode key of the record that `view` (a DataView starting at cpuBase) shows. */
export function modeKey(view: DataView): number {
  const cs = view.getUint16(L.segmentOffset(L.SEG.cs) + L.SEG_ATTRIBUTES, true);
  const lma = (view.getUint32(L.EFER, true) & EFER_LMA) !== 0;
  if (lma && (cs & ATTR_L) !== 0) return MODE_64;
  const size = (cs & ATTR_DB) !== 0 ? MODE_32 : MODE_16;
  const ss = view.getUint16(L.segmentOffset(L.SEG.ss) + L.SEG_ATTRIBUTES, true);
  const stack = (ss & ATTR_DB) !== 0 ? MODE_STACK_32 : 0;
  const protectedMode = (view.getUint32(L.CR0, true) & CR0_PE) !== 0;
  const v86 = (view.getUint32(L.EFLAGS, true) & EFLAGS_VM) !== 0;
  const real = !protectedMode || v86 ? MODE_REAL : 0;
  const { es, ss: stackSegment, ds, fs, gs } = L.SEG;
  const segments = [es, stackSegment, ds, fs, gs];
  const flat = segments.every((index) => isFlat(view, L.segmentOffset(index)));
  const codeLimit = view.getUint32(L.segmentOffset(L.SEG.cs) + L.SEG_LIMIT, true);
  const limited = codeLimit === 0xffffffff ? 0 : MODE_CODE_LIMITED;
  return size | stack | real | limited | (flat && real === 0 ? 0 : MODE_SEGMENTED);
}
