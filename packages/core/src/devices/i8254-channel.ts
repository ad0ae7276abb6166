/**
 * One channel of the 8254: its registers, counting element and output, as a function of the tick.
 *
 * Source: Intel 8254 datasheet (order number 231164-005), "Mode definitions" and figures 15 to 20.
 * Nothing here runs by itself: the counting element's value follows from the tick at which it was
 * loaded, so a channel costs nothing between accesses. Ticks are CLK edges since time 0; a write at
 * tick t acts on CLK edge t + 1.
 */
import { bool, type Field, int, optional, record, time, u8, u16 } from './state.js';

export interface Channel {
  /** 0 to 5; null until the first control word. */
  mode: number | null;
  bcd: boolean;
  /** RW bits of the control word: 1 least, 2 most significant byte only, 3 both. */
  access: number;
  /** CR: the count as written. */
  cr: number;
  /** The first byte of a two-byte write, until the second. */
  writeLow: number | null;
  readHighNext: boolean;
  /** OL, while it holds a latched count or status. */
  latchedCount: number | null;
  latchedStatus: number | null;
  gate: boolean;
  /** A count was written since the control word (modes 1 and 5: armed). */
  written: boolean;
  /** NULL COUNT: CR was not yet copied to the counting element. */
  nullCount: boolean;
  /** Count of the present period, CE's value at `origin`. */
  n: number;
  /** The tick at which CE was loaded; null while nothing counts. */
  origin: number | null;
  /** OUT until `origin`, while the load is still to come. */
  outBefore: boolean;
  /** Ticks counted when the gate stopped CE, null while it runs. */
  paused: number | null;
  /** Modes 2 and 3: the end of the cycle after which a new count is used. */
  reloadAt: number | null;
}

export const CHANNEL: Field<Channel> = record<Channel>({
  mode: optional(int(0, 5)),
  bcd: bool,
  access: int(1, 3),
  cr: u16,
  writeLow: optional(u8),
  readHighNext: bool,
  latchedCount: optional(u16),
  latchedStatus: optional(u8),
  gate: bool,
  written: bool,
  nullCount: bool,
  n: int(1, 65536),
  origin: optional(time),
  outBefore: bool,
  paused: optional(time),
  reloadAt: optional(time),
});

export function powerOnChannel(gate: boolean): Channel {
  return {
    mode: null,
    bcd: false,
    access: 3,
    cr: 0,
    writeLow: null,
    readHighNext: false,
    latchedCount: null,
    latchedStatus: null,
    gate,
    written: false,
    nullCount: false,
    n: 65536,
    origin: null,
    outBefore: true,
    paused: null,
    reloadAt: null,
  };
}

function decode(raw: number, bcd: boolean): number {
  if (!bcd) return raw === 0 ? 65536 : raw;
  let value = 0;
  for (let shift = 12; shift >= 0; shift -= 4) value = value * 10 + ((raw >> shift) & 0xf);
  return value === 0 ? 10000 : value;
}

function encode(value: number, bcd: boolean): number {
  if (!bcd) return value & 0xffff;
  let raw = 0;
  for (let shift = 0, rest = value % 10000; shift < 16; shift += 4, rest = Math.floor(rest / 10)) {
    raw |= (rest % 10) << shift;
  }
  return raw;
}

/** Operations on a channel's record. */
export class PitChannel {
  constructor(readonly s: Channel) {}

  // --- Registers

  /** A control word for this channel; RW 0 is the counter latch command. */
  control(word: number, t: number): void {
    const access = (word >> 4) & 3;
    if (access === 0) {
      this.latchCount(t);
      return;
    }
    const { s } = this;
    const mode = (word >> 1) & 7;
    s.mode = mode > 5 ? mode - 4 : mode;
    s.bcd = (word & 1) !== 0;
    s.access = access;
    s.writeLow = null;
    s.readHighNext = false;
    s.latchedCount = null;
    s.latchedStatus = null;
    s.written = false;
    s.nullCount = true;
    s.origin = null;
    s.paused = null;
    s.reloadAt = null;
  }

  latchCount(t: number): void {
    // A second latch before the first was read is ignored.
    if (this.s.latchedCount === null) this.s.latchedCount = this.count(t);
  }

  latchStatus(t: number): void {
    if (this.s.latchedStatus !== null) return;
    this.sync(t);
    const { s } = this;
    const isNull = s.nullCount || (s.origin !== null && t < s.origin);
    s.latchedStatus =
      (this.out(t) ? 0x80 : 0) |
      (isNull ? 0x40 : 0) |
      (s.access << 4) |
      ((s.mode ?? 0) << 1) |
      (s.bcd ? 1 : 0);
  }

  read(t: number): number {
    const { s } = this;
    if (s.latchedStatus !== null) {
      const status = s.latchedStatus;
      s.latchedStatus = null;
      return status;
    }
    const value = s.latchedCount ?? this.count(t);
    if (s.access === 3) {
      const high = s.readHighNext;
      s.readHighNext = !high;
      if (high) s.latchedCount = null;
      return high ? value >> 8 : value & 0xff;
    }
    s.latchedCount = null;
    return s.access === 1 ? value & 0xff : value >> 8;
  }

  write(byte: number, t: number): void {
    const { s } = this;
    if (s.mode === null) return;
    if (s.access === 1) {
      this.writeCount(byte, t);
    } else if (s.access === 2) {
      this.writeCount(byte << 8, t);
    } else if (s.writeLow === null) {
      s.writeLow = byte;
      // Mode 0: the first byte stops the count and takes OUT low at once.
      if (s.mode === 0) s.origin = null;
    } else {
      const count = s.writeLow | (byte << 8);
      s.writeLow = null;
      this.writeCount(count, t);
    }
  }

