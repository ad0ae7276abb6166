/**
 * MC146818A real-time clock and 128 bytes of CMOS RAM at ports 0x70 and 0x71.
 *
 * Source: Motorola MC146818A datasheet (ADI856R1), names as there. CMOS bytes 0x15-0x18, 0x30-0x35
 * and 0x5b-0x5d as PC firmware keeps memory sizes, 0x32 the century (the FADT's CENTURY).
 *
 * Known inaccuracies: daylight saving (DSE) and the square wave have no effect; an impossible date
 * becomes the nearest possible one when the clock next advances; the NMI mask (bit 7 of port 0x70)
 * is ignored; a reset brings back the host's date and default CMOS bytes.
 */
import { HOLE_START, MIB } from '../boot/memory-layout.js';
import type { Clock, Device, DeviceRegion, IrqLine, Snapshot, Timer } from '../interfaces/index.js';
import { readBytewise, writeBytewise } from './bytewise.js';
import { fromSeconds, toSeconds } from './calendar.js';
import { ticksAt, timeOfTick } from './frequency.js';
import { bytes, loadState, record, type StateFormat, saveState, time, u8 } from './state.js';

export interface Mc146818Options {
  readonly name?: string;
  /** Bytes of RAM, for the memory-size bytes. */
  readonly ramSize: number;
}

export interface Mc146818Ports {
  readonly clock: Clock;
  /** IRQ 8. */
  readonly irq: IrqLine;
}

const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const DAY_OF_WEEK = 0x06;
const DATE_OF_MONTH = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;
const CENTURY = 0x32;

const A_UIP = 0x80;
const B_SET = 0x80;
const B_PIE = 0x40;
const B_AIE = 0x20;
const B_UIE = 0x10;
const B_DM = 0x04;
const B_24_12 = 0x02;
const C_IRQF = 0x80;
const C_PF = 0x40;
const C_AF = 0x20;
const C_UF = 0x10;
const D_VRT = 0x80;
const PM = 0x80;

const SECOND = 1_000_000_000;
/** UIP rises this long before the update, which itself takes 1984 us. */
const UIP_LEAD_NS = 244_000;
const UPDATE_NS = 1_984_000;
/** From the divider's release to the first update. */
const FIRST_UPDATE_NS = SECOND / 2;
const CRYSTAL_HZ = 32_768;

interface State {
  index: number;
  ram: Uint8Array;
  /** Virtual time of the latest update, from which updates follow every second. */
  updatedAt: number;
  /** Time from which periods are counted. */
  periodFrom: number;
  /** Up to here, register C's flags are up to date. */
  checkedAt: number;
}

const FORMAT: StateFormat<State> = {
  type: 'mc146818',
  version: 1,
  field: record<State>({
    index: u8,
    ram: bytes(128, true),
    updatedAt: time,
    periodFrom: time,
    checkedAt: time,
  }),
};

class Rtc implements Device {
  readonly name: string;
  readonly regions: readonly DeviceRegion[] = [{ space: 'io', base: 0x70, length: 2, name: 'rtc' }];
  private s: State;
  private timer: Timer | null = null;

  constructor(
    private readonly options: Mc146818Options,
    private readonly ports: Mc146818Ports,
  ) {
    this.name = options.name ?? 'rtc';
    this.s = this.powerOn();
  }

  private powerOn(): State {
    const now = this.ports.clock.now();
    const updatedAt = Math.floor(now / SECOND) * SECOND;
    const ram = new Uint8Array(128);
    ram[REGISTER_A] = 0x26;
    ram[REGISTER_B] = B_24_12;
    ram[REGISTER_D] = D_VRT;
    storeMemorySizes(ram, this.options.ramSize);
    storeTime(ram, this.ports.clock.epochSeconds + updatedAt / SECOND);
    return { index: 0, ram, updatedAt, periodFrom: updatedAt, checkedAt: now };
  }

