/**
 * Goes from region to region (`jit/`) without the interpreter's loop: `(record of the vCPU, head of
 * the block) → where the interpreter goes on`.
 *
 * Where a region ends with a jump, the jump cache is asked here. What the interpreter is given is
 * an op record, whose block is charged, or 0: go on at RIP. While this runs BUDGET is in a local
 * and flags may have any kind that regions know; both are put right in the end.
 */
import * as L from '../cpu/layout.js';
import { FlagEmitter } from '../isa/flag-emitter.js';
import * as R from '../isa/op-record.js';
import { EXIT, EXIT_MASK } from '../jit/exit.js';
import { exchangeEntries, jumpMiss, jumpPlaces } from '../jit/jump-entry.js';
import { REGION_TYPE } from '../jit/region-code.js';
import { flagHelperBody, HELPER_TYPE } from '../jit/region-flags.js';
import { CodeEmitter, type Label, type Value } from '../wasm/code.js';
import type { FunctionBody, ModuleBuilder } from '../wasm/module.js';
import { HANDLER_REGION } from './handlers.js';

/** Of the first word of an op record: what is there besides the handler. */
const REMAINING_SHIFT = R.OP_REMAINING * 8;
const HANDLER_MASK = 0xffff;
const PAGE_MASK = ~0xfffn;

/** Makes the function in `module` and gives its number. */
export function declareRegionChain(module: ModuleBuilder): number {
  const helper = module.declare('flagWords', HELPER_TYPE);
  module.setBody(helper, flagHelperBody());
  const index = module.declare('regions', { params: ['i32', 'i32'], results: ['i32'] });
  module.setBody(index, new RegionChain(module.typeIndex(REGION_TYPE), helper).build());
  return index;
}

class RegionChain {
  readonly #code = new CodeEmitter(['i32', 'i32']);
  readonly #cpu = this.#code.param(0);
  readonly #op = this.#code.param(1);
  readonly #x = new FlagEmitter(this.#code, this.#cpu);
  readonly #budget = this.#code.variable(this.#x.state32(L.BUDGET));
  /** Instructions that were left when it began. */
  readonly #first: Value;
  readonly #cache: Value;
  readonly #generation: Value;
  /** Exits by jumps. */
  readonly #jumps: Value;
  readonly #target = this.#code.newLocal('i64');
  /** First word of the record that is entered. */
  readonly #word = this.#code.newLocal('i32');

  constructor(
    readonly regionType: number,
    readonly helper: number,
  ) {
    const x = this.#x;
    const code = this.#code;
    this.#first = code.variable(x.add(this.#budget, this.#remainingAt(this.#op)));
    this.#cache = x.add(this.#cpu, x.state32(L.JUMP_CACHE));
    this.#generation = x.stateAs('i64.load32_u', L.GENERATION);
    this.#jumps = code.variable(x.i64(0));
  }

  build(): FunctionBody {
    const code = this.#code;
    const x = this.#x;
    x.setState32(L.REGION_KIND, x.i32(0));
    x.setState64(L.REGION_CARRY, x.and(x.state64(L.FLAG_CV), x.i64(-(2n ** 63n))));
    code.block((elsewhere) => {
      code.loop((next) => code.scope(() => this.#round(next, elsewhere)));
    });
    this.#end(x.i32(0));
    code.return(x.i32(0));
    code.unreachable();
    return code.finish();
  }

  #remainingAt(record: Value): Value {
    return this.#code.load('i32.load8_u', record, R.OP_REMAINING);
  }

  /** Executes the region at whose head `op` is, and goes on behind it; `elsewhere`: at RIP. */
  #round(next: Label, elsewhere: Label): void {
    const code = this.#code;
    const x = this.#x;
    const slot = code.load('i32.load', this.#op, R.OP_REGION);
    const entry = code.load('i32.load', this.#op, R.OP_ENTRY);
    const args = [this.#cpu, entry, this.#budget];
    const answer = code.callIndirect(this.regionType, 'i64', slot, ...args);
    code.set(this.#budget, x.wrap(x.shrU(answer, x.i64(32))));
    const result = x.wrap(answer);
    x.if(x.eqz(result), () => this.#jump(next, elsewhere));
    code.set(this.#op, x.and(result, x.i32(~EXIT_MASK)));
    const reason = code.variable(x.and(result, x.i32(EXIT_MASK)));
    const counter = x.add(this.#cpu, x.shl(reason, x.i32(3)));
    const times = code.load('i64.load', counter, L.REGION_EXITS);
    code.store('i64.store', counter, x.add(times, x.i64(1)), L.REGION_EXITS);
    code.set(this.#word, code.load('i32.load', this.#op));
    x.if(x.eq(reason, x.i32(EXIT.block)), () => this.#onward(next));
    this.#leave();
  }

  /** Goes on at RIP by the jump cache. */
  #jump(next: Label, elsewhere: Label): void {
    const code = this.#code;
    const x = this.#x;
    code.set(this.#jumps, x.add(this.#jumps, x.i64(1)));
    code.set(this.#target, x.state64(L.RIP));
    const { home, beside } = jumpPlaces(code, this.#cache, this.#target);
    const miss = (entry: Value): Value => {
      const different = jumpMiss(code, entry, this.#target, this.#generation);
      return code.op('i64.ne', different, x.i64(0));
    };
    x.if(miss(home), () =>
      code.scope(() => {
        const second = beside();
        code.brIf(miss(second), elsewhere);
        exchangeEntries(code, home, second);
      }),
    );
    code.set(this.#op, code.load('i32.load', home, 12));
    code.set(this.#word, code.load('i32.load', this.#op));
    code.set(this.#budget, x.sub(this.#budget, x.shrU(this.#word, x.i32(REMAINING_SHIFT))));
    // No instruction at whose block a region begins crosses into another page.
    x.setState64(L.RIP_PAGE, x.and(this.#target, x.i64(PAGE_MASK)));
    this.#onward(next);
    const behind = code.load('i64.load16_u', this.#op, R.OP_NEXT);
    const length = code.load('i64.load8_u', this.#op, R.OP_LENGTH);
    x.setState64(L.RIP_PAGE, x.sub(this.#target, x.sub(behind, length)));
    this.#leave();
  }

  /** Enters the block at `op`, which is charged, if it has a region and the budget covers it. */
  #onward(next: Label): void {
    const x = this.#x;
    const isRegion = x.eq(x.and(this.#word, x.i32(HANDLER_MASK)), x.i32(HANDLER_REGION));
    const covered = x.geS(this.#budget, x.i32(0));
    this.#code.brIf(x.and(isRegion, covered), next);
  }

  #leave(): void {
    this.#end(this.#remainingAt(this.#op));
    this.#code.return(this.#op);
  }

  /** Puts the record right; of the instructions charged `rest` have not been executed. */
  #end(rest: Value): void {
    const code = this.#code;
    const x = this.#x;
    x.setState32(L.BUDGET, this.#budget);
    const executed = x.sub(x.sub(this.#first, this.#budget), rest);
    const whole = x.add(x.state64(L.REGION_INSTRUCTIONS), code.op('i64.extend_i32_s', executed));
    x.setState64(L.REGION_INSTRUCTIONS, whole);
    const counter = L.REGION_EXITS + EXIT.jump * 8;
    x.setState64(counter, x.add(x.state64(counter), this.#jumps));
    const kind = x.state32(L.REGION_KIND);
    const words = [L.FLAG_RES, L.FLAG_CV, L.FLAG_ADJ, L.REGION_CARRY].map((at) => x.state64(at));
    x.if(kind, () => code.callVoid(this.helper, this.#cpu, kind, ...words));
  }
}
