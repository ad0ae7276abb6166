/**
 * Status flags that an instruction leaves undefined, by AMD APM vol. 3, chapter 3 (each
 * instruction's table of flags) and appendix E.
 */

export const CF = 1;
export const PF = 4;
export const AF = 0x10;
export const ZF = 0x40;
export const SF = 0x80;
export const OF = 0x800;
export const STATUS = CF | PF | AF | ZF | SF | OF;

const UNDEFINED: Readonly<Record<string, number>> = {
  AND: AF, OR: AF, XOR: AF, TEST: AF,
  MUL: SF | ZF | AF | PF, IMUL1: SF | ZF | AF | PF, IMUL2: SF | ZF | AF | PF,
  IMUL3: SF | ZF | AF | PF, DIV: STATUS, IDIV: STATUS,
  BSF: STATUS & ~ZF, BSR: STATUS & ~ZF,
  BT: OF | SF | AF | PF, BTS: OF | SF | AF | PF, BTR: OF | SF | AF | PF, BTC: OF | SF | AF | PF,
  TZCNT: OF | SF | AF | PF, LZCNT: OF | SF | AF | PF,
  ANDN: AF | PF, BLSI: AF | PF, BLSMSK: AF | PF, BLSR: AF | PF, BZHI: AF | PF,
  BEXTR: SF | AF | PF,
  AAA: OF | SF | ZF | PF, AAS: OF | SF | ZF | PF, DAA: OF, DAS: OF,
  AAM: OF | AF | CF, AAD: OF | AF | CF,
}; // biome-ignore format: table

const SHIFTS = new Set(['SHL', 'SHR', 'SAR', 'SHLD', 'SHRD']);
const ROTATES = new Set(['ROL', 'ROR', 'RCL', 'RCR']);

/** Undefined flags of `mnemonic`; `count` is what a shift or rotate is by, before masking. */
export function undefinedFlags(mnemonic: string, size: number, count: number): number {
  const masked = count & (size === 64 ? 63 : 31);
  if (SHIFTS.has(mnemonic)) {
    if (masked === 0) return 0;
    const carry = masked > size || (masked === size && mnemonic.length === 4) ? CF : 0;
    const beyond = mnemonic !== 'SAR' && masked >= size ? CF : 0;
    return AF | (masked === 1 ? 0 : OF) | carry | beyond;
  }
  if (ROTATES.has(mnemonic)) return masked === 1 || masked === 0 ? 0 : OF;
  return UNDEFINED[mnemonic] ?? 0;
}
