/**
 * 82093AA I/O advanced programmable interrupt controller, 24 pins.
 *
 * Source: Intel 82093AA datasheet (order number 290566-001), section 3, names as there.
 *
 * Known inaccuracies: the APIC bus does not exist: IOAPICARB only mirrors the ID, delivery status
 * always reads idle, messages go to local APICs as if sent by MSI; lowest-priority delivery is left
 * to the receiver; polarity inverts nothing, as lines here are active, not high.
 */
import type { Device, DeviceRegion, Snapshot } from '../interfaces/index.js';
import { int, list, loadState, record, type StateFormat, saveState, u8, u32 } from './state.js';

export const IOAPIC_PINS = 24;

export interface IoApicOptions {
  readonly name?: string;
  readonly base: number;
  /** Initial IOAPICID. */
  readonly id?: number;
}

export interface IoApicPorts {
  /** Delivers an interrupt in the shape of an MSI (xAPIC address and data). */
  sendMsi(address: number, data: number): void;
}

export interface IoApic extends Device {
  /** Drives an interrupt input; `level` means active whatever the pin's polarity. */
  setPin(pin: number, level: boolean): void;
  /** A local APIC broadcast the end of interrupt `vector`. */
  endOfInterrupt(vector: number): void;
}

const IOREGSEL = 0x00;
const IOWIN = 0x10;

const IOAPICID = 0x00;
const IOAPICVER = 0x01;
const IOAPICARB = 0x02;
const IOREDTBL = 0x10;

/** Version 0x11 in bits 7:0, the highest entry in bits 23:16. */
const VERSION = ((IOAPIC_PINS - 1) << 16) | 0x11;

const REMOTE_IRR = 1 << 14;
const TRIGGER_LEVEL = 1 << 15;
const MASK = 1 << 16;
/** Delivery status and remote IRR are read-only. */
const LOW_WRITABLE = 0x1ffff & ~((1 << 12) | REMOTE_IRR);
const HIGH_WRITABLE = 0xff000000;

const MSI_BASE = 0xfee00000;
const MSI_LOGICAL = 1 << 2;
const MSI_LEVEL = 1 << 15;
const MSI_ASSERT = 1 << 14;

interface State {
  select: number;
  id: number;
  low: number[];
  high: number[];
  /** Bit per pin: active. */
  lines: number;
}

const FORMAT: StateFormat<State> = {
  type: 'ioapic-82093aa',
  version: 1,
  field: record<State>({
    select: u8,
    id: int(0, 15),
    low: list(u32, IOAPIC_PINS),
    high: list(u32, IOAPIC_PINS),
    lines: int(0, 0xffffff),
  }),
};

class Controller implements IoApic {
  readonly name: string;
  readonly regions: readonly DeviceRegion[];
  private s: State;

  constructor(
    private readonly options: IoApicOptions,
    private readonly ports: IoApicPorts,
  ) {
    this.name = options.name ?? 'ioapic';
    this.regions = [{ space: 'mmio', base: options.base, length: 0x1000, name: this.name }];
    this.s = this.powerOn();
  }

  private powerOn(): State {
    return {
      select: 0,
      id: (this.options.id ?? 0) & 0x0f,
      low: new Array<number>(IOAPIC_PINS).fill(MASK),
      high: new Array<number>(IOAPIC_PINS).fill(0),
      lines: 0,
    };
  }

  /** Both registers are 32 bits wide; narrower reads see their bytes. */
  read(_region: number, offset: number, size: number): number {
    const register = offset & ~3;
    const value =
      register === IOREGSEL ? this.s.select : register === IOWIN ? this.readWindow() : 0;
    const shifted = value >>> (8 * (offset & 3));
    return size === 4 ? shifted >>> 0 : shifted & (2 ** (8 * size) - 1);
  }

  write(_region: number, offset: number, _size: number, value: number): void {
    // IOREGSEL takes its byte, IOWIN any write at its address, as the datasheet asks for 32 bits.
    if (offset === IOREGSEL) this.s.select = value & 0xff;
    else if (offset === IOWIN) this.writeWindow(value);
  }

  private readWindow(): number {
    const { s } = this;
    switch (s.select) {
      case IOAPICID:
      case IOAPICARB:
        return s.id << 24;
      case IOAPICVER:
        return VERSION;
      default: {
        const entry = this.selectedEntry();
        if (entry < 0) return 0;
        return (s.select & 1 ? s.high[entry] : s.low[entry]) ?? 0;
      }
    }
  }

  private selectedEntry(): number {
    const entry = (this.s.select - IOREDTBL) >> 1;
    return this.s.select >= IOREDTBL && entry < IOAPIC_PINS ? entry : -1;
  }

  private writeWindow(value: number): void {
    const { s } = this;
    if (s.select === IOAPICID) {
      s.id = (value >>> 24) & 0x0f;
      return;
    }
    const entry = this.selectedEntry();
    if (entry < 0) return;
    if (s.select & 1) {
      s.high[entry] = (value & HIGH_WRITABLE) >>> 0;
      return;
    }
    const kept = (s.low[entry] ?? 0) & REMOTE_IRR;
    let low = (value & LOW_WRITABLE) | kept;
    // Remote IRR means nothing for edges; changing to edge and back is how software clears it.
    if ((low & TRIGGER_LEVEL) === 0) low &= ~REMOTE_IRR;
    s.low[entry] = low >>> 0;
    this.serviceLevel(entry);
  }

  // --- Pins

  setPin(pin: number, level: boolean): void {
    if (pin < 0 || pin >= IOAPIC_PINS) return;
    const { s } = this;
    const bit = 1 << pin;
    const rises = level && (s.lines & bit) === 0;
    s.lines = level ? s.lines | bit : s.lines & ~bit;
    const low = s.low[pin] ?? MASK;
    if (low & TRIGGER_LEVEL) this.serviceLevel(pin);
    // An edge on a masked pin is lost, not held (datasheet 3.2.4, bit 16).
    else if (rises && (low & MASK) === 0) this.deliver(pin);
  }

  /** Delivers a level-triggered request that its entry allows now. */
  private serviceLevel(pin: number): void {
    const low = this.s.low[pin] ?? MASK;
    if ((low & (TRIGGER_LEVEL | MASK | REMOTE_IRR)) !== TRIGGER_LEVEL) return;
    if ((this.s.lines & (1 << pin)) === 0) return;
    this.s.low[pin] = low | REMOTE_IRR;
    this.deliver(pin);
  }

  private deliver(pin: number): void {
    const low = this.s.low[pin] ?? 0;
    const destination = (this.s.high[pin] ?? 0) >>> 24;
    const logical = (low >> 11) & 1;
    const address = MSI_BASE + destination * 4096 + (logical ? MSI_LOGICAL : 0);
    const trigger = low & TRIGGER_LEVEL ? MSI_LEVEL : 0;
    // Vector and delivery mode have the same places in both formats.
    this.ports.sendMsi(address, (low & 0x7ff) | trigger | MSI_ASSERT);
  }

  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const low = this.s.low[pin] ?? 0;
      if ((low & 0xff) !== vector || (low & REMOTE_IRR) === 0) continue;
      this.s.low[pin] = low & ~REMOTE_IRR;
      this.serviceLevel(pin);
    }
  }

  // --- Life

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.s = this.powerOn();
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, this.s);
  }

  restore(snapshot: Snapshot): void {
    this.s = loadState(FORMAT, snapshot);
  }
}

/** An IOAPIC at `options.base`. */
export function ioapic(options: IoApicOptions): (ports: IoApicPorts) => IoApic {
  return (ports) => new Controller(options, ports);
}
