/**
 * ACPI fixed hardware: PM1a event and control registers, power-management timer, SCI, power
 * button, soft off (S5) and the reset register.
 *
 * Source: ACPI 6.5, 4.8.2 (fixed hardware features), 4.8.3 (registers), 4.8.3.6 (reset register);
 * ports and values in `acpi/fixed-hardware.ts`, which the FADT is written from.
 *
 * Known inaccuracies: no sleep state but S5; no GPEs, sleep button, bus-master or global-lock
 * events; SCI_EN is always 1, as there is no SMI to hand over from.
 */
import {
  PM_TMR_BITS,
  PM_TMR_HZ,
  PM_TMR_LENGTH,
  PM_TMR_PORT,
  PM1_CNT_SCI_EN,
  PM1_CNT_SLP_EN,
  PM1_CNT_SLP_TYP_MASK,
  PM1_CNT_SLP_TYP_SHIFT,
  PM1_GBL,
  PM1_PWRBTN,
  PM1_RTC,
  PM1_SLPBTN,
  PM1_TMR,
  PM1_WAK_STS,
  PM1A_CNT_LENGTH,
  PM1A_CNT_PORT,
  PM1A_EVT_LENGTH,
  PM1A_EVT_PORT,
  RESET_PORT,
  S5_SLP_TYP,
} from '../acpi/fixed-hardware.js';
import type {
  Clock,
  Device,
  DeviceRegion,
  IrqLine,
  MachineControl,
  Snapshot,
  Timer,
} from '../interfaces/index.js';
import { readBytewise, writeBytewise } from './bytewise.js';
import { ticksAt, timeOfTick } from './frequency.js';
import { loadState, record, type StateFormat, saveState, time, u8, u16 } from './state.js';

export interface AcpiPmOptions {
  readonly name?: string;
}

export interface AcpiPmPorts {
  readonly clock: Clock;
  /** The SCI, level-triggered. */
  readonly sci: IrqLine;
  readonly control: MachineControl;
}

export interface AcpiPm extends Device {
  /** Sets PWRBTN_STS, as pressing the button does. */
  pressPowerButton(): void;
}

const EVENTS = 0;
const CONTROL = 1;
const TIMER = 2;

/** Ticks between changes of the timer's top bit, which set TMR_STS. */
const HALF_RANGE = 2 ** (PM_TMR_BITS - 1);
const STATUS_BITS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC | PM1_WAK_STS;
const ENABLE_BITS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_SLPBTN | PM1_RTC;

/** Reset control register: RST_CPU resets when it rises; SYS_RST says how hard. */
const RST_CPU = 0x04;
const RST_BITS = 0x0e;

interface State {
  status: number;
  enable: number;
  control: number;
  resetControl: number;
  /** Half ranges of the timer up to which TMR_STS is up to date. */
  halves: number;
}

const FORMAT: StateFormat<State> = {
  type: 'acpi-pm',
  version: 1,
  field: record<State>({
    status: u16,
    enable: u16,
    control: u16,
    resetControl: u8,
    halves: time,
  }),
};

class PowerManagement implements AcpiPm {
  readonly name: string;
  readonly regions: readonly DeviceRegion[] = [
    { space: 'io', base: PM1A_EVT_PORT, length: PM1A_EVT_LENGTH, name: 'pm1a-evt' },
    { space: 'io', base: PM1A_CNT_PORT, length: PM1A_CNT_LENGTH, name: 'pm1a-cnt' },
    { space: 'io', base: PM_TMR_PORT, length: PM_TMR_LENGTH, name: 'pm-tmr' },
    { space: 'io', base: RESET_PORT, length: 1, name: 'reset-control' },
  ];
  private s: State;
  private timer: Timer | null = null;

  constructor(
    options: AcpiPmOptions,
    private readonly ports: AcpiPmPorts,
  ) {
    this.name = options.name ?? 'acpi-pm';
    this.s = this.powerOn();
  }

