/**
 * Forms: an encoding with operand size and kind of operand (register or memory) chosen. What the
 * oracle is asked about is counted in forms.
 */
import { type Encoding, encodings, isImplied } from './encodings.js';
import { exclusion, sizeExclusion } from './exclusions.js';
import { HOST, type Host } from './host.js';
import type { Bits } from './user-state.js';

export interface NativeForm {
  readonly encoding: Encoding;
  readonly bits: Bits;
  /** Effective operand size in bits; 8 for byte forms. */
  readonly size: number;
  /** ModRM names memory. */
  readonly memory: boolean;
  readonly name: string;
}

export interface Exclusion {
  readonly name: string;
  readonly reason: string;
}

/** Effective operand sizes that prefixes can give to a row. */
export function sizes({ row, prefix, selected }: Encoding, bits: Bits): number[] {
  const { flags } = row;
  const long = bits === 64;
  if (flags.has('byte')) return [8];
  if (flags.has('any')) return [32];
  if (flags.has('w32')) return long ? [32, 64] : [32];
  const natural = bits === 16 ? 16 : 32;
  // Where prefixes choose the row, 66 is not free to choose the size.
  const fixed = prefix === 0 ? natural : prefix === 0x66 ? 48 - natural : 0;
  const narrow = selected && fixed !== 0 ? [fixed] : [16, 32];
  if (flags.has('z') || !long) return narrow;
  return [...narrow, 64].filter((size) => size !== 32 || !flags.has('d64'));
}

/** Whether ModRM may name memory, a register, or both. */
export function kinds({ row, mod }: Encoding): boolean[] {
  if (mod === 'memory') return [true];
  const codes = row.operands.filter((code) => !isImplied(code));
  if (codes.some((code) => code[0] === 'M')) return [true];
  if (mod === 'register' || codes.some((code) => /^[RUNF]/.test(code))) return [false];
  return codes.some((code) => /^[EWQ]/.test(code)) ? [false, true] : [false];
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0');

export function nameOf({ row, opcode, vex, reg, rm, prefix }: Encoding): string {
  const selector = prefix === 0 ? [] : [prefix];
  const map = vex === 0 ? [] : [`vex.${vex}`];
  const bytes = [...map, ...[...selector, ...opcode].map(hex)].join(' ');
  const operands = row.operands.length === 0 ? '' : ` ${row.operands.join(',')}`;
  const modrm = `${reg < 0 ? '' : ` /${reg}`}${rm < 0 ? '' : ` rm ${rm}`}`;
  return `${row.mnemonic}${operands} (${bytes}${modrm})`;
}

/** The forms of a mode, and the rows left out with the reason. */
export function nativeForms(
  bits: Bits,
  host: Host = HOST,
): { forms: NativeForm[]; excluded: Exclusion[] } {
  const forms: NativeForm[] = [];
  const excluded: Exclusion[] = [];
  for (const encoding of encodings(bits)) {
    const name = nameOf(encoding);
    const reason = exclusion(encoding, bits, host);
    if (reason !== null) {
      excluded.push({ name, reason });
      continue;
    }
    for (const size of sizes(encoding, bits)) {
      const without = sizeExclusion(encoding, bits, size, host);
      if (without !== null) {
        excluded.push({ name: `${name} ${size}`, reason: without });
        continue;
      }
      for (const memory of kinds(encoding)) {
        const full = `${name} ${size}${memory ? ' memory' : ''}`;
        forms.push({ encoding, bits, size, memory, name: full });
      }
    }
  }
  return { forms, excluded };
}
