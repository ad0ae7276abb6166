/**
 * The core module: the interpreter's loop and everything that emitted code calls, generated from
 * the instruction descriptions: by the build (`core-image.ts`), or by the process that needs it.
 *
 * `run()` executes op records until the budget is used up, a fault is pending, or a system function
 * says so. One loop with one br_table; cases for the hot forms, a table of functions for the rest.
 */
import * as L from '../cpu/layout.js';
import { MODE_64, MODE_SIZE_MASK } from '../cpu/mode.js';
import type { FormInfo } from '../decode/variant.js';
import { Emitter } from '../isa/emitter.js';
import { FlagEmitter } from '../isa/flag-emitter.js';
import { type CoreFunctions, type Flow, OUTCOME } from '../isa/flow.js';
import { tlbOffset } from '../isa/memory-emitter.js';
import * as R from '../isa/op-record.js';
import { findTarget } from '../jit/jump-entry.js';
import { REACH_TYPE, type Reach } from '../mmu/fast-walk.js';
import { CodeEmitter, type Value } from '../wasm/code.js';
import { type MemoryLimits, ModuleBuilder } from '../wasm/module.js';
import { addressBody, eflagsBody, findBody, setStatusBody, storeBody } from './core-functions.js';
import { deliveryBody } from './delivery.js';
import {
  CaseFlow,
  enterBlock,
  FunctionFlow,
  type LoopContext,
  RUN_FAULT,
  RUN_STOP,
} from './flows.js';
import {
  type AllHandlers,
  type CaseChoice,
  type CaseItem,
  enumerateHandlers,
  firstCold,
  HANDLER_CROSS,
  HANDLER_FALL,
  HANDLER_FALL_LEGACY,
  HANDLER_HEAD,
  HANDLER_REGION,
  HANDLER_STALE,
  HANDLER_STOP,
} from './handlers.js';
import { declareRegionChain } from './region-chain.js';

/** Functions that the core module imports, all but the first with i32 parameters and result. */
export interface CoreImports {
  /** See `mmu/fast-walk.ts`; where it gives 0, one of the next three is called. */
  readonly reach: Reach;
  loadSlow(bytes: number): number;
  storeSlow(bytes: number): number;
  prepareRmw(bytes: number): number;
  commitRmw(): void;
  /** Place of the segment in the record, offset in ARG0; 1 if a fault is pending. */
  checkSegment(segment: number, bytes: number, write: number): number;
  /** Calls system function `number`; see `system/outcome.ts`. */
  system(number: number): number;
  /** Record of the target of the branch `op`, in the same page, linked to it; 0: look RIP up. */
  link(op: number): number;
  /** Record of the block at RIP, decoded if need be; 0 if a fault is pending. */
  lookup(): number;
  /** The budget does not cover the block at `op`: 1 to stop now, 0 to go on. */
  deadline(op: number): number;
  /** Whether the second page of the instruction after `op` is where it was: 1 if so. */
  crossing(op: number): number;
}

export interface CoreModule {
  readonly bytes: Uint8Array;
  readonly handlers: AllHandlers;
}

/** In the loop the TLB's address is kept in a local. */
class CaseEmitter extends Emitter {
  tlbLocal: Value | null = null;

  protected override tlb(): Value {
    return this.tlbLocal ?? super.tlb();
  }
}

/** Handlers of the op cache's own, by number. */
const SPECIAL = [
  ...[HANDLER_STALE, HANDLER_STOP, HANDLER_FALL, HANDLER_FALL_LEGACY, HANDLER_CROSS],
  ...[HANDLER_HEAD, HANDLER_REGION],
];

class CoreModuleBuilder {
  readonly #module: ModuleBuilder;
  readonly #cpuBase: number;
  readonly #functions: CoreFunctions;
  readonly #reach: number;
  readonly #slow: Readonly<Record<'load' | 'store' | 'update', number>>;
  readonly #lookup: number;
  readonly #deliver: number;
  readonly #deadline: number;
  readonly #crossing: number;
  readonly #handlerType: number;
  /** Number of the function that executes regions. */
  readonly #regions: number;