  private powerOn(): State {
    return { status: 0, enable: 0, control: 0, resetControl: 0, halves: this.halvesNow };
  }

  private get ticks(): number {
    return ticksAt(this.ports.clock.now(), PM_TMR_HZ);
  }

  private get halvesNow(): number {
    return Math.floor(this.ticks / HALF_RANGE);
  }

  read(region: number, offset: number, size: number): number {
    this.advance();
    const { s } = this;
    const value =
      region === EVENTS
        ? s.status + s.enable * 0x10000
        : region === CONTROL
          ? s.control | PM1_CNT_SCI_EN
          : region === TIMER
            ? this.ticks % (2 * HALF_RANGE)
            : s.resetControl;
    return readBytewise(offset, size, (at) => Math.floor(value / 2 ** (8 * at)) & 0xff);
  }

  write(region: number, offset: number, size: number, value: number): void {
    this.advance();
    const { s } = this;
    if (region === EVENTS) {
      writeBytewise(offset, size, value, (at, byte) => this.writeEvent(at, byte));
    } else if (region === CONTROL) {
      // SLP_EN acts on the write that sets it, after the other byte of the same write.
      writeBytewise(offset, size, value, (at, byte) => {
        const shift = 8 * at;
        s.control = (s.control & ~(0xff << shift)) | (byte << shift);
      });
      this.sleep();
    } else if (region !== TIMER) {
      this.writeResetControl(value & 0xff);
    }
    this.update();
  }

  /** Status bits are cleared by writing ones. */
  private writeEvent(offset: number, byte: number): void {
    const { s } = this;
    const shift = 8 * (offset & 1);
    if (offset < 2) s.status &= ~(byte << shift);
    else s.enable = ((s.enable & ~(0xff << shift)) | (byte << shift)) & ENABLE_BITS;
  }

  private sleep(): void {
    const { s } = this;
    const enabled = (s.control & PM1_CNT_SLP_EN) !== 0;
    // SLP_EN is write-only; the other bits that this hardware has are SLP_TYP and SCI_EN.
    s.control &= PM1_CNT_SLP_TYP_MASK;
    const type = s.control >> PM1_CNT_SLP_TYP_SHIFT;
    if (enabled && type === S5_SLP_TYP) this.ports.control.powerOff('acpi-s5');
  }

  private writeResetControl(value: number): void {
    const { s } = this;
    // A value with other bits is a PCI configuration address passing by, not a reset.
    if ((value & ~RST_BITS) !== 0) return;
    const rises = (value & RST_CPU) !== 0 && (s.resetControl & RST_CPU) === 0;
    s.resetControl = value & ~RST_CPU;
    if (rises) this.ports.control.reset('reset-register');
  }

  pressPowerButton(): void {
    this.advance();
    this.s.status |= PM1_PWRBTN;
    this.update();
  }

  // --- Events

  /** Sets TMR_STS if the timer's top bit changed since the last call. */
  private advance(): void {
    const halves = this.halvesNow;
    if (halves > this.s.halves) this.s.status |= PM1_TMR;
    this.s.halves = halves;
  }

  private update(): void {
    const { s } = this;
    s.status &= STATUS_BITS;
    this.ports.sci.set((s.status & s.enable) !== 0);
    this.timer?.cancel();
    this.timer = null;
    if ((s.enable & PM1_TMR) === 0 || (s.status & PM1_TMR) !== 0) return;
    const at = timeOfTick((s.halves + 1) * HALF_RANGE, PM_TMR_HZ);
    this.timer = this.ports.clock.at(at, () => {
      this.timer = null;
      this.advance();
      this.update();
    });
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

/** The ACPI fixed hardware registers. */
export function acpiPm(options: AcpiPmOptions = {}): (ports: AcpiPmPorts) => AcpiPm {
  return (ports) => new PowerManagement(options, ports);
}
