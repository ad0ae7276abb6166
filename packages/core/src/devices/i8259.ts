/**
 * The pair of 8259A interrupt controllers of a PC, with the edge/level registers ELCR1 and ELCR2.
 *
 * Source: Intel 8259A datasheet (order number 231468-003), names as there; ELCR from the Intel
 * 82371AB (PIIX4) datasheet, 4.2.5.
 *
 * Known inaccuracies: 8080 mode (ICW4 uPM = 0) is not offered, vectors are always in 8086 format;
 * buffered mode has no effect; an IRQ that goes away before its acknowledge stays requested in
 * edge mode (the chip would answer with a spurious 7), and gives a spurious 7 in level mode.
 */
import type {
  Device,
  DeviceRegion,
  ExternalInterruptSource,
  IrqLine,
  Snapshot,
} from '../interfaces/index.js';
import { readBytewise, writeBytewise } from './bytewise.js';
import { bool, int, list, loadState, record, type StateFormat, saveState, u8 } from './state.js';

export interface I8259Options {
  readonly name?: string;
  /** Power-on value of ELCR2:ELCR1, a bit per IRQ: firmware's choice of level-triggered lines. */
  readonly elcr?: number;
}

export interface I8259Ports {
  /** INTR of the master. */
  readonly intr: IrqLine;
}

export interface I8259Pair extends Device, ExternalInterruptSource {
  /** Drives an IR line, 0-15 (2 is the cascade and has no line). */
  setIrq(irq: number, level: boolean): void;
}

const ICW1_SELECT = 0x10;
const ICW1_IC4 = 0x01;
const ICW1_SNGL = 0x02;
const ICW4_AEOI = 0x02;
const ICW4_SFNM = 0x10;
const OCW3_SELECT = 0x08;
const OCW3_ESMM = 0x40;
const OCW3_SMM = 0x20;
const OCW3_POLL = 0x04;
const OCW3_RR = 0x02;
const OCW3_RIS = 0x01;

const CASCADE = 2;
/** Lines that ELCR can't make level-triggered: timer, keyboard, cascade; RTC and FPU. */
const ELCR_MASK = [0xf8, 0xde] as const;

interface Chip {
  irr: number;
  imr: number;
  isr: number;
  /** Levels of the lines. */
  lines: number;
  elcr: number;
  /** ICW2: the vector of IR0. */
  base: number;
  /** IR with the lowest priority. */
  lowest: number;
  /** The next initialization word, 2 to 4; 0 when initialized. */
  awaiting: number;
  needsIcw4: boolean;
  single: boolean;
  autoEoi: boolean;
  rotateOnAutoEoi: boolean;
  specialFullyNested: boolean;
  specialMask: boolean;
  poll: boolean;
  readIsr: boolean;
}

const CHIP = record<Chip>({
  irr: u8,
  imr: u8,
  isr: u8,
  lines: u8,
  elcr: u8,
  base: u8,
  lowest: int(0, 7),
  awaiting: int(0, 4),
  needsIcw4: bool,
  single: bool,
  autoEoi: bool,
  rotateOnAutoEoi: bool,
  specialFullyNested: bool,
  specialMask: bool,
  poll: bool,
  readIsr: bool,
});

interface State {
  chips: Chip[];
}

const FORMAT: StateFormat<State> = {
  type: 'i8259-pair',
  version: 1,
  field: record<State>({ chips: list(CHIP, 2) }),
};

/** All masked: the chip's own power-on state is undefined, and no firmware programs it here. */
function powerOnChip(elcr: number): Chip {
  return {
    irr: 0,
    imr: 0xff,
    isr: 0,
    lines: 0,
    elcr,
    base: 0,
    lowest: 7,
    awaiting: 0,
    needsIcw4: false,
    single: false,
    autoEoi: false,
    rotateOnAutoEoi: false,
    specialFullyNested: false,
    specialMask: false,
    poll: false,
    readIsr: false,
  };
}

/** Of the bits in `set`, the IR that comes first in the present rotation, or -1. */
function highest(chip: Chip, set: number): number {
  if (set === 0) return -1;
  for (let i = 1; i <= 8; i++) {
    const ir = (chip.lowest + i) & 7;
    if (set & (1 << ir)) return ir;
  }
  return -1;
}

