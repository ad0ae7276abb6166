/**
 * RFLAGS: bit names and the conversion between the lazy status flags of the record and an image.
 *
 * Source: AMD APM vol. 1, 3.1.4 and vol. 2, 3.1.6. The encoding of the three lazy words is that of
 * `cpu/layout.ts` (FLAG_RES, FLAG_CV, FLAG_ADJ).
 */
import * as L from './layout.js';

export const FLAG_CF = 1 << 0;
export const FLAG_PF = 1 << 2;
export const FLAG_AF = 1 << 4;
export const FLAG_ZF = 1 << 6;
export const FLAG_SF = 1 << 7;
export const FLAG_TF = 1 << 8;
export const FLAG_IF = 1 << 9;
export const FLAG_DF = 1 << 10;
export const FLAG_OF = 1 << 11;
export const FLAG_IOPL = 3 << 12;
export const FLAG_IOPL_SHIFT = 12;
export const FLAG_NT = 1 << 14;
export const FLAG_RF = 1 << 16;
export const FLAG_VM = 1 << 17;
export const FLAG_AC = 1 << 18;
export const FLAG_VIF = 1 << 19;
export const FLAG_VIP = 1 << 20;
export const FLAG_ID = 1 << 21;

/** The six flags that are kept lazily. */
export const FLAGS_STATUS = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF;
/** Every defined bit that can be set; bit 1 is always set and all others read as zero. */
export const FLAGS_ALL = 0x3f7fd5;

const RES_LO = L.FLAG_RES >> 2;
const RES_HI = RES_LO + 1;
const CV_HI = (L.FLAG_CV >> 2) + 1;
const ADJ_LO = L.FLAG_ADJ >> 2;
const ADJ_HI = ADJ_LO + 1;

/** 1 if the low byte of `value` has an even number of ones. */
function evenParity(value: number): number {
  const nibble = (value ^ (value >>> 4)) & 15;
  return (0x9669 >>> nibble) & 1;
}

/** The six status flags at their places in RFLAGS. `words` is the record as i32. */
export function statusFlags(words: Int32Array): number {
  const cv = words[CV_HI];
  const adjust = words[ADJ_LO];
  const zero = (words[RES_LO] | words[RES_HI]) === 0 ? FLAG_ZF : 0;
  const sign = (words[RES_HI] ^ words[ADJ_HI]) < 0 ? FLAG_SF : 0;
  const overflow = (cv ^ (cv << 1)) < 0 ? FLAG_OF : 0;
  const parity = evenParity((words[RES_LO] ^ (adjust >>> 8)) & 0xff) << 2;
  return (cv >>> 31) | parity | (adjust & FLAG_AF) | zero | sign | overflow;
}

/** The status flags that a DEC with the 64-bit result `lo`, `hi` makes of `flags`. */
export function decremented(lo: number, hi: number, flags: number): number {
  return (
    (flags & FLAG_CF) |
    (evenParity(lo & 0xff) << 2) |
    ((lo & 15) === 15 ? FLAG_AF : 0) |
    ((lo | hi) === 0 ? FLAG_ZF : 0) |
    (hi < 0 ? FLAG_SF : 0) |
    (lo === -1 && hi === 0x7fffffff ? FLAG_OF : 0)
  );
}

/** Stores six status flags in the lazy words, any combination exactly. */
export function storeStatusFlags(words: Int32Array, image: number): void {
  const carry = image & FLAG_CF;
  const overflow = (image & FLAG_OF) !== 0 ? 1 : 0;
  words[CV_HI - 1] = 0;
  words[CV_HI] = (carry << 31) | ((carry ^ overflow) << 30);
  // A result that is not zero, with a low byte of zero (even parity) and bit 63 clear.
  words[RES_LO] = (image & FLAG_ZF) !== 0 ? 0 : 0x100;
  words[RES_HI] = 0;
  words[ADJ_LO] = (image & FLAG_AF) | ((image & FLAG_PF) !== 0 ? 0 : 0x100);
  words[ADJ_HI] = (image & FLAG_SF) << 24;
}
