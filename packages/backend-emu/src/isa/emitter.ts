/**
 * The language of instruction descriptions: `x` in `define('ADC', …, (x) => …)`.
 *
 * A description says what an instruction does and never who is asking. This class emits loads
 * through the op record's fields (operands dynamic); a translator overrides the methods marked so
 * and emits locals and constants instead (operands static).
 *
 * Integer operand values are i64, sign-extended from their size. Rules for exactness: read
 * everything, write memory before registers, registers before flags; a fault then leaves the state
 * of before the instruction.
 */

import * as L from '../cpu/layout.js';
import { MODE_CODE_LIMITED } from '../cpu/mode.js';
import { VECTOR_GP } from '../cpu/registers.js';
import type { CodeEmitter, Label, Value } from '../wasm/code.js';
import type { ValueType } from '../wasm/encode.js';
import { type CoreFunctions, type Flow, OUTCOME } from './flow.js';
import type { Form } from './form.js';
import * as R from './op-record.js';
import { StackEmitter } from './stack-emitter.js';

export class Emitter extends StackEmitter {
  /** True when the description has ended the instruction itself on every path. */
  ended = false;

  constructor(
    code: CodeEmitter,
    cpu: Value,
    op: Value,
    form: Form,
    core: CoreFunctions,
    flow: Flow,
    readonly systemNumber: (name: string) => number,
    access: string,
  ) {
    super(code, cpu, op, form, core, flow, access);
  }

  // Control flow -----------------------------------------------------------------------------

  /** RIP after this instruction. Overridden by a translator. */
  nextRip(): Value {
    const next = this.code.load('i64.load16_u', this.op, R.OP_NEXT);
    return this.#wholeRip(this.add(this.state64(L.RIP_PAGE), next));
  }

  /** RIP of this instruction. */
  rip(): Value {
    const next = this.code.load('i64.load16_u', this.op, R.OP_NEXT);
    const length = this.code.load('i64.load8_u', this.op, R.OP_LENGTH);
    return this.#wholeRip(this.sub(this.add(this.state64(L.RIP_PAGE), next), length));
  }