  constructor(
    memory: MemoryLimits,
    readonly handlers: AllHandlers,
    readonly systemNumber: (name: string) => number,
  ) {
    const module = new ModuleBuilder(memory);
    this.#module = module;
    this.#cpuBase = module.importGlobal('cpuBase');
    const i32 = (count: number) => Array.from({ length: count }, () => 'i32' as const);
    this.#reach = module.importFunction('reach', REACH_TYPE);
    const imported = (name: keyof CoreImports, params: number): number =>
      module.importFunction(name, {
        params: i32(params),
        results: name === 'commitRmw' ? [] : ['i32'],
      });
    this.#slow = {
      load: imported('loadSlow', 1),
      store: imported('storeSlow', 1),
      update: imported('prepareRmw', 1),
    };
    const imports = {
      commitRmw: imported('commitRmw', 0),
      system: imported('system', 1),
      link: imported('link', 1),
      checkSegment: imported('checkSegment', 3),
    };
    this.#lookup = imported('lookup', 0);
    this.#deadline = imported('deadline', 1);
    this.#crossing = imported('crossing', 1);
    this.#handlerType = module.typeIndex({ params: ['i32'], results: ['i32'] });
    const slow = { params: i32(1), results: i32(1) };
    this.#functions = {
      ...imports,
      load: module.declare('load', slow),
      store: module.declare('store', slow),
      update: module.declare('update', slow),
      addressSlow: module.declare('addressSlow', { params: i32(3), results: ['i64'] }),
      eflags: module.declare('eflags', { params: [], results: ['i32'] }),
      setStatus: module.declare('setStatus', { params: i32(2), results: [] }),
    };
    this.#deliver = module.declare('deliver', { params: i32(3), results: i32(1) });
    this.#regions = declareRegionChain(module);
  }

  build(): Uint8Array {
    const { addressSlow, checkSegment, eflags, setStatus, load, store, update } = this.#functions;
    const module = this.#module;
    const reach = this.#reach;
    const slow = this.#slow;
    module.setBody(load, findBody(this.#cpuBase, reach, slow.load, false));
    module.setBody(store, storeBody(this.#cpuBase, reach, slow.store));
    module.setBody(update, findBody(this.#cpuBase, reach, slow.update, true));
    module.setBody(addressSlow, addressBody(this.#cpuBase, checkSegment));
    module.setBody(eflags, eflagsBody(this.#cpuBase));
    module.setBody(setStatus, setStatusBody(this.#cpuBase, eflags));
    module.setBody(this.#deliver, deliveryBody(this.#cpuBase, this.#functions));
    module.exportFunction('eflags', eflags);
    module.exportFunction('deliver', this.#deliver);
    module.exportTable('functions');
    for (const info of this.handlers.cold) this.#buildCold(info);
    this.#buildRun();
    return this.#module.build();
  }

  #buildCold(info: FormInfo): void {
    const index = this.#module.declare(info.key, { params: ['i32'], results: ['i32'] });
    this.#module.addToTable(index);
    const code = new CodeEmitter(['i32']);
    const cpu = code.globalGet(this.#cpuBase);
    const x = this.#emitter(info, code, cpu, code.param(0), new FunctionFlow(code, cpu));
    info.description.emit(x);
    code.return(code.i32(OUTCOME.next));
    code.unreachable();
    this.#module.setBody(index, code.finish());
  }

  #emitter(info: FormInfo, code: CodeEmitter, cpu: Value, op: Value, flow: Flow): CaseEmitter {
    const access = info.description.access ?? 'rw';
    const { form } = info;
    return new CaseEmitter(
      code, cpu, op, form, this.#functions, flow, this.systemNumber, access,
    ); // biome-ignore format: one line of arguments
  }

  #buildRun(): void {
    const index = this.#module.declare('run', { params: [], results: ['i32'] });
    this.#module.exportFunction('run', index);
    const code = new CodeEmitter([]);
    const cpu = code.variable(code.globalGet(this.#cpuBase));
    const label = { depth: 0 };
    const loop: LoopContext = {
      code,
      cpu,
      op: code.newLocal('i32'),
      tlb: code.newLocal('i32'),
      target: code.variable(code.load('i64.load', cpu, L.RIP)),
      refund: code.variable(code.i32(0)),
      dispatch: label,
      late: label,
      next: label,
    };
    code.block((begin) => {
      loop.next = begin;
      this.#enterings(loop, () => this.#dispatch(loop));
    });
    // One loop, not one in another: what V8 lifts out of the inner is paid for at every block.
    code.loop((next) => {
      loop.next = next;
      this.#enterings(loop, () => {
        code.block((dispatch) => {
          loop.dispatch = dispatch;
          this.#switch(loop);
        });
        this.#dispatch(loop);
      });
    });
    code.unreachable();
    this.#module.setBody(index, code.finish());
  }

  /** Emits `body`, whose blocks are entered, and what is done where the budget is too small. */
  #enterings(loop: LoopContext, body: () => void): void {
    const { code, op } = loop;
    code.block((late) => {
      loop.late = late;
      code.scope(body);
    });
    code.scope(() => {
      const stop = code.call(this.#deadline, 'i32', op);
      code.if(stop, () => code.return(code.i32(RUN_STOP)));
    });
    code.br(loop.next);
  }

  /** Goes on at `target`, whose block may lie under another TLB. */
  #dispatch(loop: LoopContext): void {
    const { code, cpu, tlb } = loop;
    code.set(tlb, code.op('i32.add', cpu, code.load('i32.load', cpu, L.TLB)));
    this.#enterTarget(loop, false);
  }

  /**
   * Finds the record of `target` in the jump cache, at its place or beside it, or has it looked up,
   * and enters its block.
   * `stale`: `op` is void, and the jump cache may have led there.
   */
  #enterTarget(loop: LoopContext, stale: boolean): void {
    const { code, cpu, op, target } = loop;
    const x = new FlagEmitter(code, cpu);
    const cache = code.variable(x.add(cpu, x.state32(L.JUMP_CACHE)));
    const generation = code.variable(x.stateAs('i64.load32_u', L.GENERATION));
    const search = { cache, target, generation, op, stale };
    findTarget(code, search, () => this.#lookUp(loop));
    // Behind an instruction that crosses into the next page, the page is another.
    this.#setRipPage(loop);
    enterBlock(loop);
  }

  /** Notes the page that offsets in the block of `op`, which begins at `target`, count from. */
  #setRipPage({ code, cpu, op, target }: LoopContext): void {
    const x = new FlagEmitter(code, cpu);
    const next = code.load('i64.load16_u', op, R.OP_NEXT);
    const length = code.load('i64.load8_u', op, R.OP_LENGTH);
    x.setState64(L.RIP_PAGE, x.sub(target, x.sub(next, length)));
  }

  /** Has the record of `target` looked up, and decoded if need be. */
  #lookUp({ code, cpu, op, target, refund }: LoopContext): void {
    const x = new FlagEmitter(code, cpu);
    x.setState64(L.RIP, target);
    code.set(op, code.call(this.#lookup, 'i32'));
    x.if(x.eqz(op), () => {
      x.setState32(L.BUDGET, x.add(x.state32(L.BUDGET), refund));
      code.return(code.i32(RUN_FAULT));
    });
  }

  #switch(loop: LoopContext): void {
    const { code, op } = loop;
    const count = SPECIAL.length + this.handlers.cases.length;
    const otherwise = code.openBlock();
    const labels = Array.from({ length: count }, () => code.openBlock()).reverse();
    code.scope(() => {
      const handler = code.load('i32.load16_u', op, R.OP_HANDLER);
      code.brTable(handler, labels, otherwise);
    });
    for (const number of SPECIAL) {
      code.close();
      code.scope(() => this.#special(loop, number));
    }
    for (const items of this.handlers.cases) {
      code.close();
      code.scope(() => this.#case(loop, items));
    }
    code.close();
    code.scope(() => this.#callCold(loop));
  }

  /** Executes the instructions of a case one after the other. */
  #case(loop: LoopContext, items: readonly CaseItem[]): void {
    const { code, cpu, op, next } = loop;
    let previous: CaseEmitter | undefined;
    for (const { info, plain, flagUse, addressing, countIsSet } of items) {
      const x = this.#emitter(info, code, cpu, op, new CaseFlow(loop));
      x.tlbLocal = loop.tlb;
      x.flagUse = flagUse;
      x.addressing = addressing;
      x.countIsSet = countIsSet;
      if (previous !== undefined) {
        const before = previous;
        code.set(op, code.op('i32.add', op, code.i32(R.OP_SIZE)));
        const handler = code.load('i32.load16_u', op, R.OP_HANDLER);
        x.if(code.op('i32.ne', handler, code.i32(plain)), () => {
          before.storeFlags();
          code.br(next);
        });
        x.follow(before);
      }
      info.description.emit(x);
      previous = x;
    }
    if (previous?.ended !== true) this.#advance(loop);
  }

  #advance({ code, op, next }: LoopContext): void {
    code.set(op, code.op('i32.add', op, code.i32(R.OP_SIZE)));
    code.br(next);
  }

  #special(loop: LoopContext, number: number): void {
    const { code, cpu, op } = loop;
    const x = new FlagEmitter(code, cpu);
    const next = code.load('i64.load16_u', op, R.OP_NEXT);
    const length = code.load('i64.load8_u', op, R.OP_LENGTH);
    const page = x.state64(L.RIP_PAGE);
    switch (number) {
      case HANDLER_STALE:
      case HANDLER_STOP: {
        const rip = x.add(page, x.sub(next, length));
        const remaining = code.load('i32.load8_u', op, R.OP_REMAINING);
        if (number === HANDLER_STALE) {
          code.set(loop.target, rip);
          code.set(loop.refund, remaining);
          this.#enterTarget(loop, true);
        } else {
          x.setState64(L.RIP, rip);
          x.setState32(L.BUDGET, x.add(x.state32(L.BUDGET), remaining));
          code.return(code.i32(RUN_STOP));
        }
        return;
      }
      case HANDLER_FALL:
      case HANDLER_FALL_LEGACY: {
        const link = code.load('i32.load', op, R.OP_LINK);
        code.set(loop.refund, x.i32(0));
        x.if(x.gtU(link, x.i32(R.LINK_UNRESOLVED)), () => {
          code.set(op, link);
          enterBlock(loop);
        });
        const rip = x.add(page, next);
        code.set(loop.target, number === HANDLER_FALL ? rip : x.zeroExtend(rip, 32));
        code.br(loop.dispatch);
        return;
      }
      case HANDLER_HEAD:
        this.#advance(loop);
        return;
      case HANDLER_REGION:
        this.#region(loop);
        return;
      default: {
        this.#advanceIfMapped(loop);
        x.if(code.call(this.#crossing, 'i32', op), () => this.#advance(loop));
        code.set(loop.target, x.add(page, x.sub(next, length)));
        code.set(loop.refund, code.load('i32.load8_u', op, R.OP_REMAINING));
        code.br(loop.dispatch);
      }
    }
  }

  /**
   * Goes on behind `op` if the TLB has the page that its instruction reaches into where it was.
   * Only in 64-bit mode: elsewhere CS has a base, and addresses are cut.
   */
  #advanceIfMapped(loop: LoopContext): void {
    const { code, cpu, op, tlb } = loop;
    const x = new FlagEmitter(code, cpu);
    const size = x.and(x.state32(L.MODE), x.i32(MODE_SIZE_MASK));
    x.if(x.eq(size, x.i32(MODE_64)), () => {
      const page = code.variable(x.add(x.state64(L.RIP_PAGE), x.i64(4096)));
      const entry = code.variable(x.add(tlb, tlbOffset(x, page)));
      const tag = code.load('i64.load', entry, L.TLB_TAG_EXECUTE);
      const host = x.add(x.wrap(page), code.load('i32.load', entry, L.TLB_ADDEND));
      const where = code.load('i32.load', op, R.OP_IMMEDIATE);
      x.if(x.and(x.eq(tag, page), x.eq(host, where)), () => this.#advance(loop));
    });
  }

  /** Executes regions from the block on whose head is `op`, and goes on where the last says. */
  #region(loop: LoopContext): void {
    const { code, cpu, op } = loop;
    const x = new FlagEmitter(code, cpu);
    // A deadline falls into the block.
    x.if(x.ltS(x.state32(L.BUDGET), x.i32(0)), () => this.#advance(loop));
    code.set(op, code.call(this.#regions, 'i32', cpu, op));
    x.if(x.eqz(op), () => {
      code.set(loop.target, x.state64(L.RIP));
      code.set(loop.refund, x.i32(0));
      code.br(loop.dispatch);
    });
    code.brIf(x.ltS(x.state32(L.BUDGET), x.i32(0)), loop.late);
    code.br(loop.next);
  }

  #callCold(loop: LoopContext): void {
    const { code, op } = loop;
    const flow = new CaseFlow(loop);
    const handler = code.load('i32.load16_u', op, R.OP_HANDLER);
    const slot = code.op('i32.sub', handler, code.i32(firstCold(this.handlers)));
    const outcome = code.callIndirect(this.#handlerType, 'i32', slot, op);
    code.if(code.op('i32.eqz', outcome), () => this.#advance(loop));
    const is = (value: number): Value => code.op('i32.eq', outcome, code.i32(value));
    code.if(is(OUTCOME.fault), () => flow.fault());
    code.if(is(OUTCOME.leave), () => flow.leave());
    code.if(is(OUTCOME.redispatch), () => flow.redispatch());
    flow.enter(outcome);
  }
}

/** Generates the core module for a memory of the given limits. */
export function buildCoreModule(
  memory: MemoryLimits,
  systemNumber: (name: string) => number,
  cases: CaseChoice = 'all',
): CoreModule {
  const handlers = enumerateHandlers(cases);
  return { bytes: new CoreModuleBuilder(memory, handlers, systemNumber).build(), handlers };
}
