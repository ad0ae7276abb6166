/**
 * Status flags within a region.
 *
 * What set the flags last is known while translating, as a rule: then they are the values that the
 * instruction computed with, and are worked out only where they are asked for. Between blocks, and
 * where a region is left, the same values lie in locals with their kind; a helper makes the three
 * words of the record (`isa/flag-emitter.ts`) of them.
 *
 * CF of what came before INC and DEC is kept by itself, at bit 63. Results that follow from the
 * operands are worked out again rather than kept.
 */
import * as L from '../cpu/layout.js';
import { FlagEmitter } from '../isa/flag-emitter.js';
import { CodeEmitter, type Value } from '../wasm/code.js';
import { type FunctionBody, ModuleBuilder } from '../wasm/module.js';

export const KIND = {
  words: 0,
  add: 1,
  sub: 2,
  logic: 3,
  inc: 4,
  dec: 5,
  adc: 6,
  sbb: 7,
} as const;
export type Kind = keyof typeof KIND;

/** Flags whose kind is known. Of `words`, `a` are the carries and `b` is the adjustment. */
export interface KnownFlags {
  readonly kind: Kind;
  readonly size: number;
  readonly result: Value;
  readonly a?: Value;
  readonly b?: Value;
  /** CF at bit 63, of `inc` and `dec`. */
  readonly carry?: Value;
}

/** Flags in the locals, of any kind; whether the local of the carry is CF whatever the kind. */
export interface LocalFlags {
  readonly kind: null;
  readonly carryIsSet: boolean;
}

export type Flags = KnownFlags | LocalFlags;

/** The locals of a region that hold flags. */
export interface FlagLocals {
  readonly kind: Value;
  readonly result: Value;
  readonly a: Value;
  readonly b: Value;
  readonly carry: Value;
}

export function flagLocals(code: CodeEmitter): FlagLocals {
  return {
    kind: code.newLocal('i32'),
    result: code.newLocal('i64'),
    a: code.newLocal('i64'),
    b: code.newLocal('i64'),
    carry: code.newLocal('i64'),
  };
}

/** Parameters of the helper: record, kind, result, a, b, carry. */
export const HELPER_TYPE = {
  params: ['i32', 'i32', 'i64', 'i64', 'i64', 'i64'],
  results: [],
} as const;

const SIZES = [8, 16, 32, 64];

/** The kind as the helper takes it; 0: `words`. */
export function kindNumber(kind: Kind, size: number): number {
  const hasSize = kind !== 'words' && kind !== 'logic';
  return KIND[kind] * SIZES.length + (hasSize ? SIZES.indexOf(size) : 0);
}

/** Makes words of known flags: how the helper and the translator agree with the interpreter. */
export class FlagWordsEmitter extends FlagEmitter {
  words(flags: KnownFlags): { result: Value; carries: Value; adjust: Value } {
    const { result } = flags;
    return { result, carries: this.carriesOf(flags), adjust: this.adjustOf(flags) };
  }

  carriesOf({ kind, size, result, a, b, carry }: KnownFlags): Value {
    switch (kind) {
      case 'add':
      case 'adc':
        return this.aligned(this.addCarries(a as Value, b as Value, result), size);
      case 'sub':
      case 'sbb':
        return this.aligned(this.subCarries(a as Value, b as Value, result), size);
      case 'inc':
      case 'dec':
        return this.stepCarries(a as Value, kind === 'inc' ? 1 : -1, result, size, carry as Value);
      case 'logic':
        return this.i64(0);
      default:
        return a as Value;
    }
  }

  adjustOf({ kind, result, a, b }: KnownFlags): Value {
    switch (kind) {
      case 'add':
      case 'adc':
      case 'sub':
      case 'sbb':
        return this.auxiliary(a as Value, b as Value, result);
      case 'inc':
      case 'dec':
        return this.auxiliary(a as Value, this.i64(1), result);
      case 'logic':
        return this.i64(0);
      default:
        return b as Value;
    }
  }
}

/** Kinds whose result follows from `a` and `b`. */
const IMPLIED: ReadonlySet<Kind> = new Set(['add', 'sub', 'inc', 'dec']);

export function impliesResult(kind: Kind): boolean {
  return IMPLIED.has(kind);
}

/** The result that `kind` implies of its operands. */
function impliedResult(x: FlagWordsEmitter, kind: Kind, size: number, a: Value, b: Value): Value {
  const operand = kind === 'inc' || kind === 'dec' ? x.i64(1) : b;
  const adds = kind === 'add' || kind === 'inc';
  return x.signExtend(adds ? x.add(a, operand) : x.sub(a, operand), size);
}

/** The helper, as a module of its own. */
export function flagHelperModule(): Uint8Array {
  const module = new ModuleBuilder({ minimum: 1, shared: false });
  const index = module.declare('flags', HELPER_TYPE);
  module.exportFunction('flags', index);
  module.setBody(index, flagHelperBody());
  return module.build();
}

/** What stores the words of flags of any kind in the record. */
export function flagHelperBody(): FunctionBody {
  const code = new CodeEmitter(HELPER_TYPE.params);
  const x = new FlagWordsEmitter(code, code.param(0));
  const [kept, a, b, carry] = [2, 3, 4, 5].map((number) => code.param(number));
  const kinds = Object.keys(KIND) as Kind[];
  const cases = kinds.flatMap((kind) => SIZES.map((size) => ({ kind, size })));
  const labels = cases.map(() => code.openBlock()).reverse();
  code.brTable(code.param(1), labels, labels[0]);
  for (const { kind, size } of cases) {
    code.close();
    code.scope(() => {
      const result = impliesResult(kind) ? impliedResult(x, kind, size, a, b) : kept;
      const words = x.words({ kind, size, result, a, b, carry });
      x.setState64(L.FLAG_RES, words.result);
      x.setState64(L.FLAG_CV, words.carries);
      x.setState64(L.FLAG_ADJ, words.adjust);
      code.return();
    });
  }
  return code.finish();
}
