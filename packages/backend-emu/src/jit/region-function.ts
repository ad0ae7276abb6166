/**
 * Emits the function of a region:
 * `(record of the vCPU, number of the entry, budget) → where to go on`.
 *
 * What it returns has the budget in its upper half; the lower is an op record's address, with the
 * reason in its low bits, or 0: go on at RIP. The budget is charged as the interpreter does, block
 * by block on the edges between them, so that any op record at which a region is left is a place
 * where the interpreter goes on as if it had come there by itself.
 */
import * as L from '../cpu/layout.js';
import { TOP } from '../isa/flag-emitter.js';
import type { Flow } from '../isa/flow.js';
import * as R from '../isa/op-record.js';
import type { Label, Value } from '../wasm/code.js';
import type { FunctionBody } from '../wasm/module.js';
import { EXIT } from './exit.js';
import { FlagState } from './flag-state.js';
import { jumpMiss, jumpPlaces } from './jump-entry.js';
import { PageCache } from './page-cache.js';
import type { Region, RegionNode, RegionOp } from './region.js';
import { RegionCode, UNCOMPILABLE } from './region-code.js';
import { flowOf, RegionEmitter, type RegionExits } from './region-emitter.js';
import { StructureEmitter } from './structure.js';

/** What a translator asks the op cache. */
export interface RecordView {
  readonly view: DataView;
  /** Address of the head of the block at host address `host`, 0 if there is none. */
  headAt(host: number): number;
}

const PAGE_SIZE = 4096;

/** Makes locals free that the beginning of the function needs, before any other is made. */
function reserve(code: RegionCode): void {
  code.scope(() => {
    code.newLocal('i32');
    code.newLocal('i64');
  });
}

export class RegionFunction {
  readonly #code: RegionCode;
  readonly #flags: FlagState;
  readonly #structure: StructureEmitter;
  readonly #pages: PageCache;
  #exit!: Label;
  /** The node and the instruction that are emitted. */
  #current!: RegionNode;
  #op!: RegionOp;
  readonly #exits: RegionExits;
  readonly #flow: Flow;

