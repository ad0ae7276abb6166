/**
 * From a row of the table to its forms: what operand size, addressing and mode make of it.
 */
import { type Description, describe } from '../isa/define.js';
import type { Form, FormOperand, OperandKind } from '../isa/form.js';
import { formKey } from '../isa/form.js';
import type { Row } from '../isa/table/row.js';

/** What the prefixes and ModRM of an instruction choose. */
export interface Variant {
  /** Operand size in bits: 16, 32 or 64. */
  readonly size: number;
  /** ModRM.mod is 3. */
  readonly register: boolean;
  readonly legacy: boolean;
  /** 0, F2 or F3. */
  readonly rep: 0 | 0xf2 | 0xf3;
  /** Address size in bits. */
  readonly addressSize: number;
  readonly rexW: boolean;
}

/** How the decoder finds one operand. */
export interface OperandPlan {
  /** First letter of the operand code, or the whole of a fixed one. */
  readonly where: string;
  readonly kind: OperandKind;
  /** Bits. */
  readonly size: number;
  /** Bytes of an immediate or relative target in the instruction. */
  readonly bytes: number;
}

/** A form with all that the decoder and the handlers need. */
export interface FormInfo {
  readonly form: Form;
  readonly key: string;
  readonly description: Description;
  readonly operands: readonly OperandPlan[];
  readonly hasMemory: boolean;
  /** An operand in memory is named by ModRM. */
  readonly hasModrmMemory: boolean;
  /** An operand in memory is implied: RSI, RDI or RBX has its address. */
  readonly impliesMemory: boolean;
  /** LOCK is allowed. */
  readonly lockable: boolean;
  /** Counts forms, so that what is known of one can be found by it. */
  readonly number: number;
}

let forms = 0;

const SIZES: Readonly<Record<string, number>> = { b: 8, w: 16, d: 32, q: 64, o: 128, t: 80, p: 8 };
const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];
const REPEAT_BOTH = new Set(['CMPS', 'SCAS']);
/** Instructions with an implied memory operand that are not string instructions. */
const IMPLIED_SEGMENT = new Set(['XLAT', 'MASKMOV']);

function letterSize(letter: string, variant: Variant, size: number): number {
  switch (letter) {
    case 'v':
      return size;
    case 's':
      return size;
    case 'z':
      return Math.min(size, 32);
    case 'y':
      return variant.rexW ? 64 : 32;
    case 'n':
      return variant.legacy ? 32 : 64;
    case 'e':
      return 32;
    default:
      return SIZES[letter] ?? 8;
  }
}

function immediateBytes(letter: string, size: number): number {
  if (letter === 'b' || letter === 's') return 1;
  if (letter === 'w') return 2;
  if (letter === 'e') return 3;
  if (letter === 'v') return size / 8;
  return Math.min(size, 32) / 8;
}

const FIXED: Readonly<Record<string, (size: number) => FormOperand>> = {
  AL: () => ({ kind: 'r', size: 8 }),
  AX: () => ({ kind: 'r', size: 16 }),
  CL: () => ({ kind: 'r', size: 8 }),
  DX: () => ({ kind: 'r', size: 16 }),
  rAX: (size) => ({ kind: 'r', size }),
  eAX: (size) => ({ kind: 'r', size: Math.min(size, 32) }),
  '1': () => ({ kind: 'i', size: 8 }),
};

