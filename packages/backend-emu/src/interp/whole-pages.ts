/**
 * Fills that write whole pages: kernels clear memory so. What such a page held before nobody sees,
 * so a frame that is kept under another key need not be re-encoded first.
 */
import { FLAG_DF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Form } from '../isa/form.js';

const ARG0 = L.ARG0 >> 2;
const RAX = L.gprOffset(0) >> 2;
const RCX = L.gprOffset(1) >> 2;
const EFLAGS = L.EFLAGS >> 2;
const PAGE_SIZE = 4096;

/**
 * Whether the instruction in execution is a REP STOS at the start of a page (ARG0) that will have
 * written all of it before the run can end or anybody else can look, if it may use `budget`.
 */
export function overwritesPage(words: Int32Array, form: Form, budget: number): boolean {
  if (form.mnemonic !== 'STOS' || form.addressSize !== 64) return false;
  if ((words[ARG0] & (PAGE_SIZE - 1)) !== 0 || (words[EFLAGS] & FLAG_DF) !== 0) return false;
  const elements = PAGE_SIZE / (form.size >> 3);
  const many = words[RCX + 1] !== 0 || words[RCX] >>> 0 >= elements;
  return many && budget > elements;
}

/** Whether what such an instruction writes is zeros. */
export function fillsWithZeros(words: Int32Array, { size }: Form): boolean {
  if (size === 64) return (words[RAX] | words[RAX + 1]) === 0;
  return words[RAX] << (32 - size) === 0;
}
