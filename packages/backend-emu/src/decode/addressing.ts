/**
 * Memory operands: ModRM, SIB and displacement to the address fields of an op record.
 *
 * Source: AMD APM vol. 3, 1.4 and tables.
 */
import * as L from '../cpu/layout.js';
import { MODE_SEGMENTED } from '../cpu/mode.js';
import * as R from '../isa/op-record.js';
import { type Decoded, NONE, setDisplacement } from './decoded.js';
import type { InstructionBytes } from './instruction-bytes.js';
import { type Prefixes, REX_B, REX_X } from './prefixes.js';

const { cs, ss, ds, fs, gs } = L.SEG;

/** Base and index of the eight 16-bit addressing forms: numbers of registers, -1 none. */
const BASES_16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDICES_16 = [6, 7, 6, 7, -1, -1, -1, -1];

/** The memory operand that `modrm` names, with the bytes behind it. */
export function memoryOperand(
  bytes: InstructionBytes,
  prefixes: Prefixes,
  modrm: number,
  out: Decoded,
): void {
  const short = prefixes.addressSize === 16;
  const segment = short ? memory16(bytes, modrm, out) : memory32(bytes, prefixes, modrm, out);
  setAddressing(prefixes, segment, out);
}

/** Memory at an offset that is in the instruction (MOV with moffs). */
export function offsetOperand(bytes: InstructionBytes, prefixes: Prefixes, out: Decoded): void {
  const size = prefixes.addressSize;
  out.displacementLo = size === 16 ? bytes.signed(2) & 0xffff : bytes.signed(4);
  if (size === 64) out.displacementHi = bytes.signed(4);
  setAddressing(prefixes, ds, out);
}

/** The source segment of string instructions and their like. */
export function implicitSegment({ segment, long }: Prefixes, out: Decoded): void {
  const chosen = segment < 0 ? ds : segment;
  const applies = !long || chosen === fs || chosen === gs;
  out.segment = applies ? L.segmentOffset(chosen) : NONE;
}

function memory16(bytes: InstructionBytes, modrm: number, out: Decoded): number {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  if (mod === 0 && rm === 6) {
    setDisplacement(out, bytes.signed(2) & 0xffff);
    return ds;
  }
  out.base = L.gprOffset(BASES_16[rm]);
  if (INDICES_16[rm] >= 0) {
    out.index = L.gprOffset(INDICES_16[rm]);
    out.ea |= R.EA_INDEX;
  }
  if (mod !== 0) setDisplacement(out, bytes.signed(mod));
  return BASES_16[rm] === 5 ? ss : ds;
}

function memory32(
  bytes: InstructionBytes,
  prefixes: Prefixes,
  modrm: number,
  out: Decoded,
): number {
  const mod = modrm >> 6;
  let base = modrm & 7;
  if (base === 4) {
    const sib = bytes.u8();
    base = sib & 7;
    const index = ((sib >> 3) & 7) | ((prefixes.rex & REX_X) << 2);
    if (index !== 4) {
      out.index = L.gprOffset(index);
      out.scale = sib >> 6;
      out.ea |= R.EA_INDEX;
    }
    if (base === 5 && mod === 0) {
      setDisplacement(out, bytes.signed(4));
      return ds;
    }
  } else if (base === 5 && mod === 0) {
    setDisplacement(out, bytes.signed(4));
    if (prefixes.long) {
      out.base = L.RIP_PAGE;
      out.relative = true;
    }
    return ds;
  }
  const number = base | ((prefixes.rex & REX_B) << 3);
  out.base = L.gprOffset(number);
  if (mod !== 0) setDisplacement(out, bytes.signed(mod === 1 ? 1 : 4));
  return base === 5 || base === 4 ? (number < 8 ? ss : ds) : ds;
}

/** Segment, width and checks of the address. */
function setAddressing(prefixes: Prefixes, defaultSegment: number, out: Decoded): void {
  const segment = prefixes.segment < 0 ? defaultSegment : prefixes.segment;
  const size = prefixes.addressSize;
  if (prefixes.long) {
    if (size === 32) out.ea |= R.EA_32;
    if (segment === fs || segment === gs) {
      out.ea |= R.EA_SEGMENT;
      out.segment = L.segmentOffset(segment);
    }
    return;
  }
  out.ea |= size === 16 ? R.EA_16 : R.EA_32;
  out.segment = L.segmentOffset(segment);
  // Code can never be written, and need not be readable.
  if ((prefixes.mode & MODE_SEGMENTED) !== 0 || segment === cs) {
    out.ea |= R.EA_SEGMENT | R.EA_CHECKED | R.EA_LINEAR_32;
  }
}