  private writeCount(cr: number, t: number): void {
    const { s } = this;
    this.sync(t);
    s.cr = cr;
    s.written = true;
    switch (s.mode) {
      case 0:
      case 4:
        this.loadNext(t);
        break;
      case 2:
      case 3:
        if (s.origin === null || t < s.origin) {
          this.loadNext(t);
        } else if (s.paused === null) {
          s.reloadAt = this.cycleEnd(t);
          s.nullCount = true;
        } else {
          // The gate's rising edge will load it.
          s.nullCount = true;
        }
        break;
      default:
        // Modes 1 and 5 wait for the gate, unless it has risen just now.
        if (s.origin !== null && t < s.origin) this.loadNext(t);
        else s.nullCount = true;
        break;
    }
  }

  /** Copies CR to CE at the next CLK edge; until then the output stays, but falls in mode 0. */
  private loadNext(t: number): void {
    this.s.outBefore = this.s.mode !== 0 && this.out(t);
    this.load(t + 1);
  }

  /** Copies CR to CE at tick `at`. */
  private load(at: number): void {
    const { s } = this;
    s.n = decode(s.cr, s.bcd);
    s.origin = at;
    s.reloadAt = null;
    s.nullCount = false;
    s.paused = this.gateCounts && !s.gate ? 0 : null;
  }

  setGate(gate: boolean, t: number): void {
    const { s } = this;
    if (gate === s.gate) return;
    this.sync(t);
    const elapsed = this.elapsed(t);
    s.gate = gate;
    switch (s.mode) {
      case 0:
      case 4:
        if (s.origin === null) break;
        if (gate) {
          s.origin = Math.max(t, s.origin) - (s.paused ?? 0);
          s.paused = null;
        } else {
          s.paused = elapsed;
        }
        break;
      case 2:
      case 3:
        if (gate && s.written) {
          this.loadNext(t);
        } else if (s.origin !== null) {
          s.paused = elapsed;
          s.reloadAt = null;
        }
        break;
      case 1:
      case 5:
        if (gate && s.written) this.loadNext(t);
        break;
      default:
        break;
    }
  }

  // --- Counting element

  /** Modes in which a low gate stops the count. */
  private get gateCounts(): boolean {
    return this.s.mode !== 1 && this.s.mode !== 5;
  }

  private elapsed(t: number): number {
    const { s } = this;
    if (s.paused !== null) return s.paused;
    return s.origin === null ? 0 : Math.max(0, t - s.origin);
  }

  /** End of the period (mode 2) or half period (mode 3) in which `t` lies. */
  private cycleEnd(t: number): number {
    const { s } = this;
    const start = t - (this.elapsed(t) % s.n);
    const half = start + Math.ceil(s.n / 2);
    return s.mode === 3 && t < half ? half : start + s.n;
  }

  /** Brings a new count into use whose time has come. */
  sync(t: number): void {
    const { s } = this;
    if (s.reloadAt === null || s.origin === null || t < s.reloadAt) return;
    const at = s.reloadAt;
    const wasHigh = s.mode === 3 && this.elapsed(at - 1) % s.n < Math.ceil(s.n / 2);
    this.load(at);
    // The low half comes next: the period began before it.
    if (wasHigh) s.origin = at - Math.ceil(s.n / 2);
  }

  /** CE as a read shows it. */
  count(t: number): number {
    this.sync(t);
    const { s } = this;
    if (s.origin === null) return s.cr;
    const elapsed = this.elapsed(t);
    const modulus = s.bcd ? 10000 : 65536;
    if (s.mode === 2) return encode((s.n - (elapsed % s.n)) % modulus, s.bcd);
    if (s.mode === 3) {
      const half = Math.ceil(s.n / 2);
      const position = elapsed % s.n;
      const inHalf = position < half ? position : position - half;
      const even = s.n - (s.n & 1);
      return encode((even - 2 * inHalf) % modulus, s.bcd);
    }
    return encode((((s.n - elapsed) % modulus) + modulus) % modulus, s.bcd);
  }

  // --- Output

  out(t: number): boolean {
    this.sync(t);
    const { s } = this;
    if (s.mode === null) return false;
    if (s.origin === null) return s.mode !== 0;
    if (t < s.origin) return s.outBefore;
    const elapsed = this.elapsed(t);
    switch (s.mode) {
      case 0:
      case 1:
        return elapsed >= s.n;
      case 2:
        return s.paused !== null || elapsed % s.n !== s.n - 1;
      case 3:
        return s.paused !== null || elapsed % s.n < Math.ceil(s.n / 2);
      default:
        return elapsed !== s.n;
    }
  }

  /** The first tick after `t` at which OUT changes, null if it will not by itself. */
  nextEdge(t: number): number | null {
    this.sync(t);
    const { s } = this;
    if (s.mode === null || s.origin === null || s.paused !== null) return null;
    const { origin, n } = s;
    if (t < origin) {
      // The load itself may change the output; if not, what follows it does.
      return this.out(origin) === s.outBefore ? this.nextEdge(origin) : origin;
    }
    const elapsed = t - origin;
    switch (s.mode) {
      case 0:
      case 1:
        return elapsed < n ? origin + n : null;
      case 2:
        return this.nextRateEdge(t, elapsed % n, n - 1);
      case 3:
        return this.nextRateEdge(t, elapsed % n, Math.ceil(n / 2));
      default:
        if (elapsed < n) return origin + n;
        return elapsed === n ? origin + n + 1 : null;
    }
  }

  /** In a period that is high for `high` ticks from its start. */
  private nextRateEdge(t: number, position: number, high: number): number | null {
    if (high === 0 || high === this.s.n) return null;
    return t + (position < high ? high : this.s.n) - position;
  }
}
