/**
 * Parts of preparations: what may be needed of operands, and values that lie where they are safe.
 */
import type { NativeForm } from './forms.js';
import type { Instruction } from './instruction.js';
import type { RandomSource } from './random.js';
import { type Bits, codeStart, dataStart, type UserState } from './user-state.js';

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

/** What the choice of operands has to respect. */
export interface Needs {
  /** Registers that are no base or index. */
  readonly busy?: readonly number[];
  readonly stack?: boolean;
  /** Address of the memory operand. */
  readonly target?: number | bigint;
  /** The far pointer in the instruction. */
  readonly pointer?: { readonly selector: number; readonly offset: bigint };
  /** Offset in the window of four bytes that are not compared. */
  readonly ignored?: number;
  /** The byte immediate. */
  readonly immediate?: number;
  /** Called with ModRM.reg beside a memory operand: its value matters, so it is no base. */
  readonly register?: (number: number) => void;
  /** Called with ModRM.rm of a register operand. */
  readonly source?: (number: number, high: boolean) => void;
  /** Called with the finished instruction. */
  readonly after?: (instruction: Instruction) => void;
}

export interface Situation {
  readonly form: NativeForm;
  readonly random: RandomSource;
  readonly state: UserState;
  readonly addressSize: 16 | 32 | 64;
}

export type Preparation = (situation: Situation) => Needs;

/** An address as a register of the address size may hold it, with anything above. */
export function address({ form, random, addressSize }: Situation, offset: number): bigint {
  const value = BigInt(dataStart(form.bits) + offset);
  if (addressSize === form.bits) return value | (addressSize === 16 ? high16(random) : 0n);
  return form.bits === 64 ? value | (BigInt(random.u32()) << 32n) : value;
}

export function high16(random: RandomSource): bigint {
  return BigInt(random.below(0x10000)) << 16n;
}

/** Offset in the window of a pointer that lies there. */
export function inWindow(bits: Bits, pointer: bigint): number {
  return Number(pointer & 0xffffn) - (dataStart(bits) & 0xffff);
}

/** Where branches may go: anywhere in the page of breakpoints. */
export function landing({ form, random }: Situation, bits = form.bits): bigint {
  const distance = random.below(0xe00) - 0x700;
  const outside = distance < 0 || distance > 15 ? distance : distance + 16;
  return BigInt(codeStart(bits) + outside);
}

/** An address that no paging makes canonical. */
export function nonCanonical(random: RandomSource): bigint {
  const middle = random.pick([0x4000n, 0x0200n, 0x8000n, 0xfdffn]) << 48n;
  return middle | (random.u64() & 0xffffffffffffn);
}

export const stack: Preparation = (situation) => {
  const { form, random, state } = situation;
  if (form.bits === 64 && random.once(32)) {
    state.setGpr(RSP, nonCanonical(random));
    return { stack: true };
  }
  const top = BigInt(dataStart(form.bits) + 112 + random.below(24));
  state.setGpr(RSP, form.bits === 16 ? top | high16(random) : top);
  return { stack: true };
};
