/**
 * Rounds of AES, as AES-NI has them: the state and the round key are vectors, byte 0 lowest.
 *
 * Source: FIPS 197; AMD APM vol. 4, AESDEC to AESKEYGENASSIST.
 */
import * as L from '../cpu/layout.js';
import { NEXT, type Outcome } from '../system/outcome.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from './vector-operation.js';

/** Multiplication by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
function doubled(value: number): number {
  return ((value << 1) ^ ((value & 0x80) !== 0 ? 0x1b : 0)) & 0xff;
}

function times(a: number, b: number): number {
  let result = 0;
  for (let factor = a, rest = b; rest !== 0; rest >>= 1, factor = doubled(factor)) {
    if ((rest & 1) !== 0) result ^= factor;
  }
  return result;
}

/** The multiplicative inverse, then the affine map. */
function substitute(value: number): number {
  let inverse = 0;
  for (let each = 1; each < 256 && value !== 0; each++) {
    if (times(value, each) === 1) inverse = each;
  }
  const turned = (by: number): number => ((inverse << by) | (inverse >> (8 - by))) & 0xff;
  return inverse ^ turned(1) ^ turned(2) ^ turned(3) ^ turned(4) ^ 0x63;
}

/** A byte's share in its column, little-endian, when the column is multiplied by `factors`. */
function shares(bytes: (value: number) => number, factors: readonly number[]): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, value) => {
    const byte = bytes(value);
    return factors.reduce((word, factor, row) => word | (times(byte, factor) << (row * 8)), 0);
  });
}

interface Tables {
  readonly box: Uint8Array;
  readonly inverseBox: Uint8Array;
  /** S-box and MixColumns; inverse S-box and its inverse; that inverse alone. */
  readonly encrypt: Uint32Array;
  readonly decrypt: Uint32Array;
  readonly unmix: Uint32Array;
}

let made: Tables | null = null;

function tables(): Tables {
  if (made !== null) return made;
  const box = Uint8Array.from({ length: 256 }, (_, value) => substitute(value));
  const inverseBox = new Uint8Array(256);
  box.forEach((value, index) => {
    inverseBox[value] = index;
  });
  made = {
    box,
    inverseBox,
    encrypt: shares((value) => box[value], [2, 1, 1, 3]),
    decrypt: shares((value) => inverseBox[value], [14, 9, 13, 11]),
    unmix: shares((value) => value, [14, 9, 13, 11]),
  };
  return made;
}

function turned(word: number, bytes: number): number {
  return bytes === 0 ? word : (word << (bytes * 8)) | (word >>> (32 - bytes * 8));
}

/** Column `column` gathers row r from `step * r` columns on. */
function round(
  view: DataView,
  step: number,
  share: (byte: number, row: number) => number,
): Outcome {
  for (let column = 0; column < 4; column++) {
    let word = view.getInt32(SLOW_SOURCE + column * 4, true);
    for (let row = 0; row < 4; row++) {
      const from = ((column + step * row) & 3) * 4 + row;
      word ^= share(view.getUint8(SLOW_DESTINATION + from), row);
    }
    view.setInt32(SLOW_RESULT + column * 4, word, true);
  }
  return NEXT;
}

const ENCRYPT = 1;
const DECRYPT = 3;

/** AESIMC: InverseMixColumns of the source. */
function unmix(view: DataView): Outcome {
  const table = tables().unmix;
  for (let column = 0; column < 4; column++) {
    let word = 0;
    for (let row = 0; row < 4; row++) {
      word ^= turned(table[view.getUint8(SLOW_SOURCE + column * 4 + row)], row);
    }
    view.setInt32(SLOW_RESULT + column * 4, word, true);
  }
  return NEXT;
}

/** AESKEYGENASSIST; ARG0 is the round constant. */
function assist(view: DataView): Outcome {
  const { box } = tables();
  const constant = view.getUint8(L.ARG0);
  for (const at of [4, 12]) {
    let word = 0;
    for (let row = 0; row < 4; row++) {
      word |= box[view.getUint8(SLOW_SOURCE + at + row)] << (row * 8);
    }
    view.setInt32(SLOW_RESULT + at - 4, word, true);
    view.setInt32(SLOW_RESULT + at, turned(word, 3) ^ constant, true);
  }
  return NEXT;
}

export const aesFunctions: Readonly<Record<string, (view: DataView) => Outcome>> = {
  AESENC: (view) => {
    const { encrypt } = tables();
    return round(view, ENCRYPT, (byte, row) => turned(encrypt[byte], row));
  },
  AESENCLAST: (view) => {
    const { box } = tables();
    return round(view, ENCRYPT, (byte, row) => box[byte] << (row * 8));
  },
  AESDEC: (view) => {
    const { decrypt } = tables();
    return round(view, DECRYPT, (byte, row) => turned(decrypt[byte], row));
  },
  AESDECLAST: (view) => {
    const { inverseBox } = tables();
    return round(view, DECRYPT, (byte, row) => inverseBox[byte] << (row * 8));
  },
  AESIMC: unmix,
  AESKEYGENASSIST: assist,
};
