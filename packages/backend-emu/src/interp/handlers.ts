/**
 * Numbers of the interpreter's handlers: first the few of the op cache's own, then the forms with a
 * case in the switch, then those that are functions behind a table.
 */
import { type FormInfo, formOf, variantsOf } from '../decode/variant.js';
import { allRows } from '../isa/table/index.js';
import { row } from '../isa/table/row.js';

/** The record is no longer valid: look RIP up again. */
export const HANDLER_STALE = 0;
/** The deadline falls before this record. */
export const HANDLER_STOP = 1;
/** End of a block without a branch, in 64-bit mode and outside. */
export const HANDLER_FALL = 2;
export const HANDLER_FALL_LEGACY = 3;
/** The next instruction lies across a page boundary: check where its second page is. */
export const HANDLER_CROSS = 4;
const FIRST_FORM = 5;

export interface HandlerSet {
  /** Forms with cases, from number `FIRST_FORM`. */
  readonly hot: readonly FormInfo[];
  /** Forms with functions, following the hot ones. */
  readonly cold: readonly FormInfo[];
  /** Handler number by form key. */
  readonly numbers: ReadonlyMap<string, number>;
}

/** Rows that no opcode map holds. */
const EXTRA_ROWS = [row('UD'), row('TOOLONG'), row('NOP'), row('PAUSE')];

/** Whether a form is worth a case: hot in 64-bit mode, in the sizes that compilers emit. */
function isHot({ form, description }: FormInfo): boolean {
  if (description.hot !== true || form.legacy || form.rep !== 0) return false;
  const [first] = form.operands;
  return form.size !== 16 || first === undefined || ['MOV', 'CMP'].includes(form.mnemonic);
}

/** Every form that the decoder can produce, numbered. */
export function enumerateHandlers(): HandlerSet {
  const forms = new Map<string, FormInfo>();
  for (const each of [...EXTRA_ROWS, ...allRows()]) {
    for (const variant of variantsOf(each)) {
      const info = formOf(each, variant);
      if (info !== null && !forms.has(info.key)) forms.set(info.key, info);
    }
  }
  const all = [...forms.values()];
  const hot = all.filter(isHot);
  const cold = all.filter((info) => !isHot(info));
  const numbers = new Map<string, number>();
  for (const [index, info] of [...hot, ...cold].entries())
    numbers.set(info.key, FIRST_FORM + index);
  return { hot, cold, numbers };
}

/** The form of a handler; undefined for the op cache's own. */
export function formOfHandler(set: HandlerSet, handler: number): FormInfo | undefined {
  const index = handler - FIRST_FORM;
  return set.hot[index] ?? set.cold[index - set.hot.length];
}

export function firstCold(set: HandlerSet): number {
  return FIRST_FORM + set.hot.length;
}
