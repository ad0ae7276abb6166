/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM: two strings of bytes or words compared in one of four
 * ways.
 *
 * Source: AMD APM vol. 1, section "Compare and Test" (string compare instructions); Intel SDM vol.
 * 2B, section 4.1 for the treatment of elements behind the ends.
 */
import * as L from '../cpu/layout.js';
import { NEXT, type Outcome } from '../system/outcome.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from './vector-operation.js';

const CF = 1;
const ZF = 0x40;
const SF = 0x80;
const OF = 0x800;

/** The elements of one operand, and how many count. */
interface Text {
  readonly elements: readonly number[];
  readonly length: number;
}

/** `length` is -1 where the first zero ends the string. */
function textAt(view: DataView, base: number, immediate: number, length: number): Text {
  const wide = (immediate & 1) !== 0;
  const signed = (immediate & 2) !== 0;
  const count = wide ? 8 : 16;
  const elements = Array.from({ length: count }, (_, i) => {
    if (wide) {
      return signed ? view.getInt16(base + i * 2, true) : view.getUint16(base + i * 2, true);
    }
    return signed ? view.getInt8(base + i) : view.getUint8(base + i);
  });
  if (length >= 0) return { elements, length: Math.min(length, count) };
  const end = elements.indexOf(0);
  return { elements, length: end < 0 ? count : end };
}

/** Bit j of the result is about element j of `b` (source), by the aggregation in bits 3:2. */
function aggregate(a: Text, b: Text, how: number): number {
  const count = b.elements.length;
  let result = 0;
  for (let j = 0; j < count; j++) {
    if (matches(a, b, how, j)) result |= 1 << j;
  }
  return result;
}

function matches(a: Text, b: Text, how: number, j: number): boolean {
  const valid = j < b.length;
  switch (how) {
    case 0:
      return valid && a.elements.slice(0, a.length).includes(b.elements[j]);
    case 1: {
      for (let i = 0; valid && i + 1 < a.length; i += 2) {
        if (b.elements[j] >= a.elements[i] && b.elements[j] <= a.elements[i + 1]) return true;
      }
      return false;
    }
    case 2: {
      const validA = j < a.length;
      if (valid && validA) return a.elements[j] === b.elements[j];
      return valid === validA;
    }
    default: {
      // A substring: what lies behind the end of `a` matches anything.
      for (let i = 0; i < a.length && i + j < b.elements.length; i++) {
        if (i + j >= b.length || a.elements[i] !== b.elements[i + j]) return false;
      }
      return true;
    }
  }
}

/** The length that a register states, saturated. */
function statedLength(view: DataView, offset: number): number {
  const value = view.getBigInt64(offset, true);
  const magnitude = value < 0n ? -value : value;
  return magnitude > 16n ? 16 : Number(magnitude);
}

interface Comparison {
  readonly bits: number;
  readonly count: number;
  readonly flags: number;
}

/** ARG0: immediate; ARG1 and ARG2: lengths if ARG3 is 1. */
function compare(view: DataView): Comparison {
  const immediate = view.getUint32(L.ARG0, true);
  const explicit = view.getUint32(L.ARG3, true) !== 0;
  const length = (offset: number): number => (explicit ? statedLength(view, offset) : -1);
  const a = textAt(view, SLOW_DESTINATION, immediate, length(L.ARG1));
  const b = textAt(view, SLOW_SOURCE, immediate, length(L.ARG2));
  const count = b.elements.length;
  const all = count === 16 ? 0xffff : 0xff;
  let bits = aggregate(a, b, (immediate >> 2) & 3);
  const polarity = (immediate >> 4) & 3;
  if (polarity === 1) bits = ~bits & all;
  else if (polarity === 3) bits ^= (1 << b.length) - 1;
  let flags = bits !== 0 ? CF : 0;
  if (b.length < count) flags |= ZF;
  if (a.length < count) flags |= SF;
  if ((bits & 1) !== 0) flags |= OF;
  return { bits, count, flags };
}

/** The index goes to ARG0, the status flags to ARG1. */
export function stringIndex(view: DataView): Outcome {
  const last = (view.getUint32(L.ARG0, true) & 0x40) !== 0;
  const { bits, count, flags } = compare(view);
  const lowest = 31 - Math.clz32(bits & -bits);
  const index = bits === 0 ? count : last ? 31 - Math.clz32(bits) : lowest;
  view.setBigUint64(L.ARG0, BigInt(index), true);
  view.setBigUint64(L.ARG1, BigInt(flags), true);
  return NEXT;
}

/** The mask goes to `SLOW_RESULT`, as bits or as elements; the status flags to ARG1. */
export function stringMask(view: DataView): Outcome {
  const expands = (view.getUint32(L.ARG0, true) & 0x40) !== 0;
  const { bits, count, flags } = compare(view);
  view.setBigUint64(SLOW_RESULT, 0n, true);
  view.setBigUint64(SLOW_RESULT + 8, 0n, true);
  if (expands) {
    const bytes = 16 / count;
    for (let i = 0; i < 16; i++) {
      view.setUint8(SLOW_RESULT + i, ((bits >> Math.floor(i / bytes)) & 1) !== 0 ? 0xff : 0);
    }
  } else {
    view.setUint16(SLOW_RESULT, bits, true);
  }
  view.setBigUint64(L.ARG1, BigInt(flags), true);
  return NEXT;
}