  read(_region: number, offset: number, size: number): number {
    return readBytewise(offset, size, (at) => (at === 0 ? 0xff : this.readRegister()));
  }

  write(_region: number, offset: number, size: number, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (at === 0) this.s.index = byte & 0x7f;
      else this.writeRegister(byte);
    });
  }

  private register(index: number): number {
    return this.s.ram[index] ?? 0;
  }

  private readRegister(): number {
    this.advance();
    const { index } = this.s;
    if (index === REGISTER_A) return this.register(index) | (this.updating ? A_UIP : 0);
    if (index === REGISTER_C) {
      const flags = this.register(REGISTER_C);
      this.s.ram[REGISTER_C] = 0;
      this.update();
      return flags;
    }
    return this.register(index);
  }

  private writeRegister(value: number): void {
    this.advance();
    const { s } = this;
    switch (s.index) {
      case REGISTER_A:
        this.writeA(value & 0x7f);
        break;
      case REGISTER_B:
        this.writeB(value);
        break;
      case REGISTER_C:
      case REGISTER_D:
        break;
      default:
        s.ram[s.index] = value;
        break;
    }
    this.update();
  }

  private writeA(value: number): void {
    const { s } = this;
    const wasRunning = this.dividerRuns;
    const rate = this.register(REGISTER_A) & 0x0f;
    s.ram[REGISTER_A] = value;
    const now = this.ports.clock.now();
    if (!wasRunning && this.dividerRuns) {
      s.updatedAt = now - (SECOND - FIRST_UPDATE_NS);
      s.periodFrom = now;
    } else if ((value & 0x0f) !== rate) {
      // Periods stay in step with the divider chain, hence with the seconds.
      s.periodFrom = s.updatedAt;
    }
  }

  private writeB(value: number): void {
    const { s } = this;
    const was = this.register(REGISTER_B);
    // SET clears UIE (datasheet, register B).
    s.ram[REGISTER_B] = value & B_SET ? value & ~B_UIE : value;
    // Updates that SET held back are not made up for; the divider kept its phase.
    if (was & B_SET && !(value & B_SET)) this.skipUpdates();
  }

  // --- Time

  /** DV: the divider chain runs with the 32.768 kHz crystal only at 010. */
  private get dividerRuns(): boolean {
    return (this.register(REGISTER_A) & 0x70) === 0x20;
  }

  private get counts(): boolean {
    return this.dividerRuns && (this.register(REGISTER_B) & B_SET) === 0;
  }

  private get updating(): boolean {
    if (!this.counts) return false;
    const phase = this.ports.clock.now() - this.s.updatedAt;
    return phase >= SECOND - UIP_LEAD_NS - UPDATE_NS;
  }

  private skipUpdates(): void {
    const elapsed = this.ports.clock.now() - this.s.updatedAt;
    if (elapsed > 0) this.s.updatedAt += Math.floor(elapsed / SECOND) * SECOND;
  }

  /** Makes up for the updates, periods and alarms since the last call. */
  private advance(): void {
    const { s } = this;
    const now = this.ports.clock.now();
    if (this.periods(now) > this.periods(s.checkedAt)) this.raise(C_PF);
    s.checkedAt = now;
    if (!this.counts) {
      if (this.dividerRuns) this.skipUpdates();
      return;
    }
    const updates = Math.floor((now - s.updatedAt) / SECOND);
    if (updates <= 0) return;
    const seconds = loadTime(s.ram);
    const alarm = this.secondsToAlarm();
    if (alarm !== null && updates >= alarm) this.raise(C_AF);
    storeTime(s.ram, seconds + updates);
    s.updatedAt += updates * SECOND;
    this.raise(C_UF);
  }

  /** Length of a period in cycles of the crystal, 0 for none (RS = 0). */
  private get periodCycles(): number {
    const rate = this.register(REGISTER_A) & 0x0f;
    if (rate === 0 || !this.dividerRuns) return 0;
    // Rates 1 and 2 are those of 8 and 9 with this crystal.
    return 1 << ((rate < 3 ? rate + 7 : rate) - 1);
  }

  /** Periods that are complete at `at`. */
  private periods(at: number): number {
    const cycles = this.periodCycles;
    if (cycles === 0) return 0;
    return Math.floor(ticksAt(at - this.s.periodFrom, CRYSTAL_HZ) / cycles);
  }

  /** Updates until the alarm matches, 1 to 86400; null if it can't match. */
  private secondsToAlarm(): number | null {
    const now = ((loadTime(this.s.ram) % 86_400) + 86_400) % 86_400;
    const alarm = [HOURS_ALARM, MINUTES_ALARM, SECONDS_ALARM].map((index) => {
      const raw = this.register(index);
      if (raw >= 0xc0) return -1;
      return index === HOURS_ALARM ? loadHours(this.s.ram, raw) : loadNumber(this.s.ram, raw);
    }) as [number, number, number];
    if (alarm[0] > 23 || alarm[1] > 59 || alarm[2] > 59) return null;
    const next = nextMatch(alarm, (now + 1) % 86_400);
    const at = next ?? nextMatch(alarm, 0);
    if (at === null) return null;
    return ((at - now + 86_399) % 86_400) + 1;
  }

  // --- Interrupts

  private raise(flag: number): void {
    this.s.ram[REGISTER_C] = this.register(REGISTER_C) | flag;
  }

  /** Brings IRQF and the line up to date and sets the timer for the next enabled event. */
  private update(): void {
    const flags = this.register(REGISTER_C) & (C_PF | C_AF | C_UF);
    const enables = this.register(REGISTER_B) & (B_PIE | B_AIE | B_UIE);
    const asserted = (flags & enables) !== 0;
    this.s.ram[REGISTER_C] = flags | (asserted ? C_IRQF : 0);
    this.ports.irq.set(asserted);
    this.timer?.cancel();
    const next = asserted ? null : this.nextEvent(enables);
    this.timer =
      next === null
        ? null
        : this.ports.clock.at(next, () => {
            this.timer = null;
            this.advance();
            this.update();
          });
  }

  private nextEvent(enables: number): number | null {
    const { s } = this;
    const events: number[] = [];
    const cycles = this.periodCycles;
    if (enables & B_PIE && cycles !== 0) {
      const next = (this.periods(s.checkedAt) + 1) * cycles;
      events.push(s.periodFrom + timeOfTick(next, CRYSTAL_HZ));
    }
    if (this.counts) {
      if (enables & B_UIE) events.push(s.updatedAt + SECOND);
      const alarm = enables & B_AIE ? this.secondsToAlarm() : null;
      if (alarm !== null) events.push(s.updatedAt + alarm * SECOND);
    }
    return events.length === 0 ? null : Math.min(...events);
  }

  // --- Life

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.s = this.powerOn();
    this.update();
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, this.s);
  }

  restore(snapshot: Snapshot): void {
    this.s = loadState(FORMAT, snapshot);
    this.update();
  }

  dispose(): void {
    this.timer?.cancel();
  }
}

