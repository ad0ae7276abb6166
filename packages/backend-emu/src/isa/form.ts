/**
 * A form: one instruction with operand kinds and sizes fixed. What the table lists compactly, the
 * decoder picks and the interpreter has a handler for.
 */

/**
 * Kinds: `r` general register, `m` memory, `i` immediate, `x` XMM register, `s` segment register
 * number, `n` control, debug or x87 register number, `j` relative target.
 */
export type OperandKind = 'r' | 'm' | 'i' | 'x' | 's' | 'n' | 'j';

export interface FormOperand {
  readonly kind: OperandKind;
  /** Bits. */
  readonly size: number;
}

export interface Form {
  readonly mnemonic: string;
  /** Effective operand size in bits. */
  readonly size: number;
  readonly operands: readonly FormOperand[];
  /** Outside 64-bit mode; only set for instructions that differ there. */
  readonly legacy: boolean;
  /** F2 or F3 in front of a string instruction, else 0. */
  readonly rep: 0 | 0xf2 | 0xf3;
  /** Address size in bits, for string instructions and the like; else 0. */
  readonly addressSize: number;
}

/** A text that names the form, unique. */
export function formKey(form: Form): string {
  const operands = form.operands.map(({ kind, size }) => `${kind}${size}`).join(',');
  const rep = form.rep === 0 ? '' : `+rep${form.rep.toString(16)}`;
  const address = form.addressSize === 0 ? '' : `@${form.addressSize}`;
  return `${form.mnemonic}.${form.size}${form.legacy ? 'L' : ''}${rep}${address} ${operands}`;
}
