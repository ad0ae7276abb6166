/**
 * kvmclock: the wall-clock and system-time structures that a guest asks the hypervisor to keep in
 * its memory, so that it calibrates nothing.
 *
 * Source: Linux Documentation/virt/kvm/x86/msr.rst (0x4b564d00, 0x4b564d01, 0x11, 0x12) and
 * arch/x86/include/asm/pvclock-abi.h (layouts).
 *
 * One tick of the TSC is one nanosecond of system time, so a structure written once stays true;
 * it is written again when the TSC offset changes. The multiplier is a 32-bit fraction below one:
 * (2 * ticks) * 2^31 / 2^32 is exact.
 */
import type { Clock, DmaView } from '@cloister/core';
import type { TimeStamp } from '../timing/time-stamp.js';

const TSC_SHIFT = 1;
const TSC_MULTIPLIER = 0x80000000;
const FLAG_TSC_STABLE = 1;
const ENABLE = 1;
const SYSTEM_TIME_SIZE = 32;
const WALL_CLOCK_SIZE = 12;
const TWO_32 = 2 ** 32;
/** Physical addresses end at 2^52. */
const MAX_HIGH = 0xfffff;

/** What the clocks of one VM share: whether all its TSCs agree. */
export class KvmClockGroup {
  private readonly members: KvmClock[] = [];

  add(member: KvmClock): void {
    this.members.push(member);
  }

  /** True while every vCPU's TSC has the same offset. */
  get stable(): boolean {
    const [first, ...others] = this.members;
    return first === undefined || others.every((member) => member.sameOffset(first));
  }

  /** Writes every enabled structure: an offset changed, or memory was replaced. */
  refresh(): void {
    for (const member of this.members) member.refresh();
  }
}

export class KvmClock {
  /** The system-time MSR. */
  systemLo = 0;
  systemHi = 0;
  /** The wall-clock MSR. */
  wallLo = 0;
  wallHi = 0;
  private version = 0;
  private readonly bytes = new Uint8Array(SYSTEM_TIME_SIZE);
  private readonly view = new DataView(this.bytes.buffer);

  constructor(
    private readonly clock: Clock,
    private readonly tsc: TimeStamp,
    private readonly memory: Pick<DmaView, 'read' | 'write'>,
    private readonly group: KvmClockGroup,
    /** Whether the clock's stable flag is offered at all. */
    private readonly offerStable: boolean,
  ) {
    group.add(this);
    tsc.onChange(() => group.refresh());
  }

  /** WRMSR of the system-time MSR: bit 0 enables, the rest is the structure's address. */
  writeSystemTime(lo: number, hi: number): void {
    this.systemLo = lo >>> 0;
    this.systemHi = hi >>> 0;
    this.refresh();
  }

  /** WRMSR of the wall-clock MSR: writes the structure once. */
  writeWallClock(lo: number, hi: number): void {
    this.wallLo = lo >>> 0;
    this.wallHi = hi >>> 0;
    const { view } = this;
    const seconds = Math.floor(this.clock.epochSeconds);
    const nanoseconds = Math.floor((this.clock.epochSeconds - seconds) * 1e9);
    this.version += 2;
    view.setUint32(0, this.version, true);
    view.setUint32(4, seconds, true);
    view.setUint32(8, nanoseconds, true);
    this.store(hi, lo, WALL_CLOCK_SIZE);
  }

  /** Writes the system-time structure, if the guest wants it. An address without memory is lost. */
  refresh(): void {
    if ((this.systemLo & ENABLE) === 0) return;
    const { view, tsc } = this;
    const now = this.clock.now();
    tsc.at(now);
    // Even: no update is under way. The guest never runs while the structure is being written.
    this.version += 2;
    view.setUint32(0, this.version, true);
    view.setUint32(4, 0, true);
    view.setUint32(8, tsc.lo, true);
    view.setUint32(12, tsc.hi, true);
    view.setUint32(16, now >>> 0, true);
    view.setUint32(20, Math.floor(now / TWO_32), true);
    view.setUint32(24, TSC_MULTIPLIER, true);
    view.setUint32(28, 0, true);
    view.setInt8(28, TSC_SHIFT);
    view.setUint8(29, this.offerStable && this.group.stable ? FLAG_TSC_STABLE : 0);
    this.store(this.systemHi, this.systemLo - ENABLE, SYSTEM_TIME_SIZE);
  }

  private store(hi: number, lo: number, size: number): void {
    if (hi > MAX_HIGH) return;
    this.memory.write(hi * TWO_32 + lo, this.bytes.subarray(0, size));
  }

  sameOffset(other: KvmClock): boolean {
    this.tsc.readOffset();
    other.tsc.readOffset();
    return this.tsc.lo === other.tsc.lo && this.tsc.hi === other.tsc.hi;
  }

  reset(): void {
    this.systemLo = 0;
    this.systemHi = 0;
    this.wallLo = 0;
    this.wallHi = 0;
  }

  snapshot(): number[] {
    return [this.systemLo, this.systemHi, this.wallLo, this.wallHi, this.version];
  }

  /** Takes the words of `snapshot`. The structures in guest memory are restored with it. */
  restore(words: readonly number[]): void {
    const [systemLo = 0, systemHi = 0, wallLo = 0, wallHi = 0, version = 0] = words;
    Object.assign(this, { systemLo, systemHi, wallLo, wallHi, version });
  }
}