/** Position of `ir` in the present rotation: 0 is served first. */
function rank(chip: Chip, ir: number): number {
  return (ir - chip.lowest - 1) & 7;
}

/** The IR that a chip requests service for, or -1. */
function requested(chip: Chip, isMaster: boolean): number {
  if (chip.awaiting !== 0) return -1;
  const ir = highest(chip, chip.irr & ~chip.imr);
  if (ir < 0) return -1;
  let inService = chip.isr;
  // In special mask mode a level that is masked while in service holds nobody back.
  if (chip.specialMask) inService &= ~chip.imr;
  // The slave may interrupt again while one of its own is in service.
  if (chip.specialFullyNested && isMaster) inService &= ~(1 << CASCADE);
  const current = highest(chip, inService);
  return current < 0 || rank(chip, ir) < rank(chip, current) ? ir : -1;
}

class Pair implements I8259Pair {
  readonly name: string;
  readonly regions: readonly DeviceRegion[] = [
    { space: 'io', base: 0x20, length: 2, name: 'pic-master' },
    { space: 'io', base: 0xa0, length: 2, name: 'pic-slave' },
    { space: 'io', base: 0x4d0, length: 2, name: 'elcr' },
  ];
  private master: Chip;
  private slave: Chip;

  constructor(
    private readonly options: I8259Options,
    private readonly ports: I8259Ports,
  ) {
    this.name = options.name ?? 'pic';
    [this.master, this.slave] = this.powerOn();
  }

  private powerOn(): [Chip, Chip] {
    const elcr = this.options.elcr ?? 0;
    return [powerOnChip(elcr & ELCR_MASK[0]), powerOnChip((elcr >> 8) & ELCR_MASK[1])];
  }

  read(region: number, offset: number, size: number): number {
    return readBytewise(offset, size, (at) => {
      if (region === 2) return at === 0 ? this.master.elcr : this.slave.elcr;
      return this.readChip(region === 0 ? this.master : this.slave, at);
    });
  }

  write(region: number, offset: number, size: number, value: number): void {
    writeBytewise(offset, size, value, (at, byte) => {
      if (region === 2) this.writeElcr(at, byte);
      else this.writeChip(region === 0 ? this.master : this.slave, at, byte);
    });
    this.update();
  }

  private readChip(chip: Chip, offset: number): number {
    if (chip.poll) {
      chip.poll = false;
      return this.pollChip(chip);
    }
    if (offset === 1) return chip.imr;
    return chip.readIsr ? chip.isr : chip.irr;
  }

  /** The poll command acknowledges like INTA, and answers with the IR. */
  private pollChip(chip: Chip): number {
    const ir = requested(chip, chip === this.master);
    if (ir < 0) return 0x07;
    this.accept(chip, ir);
    this.update();
    return 0x80 | ir;
  }

  private writeElcr(offset: number, value: number): void {
    const chip = offset === 0 ? this.master : this.slave;
    chip.elcr = value & (ELCR_MASK[offset] ?? 0);
    // The request of a level-triggered line is the line.
    chip.irr = (chip.irr & ~chip.elcr) | (chip.lines & chip.elcr);
  }

  private writeChip(chip: Chip, offset: number, value: number): void {
    if (offset === 0) {
      if (value & ICW1_SELECT) this.writeIcw1(chip, value);
      else if (value & OCW3_SELECT) this.writeOcw3(chip, value);
      else this.writeOcw2(chip, value);
      return;
    }
    switch (chip.awaiting) {
      case 2:
        chip.base = value & 0xf8;
        chip.awaiting = chip.single ? (chip.needsIcw4 ? 4 : 0) : 3;
        break;
      case 3:
        // ICW3 names the cascade, which is wired.
        chip.awaiting = chip.needsIcw4 ? 4 : 0;
        break;
      case 4:
        chip.autoEoi = (value & ICW4_AEOI) !== 0;
        chip.specialFullyNested = (value & ICW4_SFNM) !== 0;
        chip.awaiting = 0;
        break;
      default:
        chip.imr = value;
        break;
    }
  }

