/**
 * Numbers of the interpreter's handlers: first the few of the op cache's own, then the cases of the
 * switch (a hot form each, then variants and sequences of hot forms), then the forms that are
 * functions behind a table.
 */
import { type FormInfo, formOf, variantsOf } from '../decode/variant.js';
import type { FlagUse } from '../isa/flag-emitter.js';
import type { Addressing } from '../isa/operand-emitter.js';
import { allRows } from '../isa/table/index.js';
import { row } from '../isa/table/row.js';
import { earlyForms } from './early-forms.js';
import { effectsOf } from './effects.js';
import { sequences } from './sequences.js';

/** The record is no longer valid: look RIP up again. */
export const HANDLER_STALE = 0;
/** The deadline falls before this record. */
export const HANDLER_STOP = 1;
/** End of a block without a branch, in 64-bit mode and outside. */
export const HANDLER_FALL = 2;
export const HANDLER_FALL_LEGACY = 3;
/** The next instruction lies across a page boundary: check where its second page is. */
export const HANDLER_CROSS = 4;
/** Head of a block: nothing to do; or a region to be entered (`jit/`). */
export const HANDLER_HEAD = 5;
export const HANDLER_REGION = 6;
const FIRST_FORM = 7;

/** One instruction of a case. */
export interface CaseItem {
  readonly info: FormInfo;
  /** Number of the form's own handler: what its record says. */
  readonly plain: number;
  readonly flagUse: FlagUse;
  readonly addressing: Addressing;
  /** Emitted for an immediate count that is not zero. */
  readonly countIsSet: boolean;
}

export interface HandlerSet {
  /**
   * Cases of the switch, from number `FIRST_FORM`; first one for each of the hot forms. None in an
   * image (`core-image.ts`), where there are no others.
   */
  readonly cases: readonly (readonly CaseItem[])[];
  /** Number of a form's own handler, by form key. */
  readonly numbers: ReadonlyMap<string, number>;
  /** Forms by number of their own handler: all, or those that `handlerOf` was asked for. */
  readonly forms: (FormInfo | undefined)[];
}

/** What a core module is generated from. */
export interface AllHandlers extends HandlerSet {
  /** Forms with functions, following the cases. */
  readonly cold: readonly FormInfo[];
}

/** Rows that no opcode map holds. */
const EXTRA_ROWS = [row('UD'), row('TOOLONG'), row('NOP'), row('PAUSE'), row('PAUSE_ASKED')];

/** Forms that compilers hardly emit, of instructions that are hot in others. */
const RARE: readonly RegExp[] = [
  /^(?!MOV|CMP|NOP)\w+\.16 /,
  // Destinations in memory of these; bytes there at all, but for comparisons and stores.
  /^(ADC|SBB|NEG|NOT|BT\w?|SHL|SHR|SAR|ROL|ROR|MUL|DIV)\.\d+ m/,
  /^(?!CMP|TEST|MOV)\w+\.8 m/,
  /^(SHL|SHR|SAR|ROL|ROR|MUL|DIV|NEG|NOT|INC|DEC|XCHG|CMPXCHG|ADC|SBB)\.8 /,
  /^(CMPXCHG|XCHG)\.\d+ r/,
  /^(CMOV\w+|ADC|SBB|IMUL3|BSF|BSR)\.\d+ r\d+,m/,
  /^(CMOVN?O|JN?O|CMOVN?P)\./,
  /^SHRD\.\d+ m/,
  // MMX.
  /^(P\w+|MOVD|MOVQ)\.\d+ ([rm]\d+,x64|x64,([rm]\d+|x64))$/,
];

/** Whether a form is worth a case, which costs time when the module is compiled. */
function isHot({ form, description, key }: FormInfo): boolean {
  if (description.hot !== true || form.legacy || form.rep !== 0) return false;
  return !RARE.some((pattern) => pattern.test(key));
}

/**
 * Which cases the switch has: all that make the interpreter fast, or those for code that is not
 * translated yet (`early-forms.ts`).
 */
export type CaseChoice = 'all' | 'early';