/** First second of the day from `from` on that matches [hours, minutes, seconds]; -1 is any. */
function nextMatch(alarm: readonly [number, number, number], from: number): number | null {
  const [hours, minutes, seconds] = alarm;
  for (let hour = Math.floor(from / 3600); hour < 24; hour++) {
    if (hours !== -1 && hour !== hours) continue;
    const firstMinute = hour === Math.floor(from / 3600) ? Math.floor(from / 60) % 60 : 0;
    for (let minute = firstMinute; minute < 60; minute++) {
      if (minutes !== -1 && minute !== minutes) continue;
      const start = hour * 3600 + minute * 60;
      const first = Math.max(0, from - start);
      if (first > 59) continue;
      if (seconds === -1) return start + first;
      if (seconds >= first) return start + seconds;
    }
  }
  return null;
}

// --- The time registers, in BCD or binary (DM), 12 or 24 hours

function isBinary(ram: Uint8Array): boolean {
  return ((ram[REGISTER_B] ?? 0) & B_DM) !== 0;
}

function loadNumber(ram: Uint8Array, raw: number): number {
  return isBinary(ram) ? raw : (raw >> 4) * 10 + (raw & 0x0f);
}

function storeNumber(ram: Uint8Array, index: number, value: number): void {
  ram[index] = isBinary(ram) ? value : (Math.floor(value / 10) << 4) | (value % 10);
}

