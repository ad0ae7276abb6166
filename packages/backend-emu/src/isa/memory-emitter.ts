/**
 * Guest memory in the description language: linear addresses to bytes, by way of the TLB.
 *
 * An access within one page that the TLB knows is emitted inline; everything else (a miss, a page
 * crossing, MMIO, a page with code) is a call of a slow path, with the data in BOUNCE.
 */
import * as L from '../cpu/layout.js';
import type { CodeEmitter, Label, Value } from '../wasm/code.js';
import { FlagEmitter } from './flag-emitter.js';
import type { CoreFunctions, Flow } from './flow.js';

/** Offset in a TLB of the entry of `address`, by the same hash as `mmu/tlb.ts`. */
export function tlbOffset(x: FlagEmitter, address: Value): Value {
  const folded = x.wrap(x.xor(address, x.shrU(address, x.i64(10))));
  const shift = Math.log2(L.TLB_ENTRY_SIZE);
  const mask = x.i32((L.TLB_ENTRIES - 1) << shift);
  return x.and(x.shrU(folded, x.i32(12 - shift)), mask);
}

export class MemoryEmitter extends FlagEmitter {
  constructor(
    code: CodeEmitter,
    cpu: Value,
    readonly op: Value,
    readonly core: CoreFunctions,
    readonly flow: Flow,
  ) {
    super(code, cpu);
  }

  /** Address of the TLB of the current privilege. Overridden where it is kept in a local. */
  protected tlb(): Value {
    return this.add(this.cpu, this.state32(L.TLB));
  }

  /** The TLB entry of `address`. */
  protected tlbEntry(address: Value, tlb?: Value): Value {
    return this.add(tlb ?? this.tlb(), tlbOffset(this, address));
  }

  /**
   * Host address of `bytes` bytes at `address` that the processor itself accesses, as CPL 0, by
   * `tag`. Goes to `elsewhere` unless they are known, in one page.
   */
  known(address: Value, bytes: number, tag: number, elsewhere: Label): Value {
    const entry = this.tlbEntry(address, this.add(this.cpu, this.i32(L.TLB_SUPERVISOR)));
    this.code.brIf(this.misses(entry, tag, address, bytes), elsewhere);
    return this.hostAddress(entry, address);
  }

  /** Whether the entry's tag does not cover `bytes` bytes at `address`: miss or page crossing. */
  protected misses(entry: Value, tag: number, address: Value, bytes: number): Value {
    const distance = this.xor(address, this.code.load('i64.load', entry, tag));
    return this.gtU(distance, this.i64(4096 - bytes));
  }

  protected hostAddress(entry: Value, address: Value): Value {
    return this.add(this.wrap(address), this.code.load('i32.load', entry, L.TLB_ADDEND));
  }

  /** Makes the state whole before a call that may look at it: flags, instruction in execution. */
  markOp(): void {
    this.storeFlags();
    this.code.store('i32.store', this.cpu, this.op, L.CUR_OP);
  }

  /** Calls a slow path with `address` in ARG0, and leaves with a fault if it reports one. */
  #slow(index: number, address: Value, bytes: number, host: Value): void {
    this.markOp();
    this.code.store('i64.store', this.cpu, address, L.ARG0);
    this.code.set(host, this.code.call(index, 'i32', this.i32(bytes)));
    this.if(this.eqz(host), () => this.flow.fault());
    // So that it need not be kept during the call.
    this.code.set(this.op, this.state32(L.CUR_OP));
  }

  /**
   * Host address from which `bytes` bytes at `address` can be read; BOUNCE, where `touched` of them
   * are loaded, if the memory is none that can be accessed like this.
   */
  readable(address: Value, bytes: number, touched = bytes): Value {
    const host = this.code.newLocal('i32');
    this.code.scope(() => {
      const entry = this.tlbEntry(address);
      this.if(
        this.misses(entry, L.TLB_TAG_READ, address, bytes),
        () => this.#slow(this.core.load, address, touched, host),
        () => this.code.set(host, this.hostAddress(entry, address)),
      );
    });
    return host;
  }

  /** Loads `size` bits at linear `address`, extended to i64. */
  load(address: Value, size: number, signed = true): Value {
    return this.code.load(loadName(size, signed), this.readable(address, size >> 3));
  }

  /** Loads with any load instruction (e.g. `v128.load`, `f64.load`). */
  loadAs(name: string, address: Value, bytes: number): Value {
    return this.code.load(name, this.readable(address, bytes));
  }

  /** Stores the low `size` bits of the i64 `value` at linear `address`. */
  store(address: Value, value: Value, size: number): void {
    this.storeAs(storeName(size), address, value, size >> 3);
  }

  /** Stores with any store instruction. */
  storeAs(name: string, address: Value, value: Value, bytes: number): void {
    this.code.scope(() => {
      const entry = this.tlbEntry(address);
      this.if(
        this.misses(entry, L.TLB_TAG_WRITE, address, bytes),
        () => {
          this.code.store(name, this.cpu, value, L.BOUNCE);
          this.#slow(this.core.store, address, bytes, this.code.newLocal('i32'));
        },
        () => this.code.store(name, this.hostAddress(entry, address), value),
      );
    });
  }

  /** Host address of `bytes` bytes at `address`, readable and writable; ended by `commit`. */
  update(address: Value, bytes: number, touched = bytes): Value {
    const host = this.code.newLocal('i32');
    this.code.scope(() => {
      const entry = this.tlbEntry(address);
      this.if(
        this.misses(entry, L.TLB_TAG_WRITE, address, bytes),
        () => this.#slow(this.core.update, address, touched, host),
        () => this.code.set(host, this.hostAddress(entry, address)),
      );
    });
    return host;
  }

  /** Makes bytes written at `host` (from `update`) visible; cannot fault. */
  commit(host: Value): void {
    const bounced = this.eq(host, this.add(this.cpu, this.i32(L.BOUNCE)));
    this.if(bounced, () => this.code.callVoid(this.core.commitRmw));
  }
}

const SIGNED: Readonly<Record<number, string>> = {
  8: 'i64.load8_s',
  16: 'i64.load16_s',
  32: 'i64.load32_s',
  64: 'i64.load',
};
const UNSIGNED: Readonly<Record<number, string>> = {
  8: 'i64.load8_u',
  16: 'i64.load16_u',
  32: 'i64.load32_u',
  64: 'i64.load',
};
const STORES: Readonly<Record<number, string>> = {
  8: 'i64.store8',
  16: 'i64.store16',
  32: 'i64.store32',
  64: 'i64.store',
};

/** The load instruction for `size` bits extended to i64. */
export function loadName(size: number, signed: boolean): string {
  return signed ? SIGNED[size] : UNSIGNED[size];
}

export function storeName(size: number): string {
  return STORES[size];
}