  /** The address of an instruction: 32 bits outside 64-bit mode, whatever the operand size. */
  #wholeRip(rip: Value): Value {
    return this.legacy ? this.zeroExtend(rip, 32) : rip;
  }

  /** Cuts a branch target to the operand size. AMD APM vol. 3, 1.2.2: in 64-bit mode as well. */
  cutRip(target: Value): Value {
    if (this.size === 16) return this.zeroExtend(target, 16);
    return this.legacy ? this.zeroExtend(target, 32) : target;
  }

  /** Goes to the relative target of the instruction. Overridden by a translator. */
  branchRelative(): void {
    const link = this.code.load('i32.load', this.op, R.OP_LINK);
    this.if(this.gtU(link, this.i32(R.LINK_UNRESOLVED)), () => this.flow.follow(link));
    const displacement = this.code.load('i64.load', this.op, R.OP_DISPLACEMENT);
    const target = this.cutRip(this.add(this.state64(L.RIP_PAGE), displacement));
    this.if(link, () => {
      this.markOp();
      this.code.store('i64.store', this.cpu, target, L.RIP);
      const record = this.code.call(this.core.link, 'i32', this.op);
      this.if(record, () => this.flow.follow(record));
    });
    this.flow.jump(target);
  }

  /**
   * Outside 64-bit mode: #GP(0) of the instruction for a relative target, if it branches, behind
   * the limit of CS. Comes before anything changes; `before` runs where there is a limit.
   */
  requireRelative(before?: () => void): void {
    if (!this.legacy) return;
    this.if(this.and(this.state32(L.MODE), this.i32(MODE_CODE_LIMITED)), () => {
      this.code.scope(() => {
        before?.();
        const displacement = this.code.load('i64.load', this.op, R.OP_DISPLACEMENT);
        this.requireInCode(this.cutRip(this.add(this.state64(L.RIP_PAGE), displacement)));
      });
    });
  }

  /** #GP(0) of the instruction for a target (i64, cut) behind the limit of CS. */
  requireInCode(target: Value): void {
    const field = L.segmentOffset(L.SEG.cs) + L.SEG_LIMIT;
    const limit = this.code.load('i64.load32_u', this.cpu, field);
    this.if(this.gtU(target, limit), () => this.raise(VECTOR_GP, 0));
  }

  /** Starts the instruction again: the next iteration of a repeated one. */
  repeat(): void {
    this.flow.jump(this.rip());
  }

  /** Goes to the RIP in `target`, which the caller has checked or a fetch will check. */
  branchTo(target: Value): void {
    this.flow.jump(this.cutRip(target));
  }

  /** The same for a target that an instruction names by an operand: where it led is noted. */
  branchIndirect(target: Value): void {
    if (!this.legacy) {
      const distance = this.wrap(this.sub(target, this.state64(L.RIP_PAGE)));
      const place = this.state32(L.INDIRECT_NEXT);
      const pair = this.add(this.cpu, place);
      this.code.store('i32.store', pair, this.op, L.INDIRECT);
      this.code.store('i32.store', pair, distance, L.INDIRECT + 4);
      const next = this.add(place, this.i32(L.INDIRECT_PAIR_SIZE));
      const end = L.INDIRECT_PAIRS * L.INDIRECT_PAIR_SIZE;
      this.setState32(L.INDIRECT_NEXT, this.and(next, this.i32(end - 1)));
    }
    this.branchTo(target);
  }

  /** Instructions that the vCPU has executed before this one (i64). */
  executed(): Value {
    const remaining = this.code.load('i32.load8_u', this.op, R.OP_REMAINING);
    const left = this.add(this.state32(L.BUDGET), remaining);
    return this.sub(this.state64(L.COUNT_END), this.code.op('i64.extend_i32_s', left));
  }

  // Out of the language ----------------------------------------------------------------------

  /** Calls a system function; arguments go to ARG0…; `result` runs if it says `next`. */
  system(name: string, args: readonly Value[], result?: () => void): void {
    this.markOp();
    args.forEach((value, index) => {
      const wide = value.type === 'i64' ? value : this.code.op('i64.extend_i32_u', value);
      this.code.store('i64.store', this.cpu, wide, L.ARG0 + index * 8);
    });
    const number = this.i32(this.systemNumber(name));
    const outcome = this.code.call(this.core.system, 'i32', number);
    this.if(outcome, () => {
      this.if(this.eq(outcome, this.i32(OUTCOME.fault)), () => this.flow.fault());
      this.if(this.eq(outcome, this.i32(OUTCOME.leave)), () => this.flow.leave());
      this.flow.redispatch();
    });
    result?.();
  }

  /** Result `index` of a system function. */
  systemResult(index = 0): Value {
    return this.state64(L.ARG0 + index * 8);
  }

  /** RFLAGS with its status flags, as i32. Overridden by a translator. */
  eflags(): Value {
    return this.code.call(this.core.eflags, 'i32');
  }

  /** Takes the status flags under `mask` from an RFLAGS image. Overridden by a translator. */
  setStatus(image: Value, mask: number): void {
    this.code.callVoid(this.core.setStatus, image, this.i32(mask));
  }

  /** A condition of what is rare: a translator leaves the instruction to the interpreter then. */
  rarely(condition: Value): Value {
    return condition;
  }

  /** Raises an exception with the state of before the instruction. */
  raise(vector: number, errorCode = -1): void {
    this.markOp();
    this.setState32(L.FAULT_VECTOR, this.i32(vector));
    this.setState32(L.FAULT_ERROR, this.i32(errorCode));
    this.flow.fault();
  }
}

export type { Label, Value, ValueType };