/** Every form that the decoder can produce, numbered. */
export function enumerateHandlers(choice: CaseChoice = 'all'): AllHandlers {
  const forms = new Map<string, FormInfo>();
  for (const each of [...EXTRA_ROWS, ...allRows()]) {
    for (const variant of variantsOf(each)) {
      const info = formOf(each, variant);
      if (info !== null && !forms.has(info.key)) forms.set(info.key, info);
    }
  }
  const all = [...forms.values()];
  const early = earlyForms();
  const hasCase = (info: FormInfo): boolean =>
    isHot(info) && (choice === 'all' || early.has(info.key.trim()));
  const hot = all.filter(hasCase);
  const cold = all.filter((info) => !hasCase(info));
  const single = hot.map(caseItem);
  const cases = choice === 'all' ? casesOf(single) : single.map((item) => [item]);
  const numbers = new Map<string, number>();
  for (const [index, info] of hot.entries()) numbers.set(info.key, FIRST_FORM + index);
  for (const [index, info] of cold.entries()) {
    numbers.set(info.key, FIRST_FORM + cases.length + index);
  }
  const set = { cases, cold, numbers, forms: [] };
  for (const info of all) handlerOf(set, info);
  return set;
}

function caseItem(info: FormInfo, index: number): CaseItem {
  const plain = FIRST_FORM + index;
  return { info, plain, flagUse: 'store', addressing: 'any', countIsSet: false };
}

/** With variants and sequences. */
function casesOf(items: readonly CaseItem[]): CaseItem[][] {
  const byKey = new Map(items.map((item) => [item.info.key.trim(), item]));
  const known = (keys: string[]): CaseItem[] =>
    keys.map((key) => byKey.get(key)).filter((item) => item !== undefined);
  const single = items.map((item) => [item]);
  const fused = sequences().map(known).flatMap(withAddressing);
  // Where the last flags can be dropped depends on what follows: a case for either.
  const dropping = [...single, ...fused]
    .map((sequence) => withFlagUses(sequence, true))
    .filter((sequence) => sequence.at(-1)?.flagUse === 'drop');
  return [...single, ...fused.map((sequence) => withFlagUses(sequence, false)), ...dropping];
}

/** Sequences for the usual kinds of addresses; they leave out what the others need. */
function withAddressing(items: readonly CaseItem[]): CaseItem[][] {
  const count = items.filter(({ info }) => effectsOf(info).addresses).length;
  const kinds: readonly Addressing[] = count === 0 ? ['any'] : ['base', 'index'];
  return kinds
    .slice(0, count > 1 ? 1 : 2)
    .map((addressing) =>
      items.map((item) => (effectsOf(item.info).addresses ? { ...item, addressing } : item)),
    );
}

function withFlagUses(items: readonly CaseItem[], dropLast: boolean): CaseItem[] {
  return items.map((item, index) => {
    const { writesFlags, needsCount } = effectsOf(item.info);
    if (!writesFlags) return item;
    const next = items.at(index + 1);
    const drops = next === undefined ? dropLast : true;
    return { ...item, countIsSet: needsCount, flagUse: flagUseOf(item.info, next?.info, drops) };
  });
}

/**
 * What becomes of an instruction's flags: put off where the next one overwrites them; dropped where
 * it neither asks for them nor may fault. Whether what follows then overwrites them is a question
 * of the block (`block-fusion.ts`).
 */
function flagUseOf(info: FormInfo, next: FormInfo | undefined, drops: boolean): FlagUse {
  if (next !== undefined) {
    const after = effectsOf(next);
    if (after.writesFlags && !after.readsFlags) return 'defer';
    if (after.readsFlags || after.observes) return 'store';
  }
  const onlyFlags = info.description.access === 'r' || info.form.size < 32;
  return drops && !onlyFlags && !effectsOf(info).observes ? 'drop' : 'store';
}

/** Number of a form's own handler. */
export function handlerOf({ numbers, forms }: HandlerSet, info: FormInfo): number {
  const handler = numbers.get(info.key) as number;
  forms[handler] ??= info;
  return handler;
}

/** The form of a handler that a record has; undefined for the op cache's own. */
export function formOfHandler(set: HandlerSet, handler: number): FormInfo | undefined {
  return set.cases[handler - FIRST_FORM]?.[0].info ?? set.forms[handler];
}

export function firstCold(set: AllHandlers): number {
  return FIRST_FORM + set.cases.length;
}

/** Number of the handler that executes the first instruction of `handler`'s alone. */
export function plainHandler(set: HandlerSet, handler: number): number {
  return set.cases[handler - FIRST_FORM]?.[0].plain ?? handler;
}

/** `plainHandler` by number, up to the last that has cases; those behind are plain. */
export function plainHandlers(set: HandlerSet): Uint16Array {
  const count = FIRST_FORM + set.cases.length;
  return Uint16Array.from({ length: count }, (_, handler) => plainHandler(set, handler));
}

export function handlerOfCase(index: number): number {
  return FIRST_FORM + index;
}
