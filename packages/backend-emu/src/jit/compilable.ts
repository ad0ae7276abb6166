/**
 * Which forms are translated: found by trying. The others, and repeated string instructions, are
 * left to the interpreter.
 */
import * as L from '../cpu/layout.js';
import type { FormInfo } from '../decode/variant.js';
import * as R from '../isa/op-record.js';
import { FlagState } from './flag-state.js';
import { RegionCode, UNCOMPILABLE } from './region-code.js';
import { flowOf, RegionEmitter } from './region-emitter.js';

/** By number of the form. */
const known: (boolean | undefined)[] = [];

export function isCompilable(info: FormInfo): boolean {
  let answer = known[info.number];
  if (answer === undefined) {
    answer = !info.form.legacy && info.form.rep === 0 && translates(info);
    known[info.number] = answer;
  }
  return answer;
}

/** An op record of the form, with operands of the right kinds. */
function sampleRecord({ form }: FormInfo): DataView {
  const view = new DataView(new ArrayBuffer(R.OP_SIZE));
  for (const [index, { kind, size }] of form.operands.entries()) {
    const field = R.OP_REG[index];
    if (field === undefined) continue;
    if (kind === 'r') view.setUint16(field, L.gprOffset(1), true);
    if (kind === 'x') view.setUint16(field, size === 128 ? L.XMM : L.ST, true);
  }
  const plain = [R.OP_BASE, R.OP_INDEX, R.OP_SEGMENT];
  for (const field of plain) view.setUint16(field, L.ZERO, true);
  return view;
}

function translates({ form, description }: FormInfo): boolean {
  const code = new RegionCode(sampleRecord({ form } as FormInfo));
  const flags = new FlagState(code, 0);
  code.begin(0);
  flags.begin(false);
  const interpret = (): void => {
    // What does nothing but leave is not worth it.
    if (code.mutated || code.scopes === 0) throw UNCOMPILABLE;
  };
  const exits = { interpret, jump: () => {}, branch: () => {} };
  const access = description.access ?? 'rw';
  const x = new RegionEmitter(code, form, access, flags, null, exits, flowOf(exits));
  try {
    description.emit(x);
    return true;
  } catch (error) {
    if (error !== UNCOMPILABLE) throw error;
    return false;
  }
}
