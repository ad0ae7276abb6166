/**
 * The prefixes of an instruction, and the default sizes of the mode that they change.
 *
 * Source: AMD APM vol. 3, 1.2.
 */
import * as L from '../cpu/layout.js';
import { MODE_16, MODE_64, MODE_SIZE_MASK } from '../cpu/mode.js';
import type { InstructionBytes } from './instruction-bytes.js';

const { es, cs, ss, ds, fs, gs } = L.SEG;
const SEGMENT_OVERRIDES: Readonly<Record<number, number>> = {
  38: es, 46: cs, 54: ss, 62: ds, 100: fs, 101: gs,
}; // biome-ignore format: table

export const REX_W = 8;
export const REX_X = 2;
export const REX_B = 1;

export class Prefixes {
  /** See `cpu/mode.ts`. */
  mode = 0;
  /** 64-bit mode. */
  long = false;
  /** 40 to 4F; 0: none. */
  rex = 0;
  operand66 = false;
  address67 = false;
  lock = false;
  rep: 0 | 0xf2 | 0xf3 = 0;
  /** Number of the segment that an override names, -1: none. */
  segment = -1;
  /** There is a VEX prefix: what it says stands in `rex`, `operand66` and `rep`. */
  vex = false;
  /** VEX.vvvv as the number of a register. */
  vexRegister = 0;

  begin(mode: number): void {
    this.mode = mode;
    this.long = (mode & MODE_SIZE_MASK) === MODE_64;
    this.clear();
  }

  clear(): void {
    this.rex = 0;
    this.operand66 = false;
    this.address67 = false;
    this.lock = false;
    this.rep = 0;
    this.segment = -1;
    this.vex = false;
    this.vexRegister = 0;
  }

  get wide(): boolean {
    return (this.rex & REX_W) !== 0;
  }

  /** The mandatory prefix that there is: 0 none, 1 66, 2 F3, 3 F2. */
  get selector(): 0 | 1 | 2 | 3 {
    if (this.rep !== 0) return this.rep === 0xf3 ? 2 : 3;
    return this.operand66 ? 1 : 0;
  }

  /** Operand size in bits by prefixes and mode, before what the row says. */
  get operandSize(): 16 | 32 | 64 {
    if (this.wide) return 64;
    const default16 = (this.mode & MODE_SIZE_MASK) === MODE_16;
    return default16 !== this.operand66 ? 16 : 32;
  }

  /** Address size in bits. */
  get addressSize(): 16 | 32 | 64 {
    if (this.long) return this.address67 ? 32 : 64;
    const default16 = (this.mode & MODE_SIZE_MASK) === MODE_16;
    return default16 !== this.address67 ? 16 : 32;
  }

  /** Reads all prefixes; the byte behind them. */
  read(bytes: InstructionBytes): number {
    for (;;) {
      const byte = bytes.u8();
      if (bytes.overrun) return 0x90;
      switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
          // ES, CS, SS and DS overrides mean nothing in 64-bit mode.
          if (!this.long) this.segment = SEGMENT_OVERRIDES[byte];
          break;
        case 0x64:
        case 0x65:
          this.segment = SEGMENT_OVERRIDES[byte];
          break;
        case 0x66:
          this.operand66 = true;
          break;
        case 0x67:
          this.address67 = true;
          break;
        case 0xf0:
          this.lock = true;
          break;
        case 0xf2:
        case 0xf3:
          this.rep = byte;
          break;
        default:
          if (!this.long || (byte & 0xf0) !== 0x40) return byte;
          this.rex = byte;
          continue;
      }
      // A REX prefix counts only directly before the opcode.
      this.rex = 0;
    }
  }
}
