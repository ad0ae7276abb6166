/**
 * What instructions on segments and far transfers need: selectors that host and emulated processor
 * both have in their tables, and null, absent and forbidden ones.
 */
import { hostIsAmd } from './host.js';
import type { Instruction } from './instruction.js';
import { inWindow, landing, type Needs, type Situation, stack } from './preparation-parts.js';
import { dataStart } from './user-state.js';

/** User code of 32 and 64 bits, 16-bit code of the LDT. */
const CODE = [0x23, 0x33, 0x07];
const DATA = [0x2b, 0x0f];
/** Null with any RPL, kernel segments, beyond the limit of the LDT, another RPL. */
const OTHERS = [0, 1, 3, 0x10, 0x18, 0x13, 0x1b, 0x17, 0x27, 0x2a, 0x22, 0x0c];
const ES = 0;
const FS = 4;
const GS = 5;

function selector(situation: Situation, likely: readonly number[]): number {
  const { random } = situation;
  if (random.once(4)) return random.pick(OTHERS);
  return random.pick(random.once(6) ? [...CODE, ...DATA] : likely);
}

/** A selector as an operand of 16 bits: in a register, or in memory. */
function asOperand(situation: Situation, value: number): Needs {
  const { form, random, state } = situation;
  const offset = random.below(200);
  state.setData(offset, value, 2);
  const source = (number: number): void => {
    const above = (state.gpr(number) >> 16n) << 16n;
    state.setGpr(number, above | BigInt(value));
  };
  return { target: dataStart(form.bits) + offset, source };
}

export function looksAtSelector(situation: Situation): Needs {
  return asOperand(situation, selector(situation, [...CODE, ...DATA]));
}

/** MOV to a segment register; FS and GS belong to the host process. */
export function loadsSegment(situation: Situation): Needs {
  const after = (instruction: Instruction): void => {
    const register = (instruction.modrm[0] >> 3) & 7;
    const replaced = register === FS || register === GS ? ES : register;
    instruction.modrm[0] = (instruction.modrm[0] & ~0x38) | (replaced << 3);
  };
  return { ...asOperand(situation, selector(situation, DATA)), after };
}

/** What is above the selector is zero already but with AMD; see `isa/vendor-differences.ts`. */
export function pushesSegment(situation: Situation): Needs {
  const needs = stack(situation);
  const { form, state } = situation;
  if (!hostIsAmd) state.setData(inWindow(form.bits, state.gpr(4)) - 8, 0, 8);
  return needs;
}

export function popsSegment(situation: Situation): Needs {
  const needs = stack(situation);
  const { form, state } = situation;
  const offset = inWindow(form.bits, state.gpr(4));
  state.setData(offset, selector(situation, DATA), 2);
  return needs;
}

/** Bytes of the offset of a far pointer in memory; see `isa/vendor-differences.ts`. */
function offsetBytes({ form }: Situation): number {
  return Math.min(form.size, 32) / 8;
}

/** LDS, LES, LSS: a far pointer in memory. */
export function loadsPointer(situation: Situation): Needs {
  const { form, random, state } = situation;
  const offset = random.below(200);
  state.setData(offset + offsetBytes(situation), selector(situation, DATA), 2);
  return { target: dataStart(form.bits) + offset };
}

/**
 * Where a far transfer goes: selector, and an offset in that segment. No calls from 16-bit to
 * 64-bit code: no manual says whether the old or the new stack width counts in the pushes.
 */
function destination(situation: Situation): { selector: number; offset: bigint } {
  const { bits, encoding } = situation.form;
  const wanted = selector(situation, CODE);
  const call = bits === 16 && encoding.row.mnemonic.startsWith('CALL');
  const chosen = call && wanted === 0x33 ? 0x07 : wanted;
  return { selector: chosen, offset: landing(situation, chosen === 0x07 ? 16 : 64) };
}

export function farIndirect(situation: Situation): Needs {
  const needs = stack(situation);
  const { form, random, state } = situation;
  // A jump to 32-bit code would cut a far pointer, and show that in RSP.
  state.setGpr(4, dataStart(form.bits) + 64);
  const { selector: chosen, offset } = destination(situation);
  const at = 160 + random.below(64);
  const bytes = offsetBytes(situation);
  state.setData(at, offset, bytes);
  state.setData(at + bytes, chosen, 2);
  return { ...needs, target: dataStart(form.bits) + at };
}

export function farImmediate(situation: Situation): Needs {
  const { selector: chosen, offset } = destination(situation);
  return { ...stack(situation), pointer: { selector: chosen, offset } };
}

export function farReturn(situation: Situation): Needs {
  const needs = stack(situation);
  const { form, state } = situation;
  const { selector: chosen, offset } = destination(situation);
  const bytes = form.size / 8;
  const at = inWindow(form.bits, state.gpr(4));
  state.setData(at, offset, bytes);
  state.setData(at + bytes, chosen, bytes);
  return needs;
}

/** Status flags, DF and ID: what a user program may change and no trap comes of. */
const FLAGS = 0x200cd5;

export function interruptReturn(situation: Situation): Needs {
  const needs = farReturn(situation);
  const { form, random, state } = situation;
  const bytes = form.size / 8;
  const at = inWindow(form.bits, state.gpr(4));
  state.setData(at + 2 * bytes, random.u32() & FLAGS, bytes);
  state.setData(at + 3 * bytes, random.integer(), bytes);
  state.setData(at + 4 * bytes, selector(situation, DATA), bytes);
  return needs;
}
