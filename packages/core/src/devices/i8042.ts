/**
 * i8042 keyboard controller with nothing plugged in: self-test, reset line, A20 and output port.
 *
 * Source: IBM PS/2 Hardware Interface Technical Reference (1988), "Keyboard and auxiliary device
 * controller"; command bytes as there.
 *
 * Known inaccuracies: there is no keyboard and no auxiliary port, a byte for either is answered at
 * once by RESEND with the time-out bit, where the chip would wait; A20 is kept and read back but
 * never masks an address; the controller answers in no time.
 */
import type {
  Device,
  DeviceRegion,
  IrqLine,
  MachineControl,
  Snapshot,
} from '../interfaces/index.js';
import {
  bool,
  bytes,
  loadState,
  optional,
  record,
  type StateFormat,
  saveState,
  u8,
} from './state.js';

export interface I8042Options {
  readonly name?: string;
}

export interface I8042Ports {
  /** IRQ 1: output buffer full. */
  readonly irq: IrqLine;
  readonly control: Pick<MachineControl, 'reset'>;
}

const STATUS_OBF = 0x01;
const STATUS_SYS = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_TIMEOUT = 0x40;

const CONTROL_KEYBOARD_INTERRUPT = 0x01;
const CONTROL_SYS = 0x04;
const CONTROL_KEYBOARD_DISABLE = 0x10;
const CONTROL_AUX_DISABLE = 0x20;

const OUTPUT_RESET = 0x01;
const OUTPUT_A20 = 0x02;

const READ_RAM = 0x20;
const WRITE_RAM = 0x60;
const AUX_TEST = 0xa9;
const SELF_TEST = 0xaa;
const INTERFACE_TEST = 0xab;
const DISABLE_KEYBOARD = 0xad;
const ENABLE_KEYBOARD = 0xae;
const READ_INPUT_PORT = 0xc0;
const READ_OUTPUT_PORT = 0xd0;
const WRITE_OUTPUT_PORT = 0xd1;
const WRITE_KEYBOARD_BUFFER = 0xd2;
const WRITE_AUX_BUFFER = 0xd3;
const WRITE_AUX = 0xd4;
const DISABLE_A20 = 0xdd;
const ENABLE_A20 = 0xdf;
const PULSE_OUTPUT = 0xf0;

const SELF_TEST_PASSED = 0x55;
/** What AUX_TEST finds without a port: its clock line stuck low. */
const CLOCK_STUCK_LOW = 0x01;
const RESEND = 0xfe;
/** Input port: keyboard not inhibited, manufacturing jumper open. */
const INPUT_PORT = 0xb0;

interface State {
  /** The controller's RAM; byte 0 is the command byte. */
  ram: Uint8Array;
  /** The output buffer, or null when empty. */
  output: number | null;
  outputTimedOut: boolean;
  /** Whether the last write was to the command port. */
  lastWasCommand: boolean;
  /** A command that waits for its parameter, or null. */
  pending: number | null;
  outputPort: number;
}

const FORMAT: StateFormat<State> = {
  type: 'i8042',
  version: 1,
  field: record<State>({
    ram: bytes(32, true),
    output: optional(u8),
    outputTimedOut: bool,
    lastWasCommand: bool,
    pending: optional(u8),
    outputPort: u8,
  }),
};

function powerOn(): State {
  const ram = new Uint8Array(32);
  // As firmware leaves it: both devices off, system flag set.
  ram[0] = CONTROL_SYS | CONTROL_KEYBOARD_DISABLE | CONTROL_AUX_DISABLE;
  return {
    ram,
    output: null,
    outputTimedOut: false,
    lastWasCommand: false,
    pending: null,
    outputPort: OUTPUT_RESET | OUTPUT_A20 | 0xcc,
  };
}

class KeyboardController implements Device {
  readonly name: string;
  readonly regions: readonly DeviceRegion[] = [
    { space: 'io', base: 0x60, length: 1, name: 'i8042-data' },
    { space: 'io', base: 0x64, length: 1, name: 'i8042-command' },
  ];
  private s = powerOn();

  constructor(
    options: I8042Options,
    private readonly ports: I8042Ports,
  ) {
    this.name = options.name ?? 'i8042';
  }

  read(region: number, _offset: number, _size: number): number {
    return region === 0 ? this.readData() : this.status();
  }

  write(region: number, _offset: number, _size: number, value: number): void {
    if (region === 0) this.writeData(value & 0xff);
    else this.writeCommand(value & 0xff);
    this.updateIrq();
  }

