/**
 * Delivery of exceptions and interrupts in emitted code: the usual one, from 64-bit code at CPL 0
 * or 3 through a gate to 64-bit code at CPL 0. It looks at everything before it changes anything,
 * and leaves the rest to `system/deliver-long.ts`: other modes and privileges, whatever would
 * fault, tables and stacks that the TLB has not got or that lie in two pages, EFLAGS.AC (it chooses
 * among the TLBs).
 *
 * Source: AMD APM vol. 2, 8.9 (long-mode interrupts), 12.2.5 (TSS), 4.8.4 (gates).
 */
import { FLAG_AC, FLAG_IF, FLAG_NT, FLAG_TF, FLAG_VM } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { MODE_64 } from '../cpu/mode.js';
import type { CoreFunctions } from '../isa/flow.js';
import { MemoryEmitter } from '../isa/memory-emitter.js';
import * as D from '../isa/semantics/descriptor.js';
import { enter, SUPERVISOR } from '../isa/semantics/fast-calls.js';
import { CodeEmitter, type Label, type Value } from '../wasm/code.js';
import type { FunctionBody } from '../wasm/module.js';
import { FunctionFlow } from './flows.js';

/**
 * `(vector, error code or -1, further bits of the saved RFLAGS)`: 1 if the event was delivered; 0
 * if it was not, and nothing has changed. The frame shows RIP. For events other than INT n.
 */
export type DeliverUsual = (vector: number, error: number, flags: number) => number;

const RSP = L.gprOffset(4);
const CS = L.segmentOffset(L.SEG.cs);
const SS = L.segmentOffset(L.SEG.ss);
const TR = L.segmentOffset(L.SEG.tr);
/** Error code, RIP, CS, RFLAGS, RSP, SS, 8 bytes each. */
const FRAME = { error: 0, rip: 8, cs: 16, flags: 24, rsp: 32, ss: 40, size: 48 } as const;
const NO_ERROR = -1;
const INTERRUPT_GATE = 14 << D.TYPE_SHIFT;
/** Type, but for its lowest bit, which tells trap gates from interrupt gates. */
const GATE_KIND = D.P | (0x1e << D.TYPE_SHIFT);
const TRAP = 1 << D.TYPE_SHIFT;
const CODE_KIND = D.S | D.CODE | D.CONFORMING | D.P | D.DPL | D.ACCESSED | D.LONG | D.DB;
const TSS = { rsp0: 4, beforeIst: 0x1c } as const;

class Delivery extends MemoryEmitter {
  readonly #vector = this.code.param(0);
  readonly #error = this.code.param(1);
  readonly #flags = this.code.param(2);

