/**
 * Paravirtual end of interrupt: while bit 0 of a word in guest memory is set, the guest may end its
 * interrupt by clearing it instead of writing the APIC's EOI register.
 *
 * Source: Linux Documentation/virt/kvm/x86/msr.rst (0x4b564d04).
 */
import type { DmaView } from '@cloister/core';
import type { EoiShortcut } from '../apic/ports.js';

const ENABLE = 1;
/** Bit 1 is reserved: the word is 4-byte aligned. */
const RESERVED = 2;
const TWO_32 = 2 ** 32;
/** Physical addresses end at 2^52. */
const MAX_HIGH = 0xfffff;

export class PvEoi implements EoiShortcut {
  lo = 0;
  hi = 0;
  private readonly byte = new Uint8Array(1);

  constructor(private readonly memory: Pick<DmaView, 'read' | 'write'>) {}

  /** WRMSR; false means #GP. */
  write(lo: number, hi: number): boolean {
    if ((lo & RESERVED) !== 0) return false;
    this.lo = lo >>> 0;
    this.hi = hi >>> 0;
    return true;
  }

  offer(): boolean {
    return (this.lo & ENABLE) !== 0 && this.store(ENABLE);
  }

  withdraw(): boolean {
    if ((this.lo & ENABLE) === 0 || this.hi > MAX_HIGH) return false;
    if (!this.memory.read(this.address, this.byte)) return false;
    if ((this.byte[0]! & ENABLE) === 0) return true;
    this.store(0);
    return false;
  }

  private get address(): number {
    return this.hi * TWO_32 + this.lo - ENABLE;
  }

  private store(value: number): boolean {
    this.byte[0] = value;
    return this.hi <= MAX_HIGH && this.memory.write(this.address, this.byte);
  }
}