  private status(): number {
    const { s } = this;
    let value = STATUS_UNLOCKED;
    if (s.output !== null) value |= STATUS_OBF | (s.outputTimedOut ? STATUS_TIMEOUT : 0);
    if (this.commandByte & CONTROL_SYS) value |= STATUS_SYS;
    if (s.lastWasCommand) value |= STATUS_COMMAND;
    return value;
  }

  private get commandByte(): number {
    return this.s.ram[0] ?? 0;
  }

  private readData(): number {
    const value = this.s.output ?? 0;
    this.s.output = null;
    this.s.outputTimedOut = false;
    this.updateIrq();
    return value;
  }

  private answer(value: number, timedOut = false): void {
    this.s.output = value;
    this.s.outputTimedOut = timedOut;
  }

  private writeData(value: number): void {
    const { s } = this;
    const command = s.pending;
    s.pending = null;
    s.lastWasCommand = false;
    if (command === null) {
      // A byte for the keyboard enables it, and nobody answers.
      s.ram[0] = this.commandByte & ~CONTROL_KEYBOARD_DISABLE;
      this.answer(RESEND, true);
    } else if (command === WRITE_OUTPUT_PORT) {
      this.writeOutputPort(value);
    } else if (command === WRITE_KEYBOARD_BUFFER || command === WRITE_AUX_BUFFER) {
      this.answer(value);
    } else if (command === WRITE_AUX) {
      this.answer(RESEND, true);
    } else {
      s.ram[command & 0x1f] = value;
    }
  }

  private writeCommand(command: number): void {
    const { s } = this;
    s.pending = null;
    s.lastWasCommand = true;
    if ((command & 0xe0) === READ_RAM) {
      this.answer(s.ram[command & 0x1f] ?? 0);
    } else if ((command & 0xe0) === WRITE_RAM) {
      s.pending = command;
    } else if ((command & 0xf0) === PULSE_OUTPUT) {
      // Bits 3:0 name the lines to pulse, active low; bit 0 is the processor's reset.
      if ((command & OUTPUT_RESET) === 0) this.ports.control.reset('i8042');
    } else {
      this.controllerCommand(command);
    }
  }

  private controllerCommand(command: number): void {
    const { s } = this;
    switch (command) {
      case AUX_TEST:
        this.answer(CLOCK_STUCK_LOW);
        break;
      case SELF_TEST:
        s.ram[0] = powerOn().ram[0] ?? 0;
        this.answer(SELF_TEST_PASSED);
        break;
      case INTERFACE_TEST:
        this.answer(0);
        break;
      case DISABLE_KEYBOARD:
        s.ram[0] = this.commandByte | CONTROL_KEYBOARD_DISABLE;
        break;
      case ENABLE_KEYBOARD:
        s.ram[0] = this.commandByte & ~CONTROL_KEYBOARD_DISABLE;
        break;
      case READ_INPUT_PORT:
        this.answer(INPUT_PORT);
        break;
      case READ_OUTPUT_PORT:
        this.answer(s.outputPort);
        break;
      case WRITE_OUTPUT_PORT:
      case WRITE_KEYBOARD_BUFFER:
      case WRITE_AUX_BUFFER:
      case WRITE_AUX:
        s.pending = command;
        break;
      case DISABLE_A20:
        s.outputPort &= ~OUTPUT_A20;
        break;
      case ENABLE_A20:
        s.outputPort |= OUTPUT_A20;
        break;
      default:
        // Commands for the auxiliary port, and those of other makers, do nothing.
        break;
    }
  }

  private writeOutputPort(value: number): void {
    this.s.outputPort = value | OUTPUT_RESET;
    if ((value & OUTPUT_RESET) === 0) this.ports.control.reset('i8042');
  }

  private updateIrq(): void {
    const enabled = (this.commandByte & CONTROL_KEYBOARD_INTERRUPT) !== 0;
    this.ports.irq.set(enabled && this.s.output !== null);
  }

  // --- Life

  drain(): Promise<void> {
    return Promise.resolve();
  }

  reset(): void {
    this.s = powerOn();
    this.updateIrq();
  }

  snapshot(): Snapshot {
    return saveState(FORMAT, this.s);
  }

  restore(snapshot: Snapshot): void {
    this.s = loadState(FORMAT, snapshot);
    this.updateIrq();
  }
}

/** The keyboard controller at 0x60 and 0x64. */
export function i8042(options: I8042Options = {}): (ports: I8042Ports) => Device {
  return (ports) => new KeyboardController(options, ports);
}
