/**
 * What DR0 to DR3 arm, and what has hit them: the state behind debug traps, without the traps.
 *
 * Source: AMD APM vol. 2, 13.1.1.4 (DR7), 13.1.2 (breakpoints). Nothing is asked while nothing is
 * armed: pages with a data breakpoint have no TLB tag for what it watches, so that their accesses
 * come by the slow path; pages with a code breakpoint are never reached by the jump cache.
 */
import * as L from './layout.js';
import type { CpuRecord } from './record.js';
import { CR4_DE } from './registers.js';

const DR7 = L.DR + 7 * 8;
/** R/W field of DR7. */
const ON_EXECUTE = 0;
const ON_WRITE = 1;
const ON_PORT = 2;
/** Bytes by the LEN field: 1, 2, 8, 4. */
const LENGTHS = [1, 2, 8, 4];
const PAGE_MASK = ~0xfff;

interface Breakpoint {
  /** Bit of DR6. */
  readonly bit: number;
  readonly kind: number;
  readonly bytes: number;
  /** Aligned to `bytes`. */
  readonly lo: number;
  readonly hi: number;
}

export class Breakpoints {
  /** Some breakpoint on data, code, ports is armed. */
  data = false;
  code = false;
  ports = false;
  /** Bits of DR6 for what the instruction in execution has touched. */
  hits = 0;
  /** Called when something has been hit: the run must end after the instruction. */
  onHit: () => void = () => {};
  private armed: readonly Breakpoint[] = [];

  constructor(private readonly record: CpuRecord) {}

  /** Takes over the debug registers. True if translations made before are void. */
  configure(): boolean {
    const before = this.data || this.code;
    const dr7 = this.record.i32(DR7);
    const ports = (this.record.i32(L.CR4) & CR4_DE) !== 0;
    const armed = [0, 1, 2, 3]
      .filter((index) => ((dr7 >>> (index * 2)) & 3) !== 0)
      .map((index) => this.breakpoint(index, dr7 >>> (16 + index * 4)))
      // Without CR4.DE the encoding for ports is undefined; it does nothing.
      .filter(({ kind }) => kind !== ON_PORT || ports);
    this.armed = armed;
    this.code = armed.some(({ kind }) => kind === ON_EXECUTE);
    this.ports = armed.some(({ kind }) => kind === ON_PORT);
    this.data = armed.some(({ kind }) => kind === ON_WRITE || kind > ON_PORT);
    return before || this.data || this.code;
  }

  private breakpoint(index: number, control: number): Breakpoint {
    const kind = control & 3;
    const bytes = kind === ON_EXECUTE ? 1 : LENGTHS[(control >>> 2) & 3];
    const field = L.DR + index * 8;
    const lo = this.record.lo(field) & ~(bytes - 1);
    return { bit: 1 << index, kind, bytes, lo, hi: this.record.hi(field) };
  }

  /** Notes an access to data at a linear address. */
  touch(lo: number, hi: number, bytes: number, write: boolean): void {
    for (const each of this.armed) {
      if (each.kind === ON_EXECUTE || each.kind === ON_PORT) continue;
      if (each.kind === ON_WRITE && !write) continue;
      const distance = (each.hi - hi) * 2 ** 32 + ((each.lo >>> 0) - (lo >>> 0));
      if (distance < bytes && -distance < each.bytes) this.hit(each.bit);
    }
  }

  private hit(bit: number): void {
    this.hits |= bit;
    this.onHit();
  }

  /** Notes an access to ports. */
  touchPort(port: number, bytes: number): void {
    if (!this.ports) return;
    for (const each of this.armed) {
      if (each.kind !== ON_PORT) continue;
      const distance = (each.lo & 0xffff) - port;
      if (distance < bytes && -distance < each.bytes) this.hit(each.bit);
    }
  }

  /** Bits of DR6 for an instruction that begins at a linear address. */
  codeAt(lo: number, hi: number): number {
    let bits = 0;
    for (const { kind, bit, lo: atLo, hi: atHi } of this.armed) {
      if (kind === ON_EXECUTE && atLo === lo && atHi === hi) bits |= bit;
    }
    return bits;
  }

  /** Whether a breakpoint on code lies in the page of a linear address. */
  codePage(lo: number, hi: number): boolean {
    return this.armed.some(
      (each) => each.kind === ON_EXECUTE && samePage(each.lo, lo) && each.hi === hi,
    );
  }

  /** Whether reads (else writes) in the page of a linear address must be seen. */
  dataPage(lo: number, hi: number, reads: boolean): boolean {
    return this.armed.some(
      ({ kind, lo: atLo, hi: atHi }) =>
        (kind > ON_PORT || (kind === ON_WRITE && !reads)) && samePage(atLo, lo) && atHi === hi,
    );
  }
}

function samePage(a: number, b: number): boolean {
  return ((a ^ b) & PAGE_MASK) === 0;
}