function planOf(code: string, variant: Variant, size: number): OperandPlan {
  const fixed = FIXED[code];
  if (fixed !== undefined) return { where: code, bytes: 0, ...fixed(size) };
  if (SEGMENT_NAMES.includes(code)) return { where: code, kind: 's', size: 16, bytes: 0 };
  const where = code[0];
  if (code === 'EvMw') {
    const kind = variant.register ? 'r' : 'm';
    return { where: 'E', kind, size: variant.register ? size : 16, bytes: 0 };
  }
  const bits = letterSize(code[1] ?? 'v', variant, size);
  const choose = (register: OperandKind): OperandKind => (variant.register ? register : 'm');
  switch (where) {
    case 'E':
      return { where, kind: choose('r'), size: bits, bytes: 0 };
    case 'W':
    case 'Q':
      return { where, kind: choose('x'), size: bits, bytes: 0 };
    case 'V':
    case 'U':
    case 'P':
    case 'N':
      return { where, kind: 'x', size: bits, bytes: 0 };
    case 'M':
    case 'O':
      return { where, kind: 'm', size: bits, bytes: 0 };
    case 'S':
      return { where, kind: 's', size: 16, bytes: 0 };
    case 'C':
    case 'D':
    case 'F':
      return { where, kind: 'n', size: 64, bytes: 0 };
    case 'I':
      return { where, kind: 'i', size: bits, bytes: immediateBytes(code[1], size) };
    case 'J':
      return { where, kind: 'j', size, bytes: code[1] === 'b' ? 1 : Math.min(size, 32) / 8 };
    case 'A':
      return { where, kind: 'i', size: 16, bytes: size / 8 + 2 };
    default:
      return { where, kind: 'r', size: bits, bytes: 0 };
  }
}

/** Effective operand size of a row. */
export function effectiveSize(row: Row, variant: Variant): number {
  const { flags } = row;
  if (flags.has('byte')) return 8;
  if (flags.has('any')) return 32;
  if (flags.has('w32')) return variant.rexW ? 64 : 32;
  if (!variant.legacy && flags.has('d64') && variant.size === 32) return 64;
  return flags.has('z') ? Math.min(variant.size, 32) : variant.size;
}

/** The instruction that a row is with a 64-bit operand, where it has another name then. */
function wideName(row: Row): string {
  if (row.operands[1] === 'Iv') return 'MOVABS';
  return row.mnemonic === 'CMPXCHG8B' ? 'CMPXCHG16B' : row.mnemonic;
}

/**
 * The form of `row` under `variant`, or null where the instruction is not described (then it is
 * not implemented).
 */
export function formOf(row: Row, variant: Variant): FormInfo | null {
  const size = effectiveSize(row, variant);
  const description = describe(size === 64 ? wideName(row) : row.mnemonic);
  if (description === undefined) return null;
  const operands = row.operands.map((code) => planOf(code, variant, size));
  const repeats = row.flags.has('rep') && variant.rep !== 0;
  const rep = repeats ? (REPEAT_BOTH.has(row.mnemonic) ? variant.rep : 0xf3) : 0;
  const form: Form = {
    mnemonic: description.mnemonic,
    size,
    operands: operands.map(({ kind, size: bits }) => ({ kind, size: bits })),
    legacy: variant.legacy && description.modal === true,
    rep,
    addressSize: row.flags.has('addr') ? variant.addressSize : 0,
  };
  return {
    form,
    key: formKey(form),
    description,
    operands,
    hasMemory: operands.some(({ kind }) => kind === 'm'),
    hasModrmMemory: operands.some(({ where, kind }) => kind === 'm' && where !== 'O'),
    impliesMemory: row.flags.has('rep') || IMPLIED_SEGMENT.has(row.mnemonic),
    lockable: description.lockable === true && operands[0]?.kind === 'm',
    number: forms++,
  };
}

/** Every variant that a row can meet. */
export function variantsOf(row: Row): Variant[] {
  const result: Variant[] = [];
  const reps: Variant['rep'][] = row.flags.has('rep') ? [0, 0xf2, 0xf3] : [0];
  for (const legacy of [false, true]) {
    if ((row.flags.has('i64') && !legacy) || (row.flags.has('o64') && legacy)) continue;
    const addressSizes = row.flags.has('addr') ? (legacy ? [16, 32] : [32, 64]) : [0];
    for (const size of legacy ? [16, 32] : [16, 32, 64]) {
      for (const register of [false, true]) {
        for (const rep of reps) {
          for (const addressSize of addressSizes) {
            result.push({ size, register, legacy, rep, addressSize, rexW: size === 64 });
          }
        }
      }
    }
  }
  return result;
}
