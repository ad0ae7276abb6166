/**
 * The time-stamp counter of one vCPU: virtual nanoseconds plus TSC_OFFSET, so 1 GHz nominal.
 *
 * Source: AMD APM vol. 2, 13.2.4 (TSC); Intel SDM vol. 3, 17.17.3 (TSC_ADJUST, which hypervisors
 * offer to AMD guests too). All arithmetic is modulo 2^64 on lo/hi pairs.
 *
 * The offset lies in the vCPU record, so that emitted code can form the counter by itself and a
 * snapshot of the record holds it.
 */
import type { Clock } from '@cloister/core';
import { TSC_OFFSET } from '../cpu/layout.js';

const TWO_32 = 2 ** 32;

export class TimeStamp {
  /** Result of the last `read`, `readOffset` or `at`. */
  lo = 0;
  hi = 0;
  private readonly listeners: (() => void)[] = [];

  constructor(
    private readonly clock: Clock,
    /** The vCPU record, from cpuBase. */
    private readonly view: DataView,
  ) {}

  /** Calls `listener` after the offset has changed. */
  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  /** Sets `lo`/`hi` to the counter's value now. */
  read(): void {
    this.at(this.clock.now());
  }

  /** Sets `lo`/`hi` to the counter's value at virtual time `time`. */
  at(time: number): void {
    const lo = (time >>> 0) + this.view.getUint32(TSC_OFFSET, true);
    const carry = lo >= TWO_32 ? 1 : 0;
    const hi = Math.floor(time / TWO_32) + this.view.getUint32(TSC_OFFSET + 4, true) + carry;
    this.lo = lo >>> 0;
    this.hi = hi >>> 0;
  }

  /** Makes the counter read `lo`/`hi` now. */
  write(lo: number, hi: number): void {
    this.read();
    this.shift(lo - this.lo, hi - this.hi);
  }

  /** Adds a 64-bit difference, given as two (possibly negative) words, to the offset. */
  shift(lo: number, hi: number): void {
    const low = this.view.getUint32(TSC_OFFSET, true) + lo;
    const high = this.view.getUint32(TSC_OFFSET + 4, true) + hi + Math.floor(low / TWO_32);
    this.view.setUint32(TSC_OFFSET, low >>> 0, true);
    this.view.setUint32(TSC_OFFSET + 4, high >>> 0, true);
    for (const listener of this.listeners) listener();
  }

  /** Sets `lo`/`hi` to the offset: what TSC_ADJUST shows, zero after reset. */
  readOffset(): void {
    this.lo = this.view.getUint32(TSC_OFFSET, true);
    this.hi = this.view.getUint32(TSC_OFFSET + 4, true);
  }

  writeOffset(lo: number, hi: number): void {
    this.readOffset();
    this.shift(lo - this.lo, hi - this.hi);
  }

  /** Ticks from now until the counter reads `lo`/`hi`, unsigned; 0 or less when it has passed. */
  until(lo: number, hi: number): number {
    this.read();
    const low = lo - this.lo;
    const high = hi - this.hi + (low < 0 ? -1 : 0);
    return high * TWO_32 + (low >>> 0);
  }
}