  body(): FunctionBody {
    const { code } = this;
    code.block((unusual) => code.scope(() => this.#deliver(unusual)));
    code.return(this.i32(0));
    code.unreachable();
    return code.finish();
  }

  #deliver(unusual: Label): void {
    const { code } = this;
    const otherMode = this.ne(this.state32(L.MODE), this.i32(MODE_64));
    const otherCode = this.ne(this.state32(L.CODE_MODES + 4 * SUPERVISOR), this.i32(MODE_64));
    const access = this.and(this.state32(L.EFLAGS), this.i32(FLAG_AC));
    code.brIf(this.or(this.or(otherMode, otherCode), access), unusual);
    const user = this.state32(L.CPL);
    code.brIf(this.and(this.ne(user, this.i32(3)), this.ne(user, this.i32(0))), unusual);
    const { gate, target } = this.#gate(unusual);
    const selector = this.and(this.shrU(gate.lo, this.i32(16)), this.i32(0xfffc));
    const segment = D.readDescriptor(this, selector, unusual);
    const usual = D.S | D.CODE | D.P | D.ACCESSED | D.LONG;
    code.brIf(this.ne(this.and(segment.hi, this.i32(CODE_KIND)), this.i32(usual)), unusual);
    const top = this.#stack(this.and(gate.hi, this.i32(7)), user, unusual);
    const frame = this.sub(this.and(top, this.i64(~15)), this.i64(FRAME.size));
    const host = this.known(frame, FRAME.size, L.TLB_TAG_WRITE, unusual);
    // Nothing below fails.
    this.#push(host);
    const hasNone = this.widen(this.eq(this.#error, this.i32(NO_ERROR)));
    this.setState64(RSP, this.add(frame, this.shl(hasNone, this.i64(3))));
    D.cacheSegment(this, CS, selector, segment);
    this.if(user, () => D.cacheNullStack(this));
    enter(this, SUPERVISOR, 0);
    this.#clearFlags(this.and(gate.hi, this.i32(TRAP)));
    this.setState64(L.RESUME_AT, this.i64(-1));
    this.setState64(L.RIP, target);
    code.return(this.i32(1));
  }

  /** The gate of the vector, and where it leads. */
  #gate(unusual: Label): { gate: D.Descriptor; target: Value } {
    const { code } = this;
    const offset = this.shl(this.#vector, this.i32(4));
    const end = this.add(offset, this.i32(15));
    code.brIf(this.gtU(end, this.state32(L.IDTR + 8)), unusual);
    const host = this.known(
      this.add(this.state64(L.IDTR), this.widen(offset)), 16, L.TLB_TAG_READ, unusual,
    ); // biome-ignore format: one line of arguments
    const gate = { lo: code.load('i32.load', host), hi: code.load('i32.load', host, 4) };
    const kind = this.and(gate.hi, this.i32(GATE_KIND));
    code.brIf(this.ne(kind, this.i32(D.P | INTERRUPT_GATE)), unusual);
    const upper = this.shl(code.load('i64.load32_u', host, 8), this.i64(32));
    const middle = this.and(gate.hi, this.i32(0xffff0000 | 0));
    const low = this.or(middle, this.and(gate.lo, this.i32(0xffff)));
    const target = this.or(upper, this.widen(low));
    code.brIf(this.ne(this.signExtend48(target), target), unusual);
    return { gate, target };
  }

  /** The stack pointer below which the frame comes: of the TSS, or as it is. */
  #stack(ist: Value, user: Value, unusual: Label): Value {
    const { code } = this;
    const top = this.variable(this.state64(RSP));
    this.if(this.or(ist, user), () => {
      const byIst = this.add(this.shl(ist, this.i32(3)), this.i32(TSS.beforeIst));
      const offset = this.select(ist, byIst, this.i32(TSS.rsp0));
      const end = this.add(offset, this.i32(7));
      code.brIf(this.gtU(end, this.state32(TR + L.SEG_LIMIT)), unusual);
      const address = this.add(this.state64(TR), this.widen(offset));
      const host = this.known(address, 8, L.TLB_TAG_READ, unusual);
      this.set(top, code.load('i64.load', host));
    });
    return top;
  }

  #push(host: Value): void {
    const { code } = this;
    const put = (field: number, value: Value): void => code.store('i64.store', host, value, field);
    const selector = (segment: number): Value =>
      this.stateAs('i64.load16_u', segment + L.SEG_SELECTOR);
    put(FRAME.rip, this.state64(L.RIP));
    put(FRAME.cs, selector(CS));
    const flags = this.or(this.state32(L.EFLAGS), this.statusImage());
    put(FRAME.flags, this.widen(this.or(flags, this.#flags)));
    put(FRAME.rsp, this.state64(RSP));
    put(FRAME.ss, selector(SS));
    const hasError = this.ne(this.#error, this.i32(NO_ERROR));
    this.if(hasError, () => put(FRAME.error, this.widen(this.#error)));
  }

  #clearFlags(trap: Value): void {
    const kept = ~(FLAG_TF | FLAG_NT | FLAG_VM);
    const mask = this.select(trap, this.i32(kept), this.i32(kept & ~FLAG_IF));
    this.setState32(L.EFLAGS, this.and(this.state32(L.EFLAGS), mask));
  }
}

export function deliveryBody(cpuBase: number, core: CoreFunctions): FunctionBody {
  const code = new CodeEmitter(['i32', 'i32', 'i32']);
  const cpu = code.globalGet(cpuBase);
  return new Delivery(code, cpu, code.i32(0), core, new FunctionFlow(code, cpu)).body();
}
