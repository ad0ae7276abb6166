/**
 * How handlers end an instruction: as functions of their own, by a return code; as cases of the
 * loop, by a branch.
 */
import * as L from '../cpu/layout.js';
import { type Flow, OUTCOME } from '../isa/flow.js';
import * as R from '../isa/op-record.js';
import type { CodeEmitter, Label, Value } from '../wasm/code.js';

/** What `run` returns. */
export const RUN_STOP = 0;
export const RUN_FAULT = 1;
export const RUN_LEAVE = 2;

/** Flow of a handler that is a function of its own. */
export class FunctionFlow implements Flow {
  constructor(
    readonly code: CodeEmitter,
    readonly cpu: Value,
  ) {}

  fault(): void {
    this.code.return(this.code.i32(OUTCOME.fault));
  }

  jump(target: Value): void {
    this.code.store('i64.store', this.cpu, target, L.RIP);
    this.redispatch();
  }

  enter(record: Value): void {
    this.code.return(record);
  }

  follow(record: Value): void {
    this.enter(record);
  }

  redispatch(): void {
    this.code.return(this.code.i32(OUTCOME.redispatch));
  }

  leave(): void {
    this.code.return(this.code.i32(OUTCOME.leave));
  }
}

/** Locals and labels of the loop. */
export interface LoopContext {
  readonly code: CodeEmitter;
  readonly cpu: Value;
  readonly op: Value;
  readonly tlb: Value;
  readonly target: Value;
  readonly refund: Value;
  /** Go on at `target`, with `refund` instructions of the last block not executed. */
  dispatch: Label;
  /** The budget does not cover the block at `op`. */
  late: Label;
  /** Execute the record `op`. */
  next: Label;
}

/** Ends a case: charges the block at `op` and goes on there. */
export function enterBlock(loop: LoopContext): void {
  const { code, op, refund } = loop;
  chargeBudget(loop, code.op('i32.sub', refund, code.load('i32.load8_u', op, R.OP_REMAINING)));
}

/** Adds `change` to the budget and goes on at `op`, at whose block the run may have to stop. */
function chargeBudget({ code, cpu, late, next }: LoopContext, change: Value): void {
  const budget = code.op('i32.add', code.load('i32.load', cpu, L.BUDGET), change);
  code.store('i32.store', cpu, budget, L.BUDGET);
  code.brIf(code.op('i32.lt_s', budget, code.i32(0)), late);
  code.br(next);
}

/** Flow of a case in the loop. */
export class CaseFlow implements Flow {
  constructor(readonly loop: LoopContext) {}

  /** Instructions of the block that will not run after the current one. */
  #refund(): void {
    const { code, op, refund } = this.loop;
    const remaining = code.load('i32.load8_u', op, R.OP_REMAINING);
    code.set(refund, code.op('i32.sub', remaining, code.i32(1)));
  }

  fault(): void {
    this.loop.code.return(this.loop.code.i32(RUN_FAULT));
  }

  jump(target: Value): void {
    const { code } = this.loop;
    code.set(this.loop.target, target);
    this.#refund();
    code.br(this.loop.dispatch);
  }

  enter(record: Value): void {
    const { code } = this.loop;
    this.#refund();
    code.set(this.loop.op, record);
    enterBlock(this.loop);
  }

  follow(record: Value): void {
    const { code, op } = this.loop;
    const change = code.load('i32.load16_s', op, R.OP_REFUND);
    code.set(op, record);
    chargeBudget(this.loop, change);
  }

  redispatch(): void {
    const { code, cpu } = this.loop;
    this.jump(code.load('i64.load', cpu, L.RIP));
  }

  leave(): void {
    const { code, cpu, refund } = this.loop;
    this.#refund();
    const budget = code.load('i32.load', cpu, L.BUDGET);
    code.store('i32.store', cpu, code.op('i32.add', budget, refund), L.BUDGET);
    code.return(code.i32(RUN_LEAVE));
  }
}