  constructor(
    readonly region: Region,
    readonly records: RecordView,
    readonly helper: number,
  ) {
    this.#code = new RegionCode(records.view);
    this.#exits = {
      interpret: () => this.#interpret(this.#op.record),
      jump: (target) => this.#jump(target),
      branch: (offset) =>
        this.#goTo(this.#current.base + offset, this.#remaining(this.#op.record) - 1),
    };
    this.#flow = flowOf(this.#exits);
    this.#flags = new FlagState(this.#code, helper);
    reserve(this.#code);
    this.#pages = new PageCache(this.#code);
    this.#structure = new StructureEmitter(this.#code, this.#code.state, region.nodes, (index) =>
      this.#node(region.nodes[index]),
    );
  }

  build(): FunctionBody {
    const code = this.#code;
    code.block((exit) => {
      this.#exit = exit;
      this.#structure.emit();
    });
    this.#leave();
    const body = code.finish();
    const prologue = this.#enter();
    const whole = new Uint8Array(prologue.length + body.code.length);
    whole.set(prologue);
    whole.set(body.code, prologue.length);
    return { locals: body.locals, code: whole };
  }

  /** What is done when the region is entered: emitted last, when it is known what it uses. */
  #enter(): Uint8Array {
    // The same locals in the same order.
    const code = new RegionCode(this.records.view);
    const flags = new FlagState(code, this.helper);
    const { locals } = flags;
    reserve(code);
    const cpu = code.param(0);
    const load = (local: Value, offset: number): void =>
      code.loadRaw(local, local.type === 'i64' ? 'i64.load' : 'i32.load', offset);
    load(code.ripPage, L.RIP_PAGE);
    load(code.tlb, L.TLB);
    code.scope(() => code.set(code.tlb, code.op('i32.add', cpu, code.tlb)));
    load(locals.kind, L.REGION_KIND);
    load(locals.result, L.FLAG_RES);
    load(locals.a, L.FLAG_CV);
    load(locals.b, L.FLAG_ADJ);
    load(locals.carry, L.REGION_CARRY);
    // CF has to be there whatever the flags' kind.
    if (this.region.nodes.some(({ entry, needsCarry }) => entry && needsCarry)) {
      flags.callHelper();
      code.set(locals.kind, code.i32(0));
      load(locals.result, L.FLAG_RES);
      load(locals.a, L.FLAG_CV);
      load(locals.b, L.FLAG_ADJ);
      code.scope(() => code.set(locals.carry, code.op('i64.and', locals.a, code.i64(TOP))));
    }
    for (let number = 0; number < 16; number++) {
      if ((this.#code.used & (1 << number)) === 0) continue;
      load(code.registers[number], L.gprOffset(number));
    }
    const { code: bytes } = code.finish();
    return bytes.subarray(0, bytes.length - 1);
  }

  #leave(): void {
    const code = this.#code;
    const cpu = code.param(0);
    for (let number = 0; number < 16; number++) {
      if ((code.dirty & (1 << number)) === 0) continue;
      code.storeRaw('i64.store', cpu, code.registers[number], L.gprOffset(number));
    }
    const { locals } = this.#flags;
    code.storeRaw('i32.store', cpu, locals.kind, L.REGION_KIND);
    code.storeRaw('i64.store', cpu, locals.result, L.FLAG_RES);
    code.storeRaw('i64.store', cpu, locals.a, L.FLAG_CV);
    code.storeRaw('i64.store', cpu, locals.b, L.FLAG_ADJ);
    code.storeRaw('i64.store', cpu, locals.carry, L.REGION_CARRY);
    code.scope(() => {
      const low = code.op('i64.extend_i32_u', code.result);
      const high = code.op('i64.shl', code.op('i64.extend_i32_u', code.budget), code.i64(32));
      code.return(code.op('i64.or', low, high));
    });
    code.unreachable();
  }

  // Nodes ------------------------------------------------------------------------------------

  #node(node: RegionNode): void {
    const code = this.#code;
    this.#current = node;
    this.#flags.begin(node.needsCarry);
    const pages = node.loops ? this.#pages : null;
    for (const op of node.ops) {
      const { form, description } = op.info;
      this.#op = op;
      code.begin(op.record);
      let ended = false;
      code.scope(() => {
        const access = description.access ?? 'rw';
        const x = new RegionEmitter(
          code, form, access, this.#flags, pages, this.#exits, this.#flow,
        ); // biome-ignore format: one line of arguments
        description.emit(x);
        ended = x.ended;
      });
      this.#flags.sweep();
      if (ended) return;
    }
    const { end } = node;
    if (end === null) return;
    code.mutated = false;
    if ('op' in end) this.#interpret(end.op);
    else this.#goTo(end.next, this.#left(node));
  }

  /** Instructions of the node's block behind those that it executes. */
  #left({ block, ops }: RegionNode): number {
    return this.#remaining(block.record) - ops.length;
  }

  #remaining(record: number): number {
    return this.records.view.getUint8(record + R.OP_REMAINING);
  }

  // Ways out ---------------------------------------------------------------------------------

  #out(result: number): void {
    const code = this.#code;
    code.set(code.result, code.i32(result));
    code.br(this.#exit);
  }

  #interpret(record: number): void {
    if (this.#code.mutated) throw UNCOMPILABLE;
    this.#flags.toLocals(false);
    this.#out(record | EXIT.interpret);
  }

  #charge(change: number): void {
    const code = this.#code;
    if (change === 0) return;
    code.set(code.budget, code.op('i32.add', code.budget, code.i32(change)));
  }

  /** Goes on at RIP `target`. */
  #jump(target: Value): void {
    const code = this.#code;
    const { record } = this.#op;
    const { targets, base } = this.#current;
    if (targets.length > 0) {
      const distance = code.op('i64.sub', target, code.ripPage);
      for (const place of targets) {
        code.if(code.op('i64.eq', distance, code.i64(place - base)), () =>
          code.scope(() => this.#goTo(place, this.#remaining(record) - 1)),
        );
      }
    }
    this.#flags.toLocals(false);
    this.#charge(this.#remaining(record) - 1);
    this.#leaveTo(target);
  }

  #leaveTo(target: Value): void {
    const code = this.#code;
    code.storeRaw('i64.store', code.param(0), target, L.RIP);
    this.#out(EXIT.jump);
  }

  /** The address of a place, as seen from the current node's page. */
  #address(place: number): Value {
    const code = this.#code;
    return code.op('i64.add', code.ripPage, code.i64(place - this.#current.base));
  }

  /** Goes on at `place`; `refund` instructions of the block are not executed. */
  #goTo(place: number, refund: number): void {
    const node = this.region.byPlace.get(place);
    const { base, block } = this.#current;
    const offset = place - base;
    const inPage = offset >= 0 && offset < PAGE_SIZE;
    if (node !== undefined) {
      if (!inPage) this.#cross(node, place, refund);
      this.#enterNode(node, refund);
      return;
    }
    const head = inPage ? this.records.headAt((block.key >>> 0) - block.start + offset) : 0;
    this.#flags.toLocals(false);
    if (head === 0) {
      this.#charge(refund);
      this.#leaveTo(this.#address(place));
      return;
    }
    this.#charge(refund - this.#remaining(head));
    this.#out(head | EXIT.block);
  }

  #enterNode(node: RegionNode, refund: number): void {
    const code = this.#code;
    const head = node.block.record - R.OP_SIZE;
    this.#charge(refund - this.#remaining(head));
    code.if(code.op('i32.lt_s', code.budget, code.i32(0)), () =>
      code.scope(() => {
        this.#flags.toLocals(false);
        this.#out(head | EXIT.deadline);
      }),
    );
    if (!node.setsFlags) this.#flags.toLocals(node.needsCarry);
    this.#structure.branch(node.index);
  }

  /**
   * Leaves the region unless `node` is what the jump cache has for `place`, in another page: what
   * lies where, and what may be executed, can have changed. The interpreter would ask the same;
   * what it finds beside its place it puts back into it.
   */
  #cross(node: RegionNode, place: number, refund: number): void {
    const code = this.#code;
    const cpu = code.param(0);
    code.scope(() => {
      const target = code.variable(this.#address(place));
      const cache = code.op('i32.add', cpu, code.load('i32.load', cpu, L.JUMP_CACHE));
      const entry = jumpPlaces(code, cache, target).home;
      const generation = code.load('i64.load32_u', cpu, L.GENERATION);
      const different = jumpMiss(code, entry, target, generation);
      const head = code.i32(node.block.record - R.OP_SIZE);
      const distance = code.op('i32.sub', code.load('i32.load', entry, 12), head);
      // The block is entered at its head or at its first record.
      const elsewhere = code.op('i32.and', distance, code.i32(~R.OP_SIZE));
      const wrong = code.op('i64.or', different, code.op('i64.extend_i32_u', elsewhere));
      code.if(code.op('i64.ne', wrong, code.i64(0)), () =>
        code.scope(() => {
          this.#flags.toLocals(false);
          this.#charge(refund);
          this.#leaveTo(target);
        }),
      );
    });
    code.scope(() => {
      const pages = code.i64(node.base - this.#current.base);
      code.set(code.ripPage, code.op('i64.add', code.ripPage, pages));
      code.storeRaw('i64.store', cpu, code.ripPage, L.RIP_PAGE);
    });
  }
}