  /** Starts initialization; clears what the datasheet lists under ICW1. */
  private writeIcw1(chip: Chip, value: number): void {
    chip.imr = 0;
    chip.isr = 0;
    chip.lowest = 7;
    chip.specialMask = false;
    chip.readIsr = false;
    chip.poll = false;
    chip.autoEoi = false;
    chip.rotateOnAutoEoi = false;
    chip.specialFullyNested = false;
    // The edge sense circuit is reset: a line must rise again. Level lines stay requested.
    chip.irr = chip.lines & chip.elcr;
    chip.needsIcw4 = (value & ICW1_IC4) !== 0;
    chip.single = (value & ICW1_SNGL) !== 0;
    chip.awaiting = 2;
  }

  private writeOcw2(chip: Chip, value: number): void {
    const level = value & 7;
    switch (value >> 5) {
      case 0b000:
        chip.rotateOnAutoEoi = false;
        break;
      case 0b100:
        chip.rotateOnAutoEoi = true;
        break;
      case 0b001:
        this.endOfInterrupt(chip, this.serviced(chip), false);
        break;
      case 0b101:
        this.endOfInterrupt(chip, this.serviced(chip), true);
        break;
      case 0b011:
        this.endOfInterrupt(chip, level, false);
        break;
      case 0b111:
        this.endOfInterrupt(chip, level, true);
        break;
      case 0b110:
        chip.lowest = level;
        break;
      default:
        break;
    }
  }

  /** What a non-specific EOI ends: masked levels are passed over in special mask mode. */
  private serviced(chip: Chip): number {
    return highest(chip, chip.specialMask ? chip.isr & ~chip.imr : chip.isr);
  }

  private endOfInterrupt(chip: Chip, ir: number, rotate: boolean): void {
    if (ir < 0) return;
    chip.isr &= ~(1 << ir);
    if (rotate) chip.lowest = ir;
  }

  private writeOcw3(chip: Chip, value: number): void {
    if (value & OCW3_POLL) chip.poll = true;
    if (value & OCW3_RR) chip.readIsr = (value & OCW3_RIS) !== 0;
    if (value & OCW3_ESMM) chip.specialMask = (value & OCW3_SMM) !== 0;
  }

  // --- Lines and acknowledge

  setIrq(irq: number, level: boolean): void {
    if (irq === CASCADE || irq < 0 || irq > 15) return;
    this.setLine(irq < 8 ? this.master : this.slave, irq & 7, level);
    this.update();
  }

  private setLine(chip: Chip, ir: number, level: boolean): void {
    const mask = 1 << ir;
    const was = (chip.lines & mask) !== 0;
    chip.lines = level ? chip.lines | mask : chip.lines & ~mask;
    if (chip.elcr & mask) chip.irr = level ? chip.irr | mask : chip.irr & ~mask;
    else if (level && !was) chip.irr |= mask;
  }

  /** Passes the slave's request to IR2 and the master's to INTR. */
  private update(): void {
    // IR2 is edge-triggered: a request that the slave withdraws stays, and ends as a spurious 15.
    if (requested(this.slave, false) >= 0) this.master.irr |= 1 << CASCADE;
    this.ports.intr.set(requested(this.master, true) >= 0);
  }

  private accept(chip: Chip, ir: number): void {
    const mask = 1 << ir;
    if ((chip.elcr & mask) === 0) chip.irr &= ~mask;
    if (!chip.autoEoi) chip.isr |= mask;
    else if (chip.rotateOnAutoEoi) chip.lowest = ir;
  }

  acknowledge(): number {
    const { master, slave } = this;
    const ir = requested(master, true);
    let vector: number;
    if (ir < 0) {
      vector = master.base | 7;
    } else if (ir === CASCADE) {
      this.accept(master, ir);
      const inner = requested(slave, false);
      if (inner >= 0) this.accept(slave, inner);
      vector = slave.base | (inner < 0 ? 7 : inner);
    } else {
      this.accept(master, ir);
      vector = master.base | ir;
    }
    this.update();
    return vector;
  }

  // --- Life

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    [this.master, this.slave] = this.powerOn();
    this.update();
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, { chips: [this.master, this.slave] });
  }

  restore(snapshot: Snapshot): void {
    const { chips } = loadState(FORMAT, snapshot);
    [this.master, this.slave] = chips as [Chip, Chip];
    this.update();
  }
}

/** The PIC pair at 0x20, 0xa0 and 0x4d0. */
export function i8259(options: I8259Options = {}): (ports: I8259Ports) => I8259Pair {
  return (ports) => new Pair(options, ports);
}