function loadHours(ram: Uint8Array, raw: number): number {
  if ((ram[REGISTER_B] ?? 0) & B_24_12) return loadNumber(ram, raw);
  const hours = loadNumber(ram, raw & ~PM) % 12;
  return raw & PM ? hours + 12 : hours;
}

function storeHours(ram: Uint8Array, hours: number): void {
  if ((ram[REGISTER_B] ?? 0) & B_24_12) {
    storeNumber(ram, HOURS, hours);
    return;
  }
  storeNumber(ram, HOURS, ((hours + 11) % 12) + 1);
  if (hours >= 12) ram[HOURS] = (ram[HOURS] ?? 0) | PM;
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}

/** The time in the registers, as seconds since 1970; impossible fields count as the nearest. */
function loadTime(ram: Uint8Array): number {
  const number = (index: number): number => loadNumber(ram, ram[index] ?? 0);
  const century =
    clamp((ram[CENTURY] ?? 0) >> 4, 0, 9) * 10 + clamp((ram[CENTURY] ?? 0) & 15, 0, 9);
  return toSeconds({
    year: century * 100 + clamp(number(YEAR), 0, 99),
    month: clamp(number(MONTH), 1, 12),
    day: clamp(number(DATE_OF_MONTH), 1, 31),
    hours: clamp(loadHours(ram, ram[HOURS] ?? 0), 0, 23),
    minutes: clamp(number(MINUTES), 0, 59),
    seconds: clamp(number(SECONDS), 0, 59),
  });
}

function storeTime(ram: Uint8Array, total: number): void {
  const time = fromSeconds(total);
  storeNumber(ram, SECONDS, time.seconds);
  storeNumber(ram, MINUTES, time.minutes);
  storeHours(ram, time.hours);
  storeNumber(ram, DAY_OF_WEEK, time.weekday + 1);
  storeNumber(ram, DATE_OF_MONTH, time.day);
  storeNumber(ram, MONTH, time.month);
  storeNumber(ram, YEAR, time.year % 100);
  const century = Math.floor(time.year / 100) % 100;
  // The century byte is BCD whatever DM says: it is firmware's RAM byte, not the chip's register.
  ram[CENTURY] = (Math.floor(century / 10) << 4) | (century % 10);
}

/** Memory sizes as PC firmware leaves them: 640 KiB, above 1 MiB, above 16 MiB, above 4 GiB. */
function storeMemorySizes(ram: Uint8Array, ramSize: number): void {
  const below4G = Math.min(ramSize, HOLE_START);
  const extended = clamp(Math.floor((below4G - MIB) / 1024), 0, 0xffff);
  const above16M = clamp(Math.floor((below4G - 16 * MIB) / 65_536), 0, 0xffff);
  const above4G = clamp(Math.floor((ramSize - below4G) / 65_536), 0, 0xffffff);
  const store = (index: number, value: number, length: number): void => {
    for (let i = 0; i < length; i++) ram[index + i] = (value >>> (8 * i)) & 0xff;
  };
  store(0x15, 640, 2);
  store(0x17, extended, 2);
  store(0x30, extended, 2);
  store(0x34, above16M, 2);
  store(0x5b, above4G, 3);
}

/** The RTC and CMOS RAM. */
export function mc146818(options: Mc146818Options): (ports: Mc146818Ports) => Device {
  return (ports) => new Rtc(options, ports);
}
