/**
 * The decoder: bytes and mode to a predecoded instruction. Pure; never reads past `end`, never
 * throws on any bytes.
 *
 * Source: AMD APM vol. 3, chapter 1 (instruction encoding) and appendix A (opcode maps).
 *
 * Known inaccuracies: VEX and XOP encodings are undefined opcodes.
 */
import * as L from '../cpu/layout.js';
import { MODE_16, MODE_64, MODE_REAL, MODE_SEGMENTED, MODE_SIZE_MASK } from '../cpu/mode.js';
import * as R from '../isa/op-record.js';
import { OPCODE_MAPS } from '../isa/table/index.js';
import { type Entry, isRow, type Row, row } from '../isa/table/row.js';
import { type FormInfo, formOf, type OperandPlan } from './variant.js';

export const MAX_LENGTH = 15;

/** Outcome of `decode`. */
export const DECODED = 0;
/** The bytes end before the instruction does. */
export const TRUNCATED = 1;

/** One decoded instruction; reused by the decoder. */
export interface Decoded {
  info: FormInfo;
  /** Bytes. */
  length: number;
  /** Offsets into the vCPU record, or numbers, per operand. */
  readonly registers: Uint16Array;
  base: number;
  index: number;
  segment: number;
  ea: number;
  scale: number;
  immediate: number;
  displacementLo: number;
  displacementHi: number;
  /** The displacement counts from the end of the instruction. */
  relative: boolean;
}

const UNDEFINED_ROW = row('UD');
const TOO_LONG_ROW = row('TOOLONG');
const NOP_ROW = row('NOP');
const PAUSE_ROW = row('PAUSE');
/** CR1, CR5 to CR7 and those from CR9 on are undefined opcodes. */
const CONTROL_REGISTERS = new Set([0, 2, 3, 4, 8]);
/** Instructions with an implied memory operand that are not string instructions. */
const IMPLIED_SEGMENT = new Set(['XLAT', 'MASKMOV']);
const NONE = L.ZERO;
const { es, cs, ss, ds, fs, gs } = L.SEG;
const SEGMENT_OVERRIDES: Readonly<Record<number, number>> = {
  38: es, 46: cs, 54: ss, 62: ds, 100: fs, 101: gs,
}; // biome-ignore format: table
const SEGMENT_NUMBERS: Readonly<Record<string, number>> = { es, cs, ss, ds, fs, gs };

/** Base and index of the eight 16-bit addressing forms: numbers of registers, -1 none. */
const BASES_16 = [3, 3, 5, 5, 6, 7, 5, 3];
const INDICES_16 = [6, 7, 6, 7, -1, -1, -1, -1];

let nextRowNumber = 0;
const rowNumbers = new WeakMap<Row, number>();

function rowNumber(of: Row): number {
  let number = rowNumbers.get(of);
  if (number === undefined) {
    number = nextRowNumber++;
    rowNumbers.set(of, number);
  }
  return number;
}

/** Which optional instructions the CPU model has, by feature name of the rows. */
export type FeatureTest = (feature: string) => boolean;

export class Decoder {
  readonly out: Decoded;
  readonly #forms: (FormInfo | null | undefined)[] = [];
  readonly #has: FeatureTest;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #start = 0;
  #overrun = false;
  #mode = 0;
  #long = false;
  #rex = 0;
  #operand66 = false;
  #address67 = false;
  #lock = false;
  #rep: 0 | 0xf2 | 0xf3 = 0;
  #segment = -1;
  #modrm = -1;
  #opcode = 0;

  constructor(has: FeatureTest = () => true) {
    this.#has = has;
    this.out = {
      info: this.#formInfo(UNDEFINED_ROW) as FormInfo,
      length: 0,
      registers: new Uint16Array(4),
      base: NONE,
      index: NONE,
      segment: NONE,
      ea: 0,
      scale: 0,
      immediate: 0,
      displacementLo: 0,
      displacementHi: 0,
      relative: false,
    };
  }

  /** Decodes the instruction at `start`; bytes from `end` on are not there. */
  decode(bytes: Uint8Array, start: number, end: number, mode: number): number {
    this.#bytes = bytes;
    this.#start = start;
    this.#at = start;
    this.#end = Math.min(end, start + MAX_LENGTH);
    this.#overrun = false;
    this.#mode = mode;
    this.#long = (mode & MODE_SIZE_MASK) === MODE_64;
    this.#reset();
    const found = this.#row();
    this.#finish(found);
    if (this.#overrun) {
      if (this.#end - start < MAX_LENGTH) return TRUNCATED;
      this.#replace(TOO_LONG_ROW, MAX_LENGTH);
    }
    return DECODED;
  }

  #reset(): void {
    this.#rex = 0;
    this.#operand66 = false;
    this.#address67 = false;
    this.#lock = false;
    this.#rep = 0;
    this.#segment = -1;
    this.#modrm = -1;
    const { out } = this;
    out.registers.fill(0);
    out.base = NONE;
    out.index = NONE;
    out.segment = NONE;
    out.ea = 0;
    out.scale = 0;
    out.immediate = 0;
    out.displacementLo = 0;
    out.displacementHi = 0;
    out.relative = false;
  }

  #u8(): number {
    if (this.#at >= this.#end) {
      this.#overrun = true;
      return 0;
    }
    return this.#bytes[this.#at++];
  }

  /** Signed little-endian value of 1, 2 or 4 bytes. */
  #signed(count: number): number {
    if (count === 1) return (this.#u8() << 24) >> 24;
    const low = this.#u8() | (this.#u8() << 8);
    if (count === 2) return (low << 16) >> 16;
    return low | (this.#u8() << 16) | (this.#u8() << 24);
  }

  /** Reads prefixes and opcode; the row that they name, or null. */
  #row(): Row | null {
    const opcode = this.#prefixes();
    if (opcode === 0x0f) return this.#secondary();
    this.#opcode = opcode;
    if (opcode === 0x90) {
      // REX.B makes NOP, but not PAUSE, an XCHG of r8.
      if (this.#rep === 0xf3) return PAUSE_ROW;
      if ((this.#rex & 1) === 0) return NOP_ROW;
    }
    // The x87 escapes choose by more than the opcode: ModRM is always there.
    if ((opcode & 0xf8) === 0xd8) this.#needModrm();
    return this.#choose(OPCODE_MAPS.primary[opcode]);
  }

  #prefixes(): number {
    for (;;) {
      const byte = this.#u8();
      if (this.#overrun) return 0x90;
      switch (byte) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
          // ES, CS, SS and DS overrides mean nothing in 64-bit mode.
          if (!this.#long) this.#segment = SEGMENT_OVERRIDES[byte];
          break;
        case 0x64:
        case 0x65:
          this.#segment = SEGMENT_OVERRIDES[byte];
          break;
        case 0x66:
          this.#operand66 = true;
          break;
        case 0x67:
          this.#address67 = true;
          break;
        case 0xf0:
          this.#lock = true;
          break;
        case 0xf2:
        case 0xf3:
          this.#rep = byte;
          break;
        default:
          if (!this.#long || (byte & 0xf0) !== 0x40) return byte;
          this.#rex = byte;
          continue;
      }
      // A REX prefix counts only directly before the opcode.
      this.#rex = 0;
    }
  }

  #secondary(): Row | null {
    const opcode = this.#u8();
    const { secondary, map38, map3a } = OPCODE_MAPS;
    if (opcode === 0x38 || opcode === 0x3a) {
      this.#opcode = this.#u8();
      return this.#choose((opcode === 0x38 ? map38 : map3a)[this.#opcode]);
    }
    this.#opcode = opcode;
    return this.#choose(secondary[opcode]);
  }

  #needModrm(): number {
    if (this.#modrm < 0) this.#modrm = this.#u8();
    return this.#modrm;
  }

  #choose(entry: Entry): Row | null {
    let current = entry;
    while (current !== null && !isRow(current)) {
      switch (current.by) {
        case 'reg':
          current = current.entries[(this.#needModrm() >> 3) & 7];
          break;
        case 'rm':
          current = current.entries[this.#needModrm() & 7];
          break;
        case 'mod':
          current = this.#needModrm() >= 0xc0 ? current.register : current.memory;
          break;
        case 'prefix': {
          const number = this.#rep === 0xf3 ? 2 : this.#rep === 0xf2 ? 3 : this.#operand66 ? 1 : 0;
          let chosen: Entry = current.entries[number];
          // F2 or F3 in front of an instruction that they do not select is ignored.
          if (number >= 2 && isRow(chosen) && !this.#allowed(chosen)) chosen = current.entries[0];
          current = chosen;
          break;
        }
        case 'wide':
          current = current.entries[this.#rex & 8 ? 1 : 0];
          break;
        case 'mode':
          current = this.#long ? current.long : current.legacy;
          break;
      }
    }
    return current;
  }

  #allowed(found: Row): boolean {
    return found.feature === '' || this.#has(found.feature);
  }

  /** Operand size by prefixes and mode, before what the row says. */
  #operandSize(): number {
    if ((this.#rex & 8) !== 0) return 64;
    const default16 = (this.#mode & MODE_SIZE_MASK) === MODE_16;
    return default16 !== this.#operand66 ? 16 : 32;
  }

  #addressSize(): number {
    if (this.#long) return this.#address67 ? 32 : 64;
    const default16 = (this.#mode & MODE_SIZE_MASK) === MODE_16;
    return default16 !== this.#address67 ? 16 : 32;
  }

  /** The form of `found` under the prefixes and ModRM read, from a cache. */
  #formInfo(found: Row): FormInfo | null {
    const size = this.#operandSize();
    const addressSize = this.#addressSize();
    const register = this.#modrm >= 0xc0;
    const key =
      rowNumber(found) * 256 +
      (size === 64 ? 2 : size >> 5) +
      (register ? 4 : 0) +
      (this.#long ? 0 : 8) +
      (this.#rep & 3) * 16 +
      (addressSize >> 5) * 64;
    const known = this.#forms[key];
    if (known !== undefined) return known;
    const variant = {
      size,
      register,
      legacy: !this.#long,
      rep: this.#rep,
      addressSize,
      rexW: (this.#rex & 8) !== 0,
    };
    const info = formOf(found, variant);
    this.#forms[key] = info;
    return info;
  }

  #finish(found: Row | null): void {
    if (found === null || !this.#valid(found)) {
      this.#replace(UNDEFINED_ROW, this.#at - this.#start);
      return;
    }
    if (
      this.#modrm < 0 &&
      found.operands.some((code) => /^[EGMRSCDVWUPQN]/.test(code) && code !== 'DX')
    ) {
      this.#needModrm();
    }
    const info = this.#formInfo(found);
    if (info === null) {
      this.#operands(this.#anyInfo(found));
      this.#replace(UNDEFINED_ROW, this.#at - this.#start);
      return;
    }
    this.out.info = info;
    const fine = this.#operands(info.operands);
    this.out.length = this.#at - this.#start;
    const lockable = info.description.lockable === true && info.operands[0]?.kind === 'm';
    if (!fine || (this.#lock && !lockable)) this.#replace(UNDEFINED_ROW, this.out.length);
    if (found.flags.has('rep') || IMPLIED_SEGMENT.has(found.mnemonic)) this.#stringSegment();
  }

  /** Operand plans of a row without description: only its length is wanted. */
  #anyInfo(_found: Row): readonly OperandPlan[] {
    return [];
  }

  #valid(found: Row): boolean {
    if (found.flags.has(this.#long ? 'i64' : 'o64')) return false;
    if (found.flags.has('prot') && (this.#mode & MODE_REAL) !== 0) return false;
    return this.#allowed(found);
  }

  #replace(by: Row, length: number): void {
    this.#reset();
    this.out.info = this.#formInfo(by) as FormInfo;
    this.out.length = Math.max(1, length);
  }

  #stringSegment(): void {
    const chosen = this.#segment < 0 ? ds : this.#segment;
    const applies = !this.#long || chosen === fs || chosen === gs;
    this.out.segment = applies ? L.segmentOffset(chosen) : NONE;
  }

  /** Fills in the operands; false where an operand makes the instruction undefined. */
  #operands(plans: readonly OperandPlan[]): boolean {
    // The address comes first: its bytes do.
    if (plans.some(({ where, kind }) => kind === 'm' && where !== 'O')) {
      if (this.#modrm >= 0xc0) return false;
      this.#memory();
    }
    for (let i = 0; i < plans.length; i++) {
      if (!this.#operand(plans[i], i)) return false;
    }
    return true;
  }

  #register(number: number, size: number): number {
    if (size === 8 && this.#rex === 0 && number >= 4 && number < 8) {
      return L.gprOffset(number - 4) + 1;
    }
    return L.gprOffset(number);
  }

  #operand(plan: OperandPlan, index: number): boolean {
    const { out } = this;
    const rm = (this.#modrm & 7) | ((this.#rex & 1) << 3);
    const reg = ((this.#modrm >> 3) & 7) | ((this.#rex & 4) << 1);
    switch (plan.where) {
      case 'E':
        if (plan.kind === 'r') out.registers[index] = this.#register(rm, plan.size);
        return true;
      case 'R':
        out.registers[index] = this.#register(rm, plan.size);
        return true;
      case 'G':
        out.registers[index] = this.#register(reg, plan.size);
        return true;
      case 'Z':
        out.registers[index] = this.#register(
          (this.#opcode & 7) | ((this.#rex & 1) << 3),
          plan.size,
        );
        return true;
      case 'V':
        out.registers[index] = L.XMM + 16 * reg;
        return true;
      case 'W':
      case 'U':
        if (plan.where === 'U' && this.#modrm < 0xc0) return false;
        if (plan.kind === 'x') out.registers[index] = L.XMM + 16 * rm;
        return true;
      case 'P':
        out.registers[index] = L.ST + 16 * (reg & 7);
        return true;
      case 'Q':
      case 'N':
        if (plan.where === 'N' && this.#modrm < 0xc0) return false;
        if (plan.kind === 'x') out.registers[index] = L.ST + 16 * (rm & 7);
        return true;
      case 'F':
        out.registers[index] = this.#modrm & 7;
        return true;
      case 'M':
        return true;
      case 'I':
        this.#immediate(plan);
        return true;
      case 'J':
        this.#setDisplacement(this.#signed(plan.bytes));
        out.relative = true;
        return true;
      case 'O':
        this.#offsetOperand();
        return true;
      case 'A':
        this.#setDisplacement(this.#signed(plan.bytes - 2));
        out.immediate = this.#signed(2);
        return true;
      case 'S':
        out.registers[index] = reg & 7;
        // There are six; CS cannot be loaded.
        return (reg & 7) < 6 && (index !== 0 || (reg & 7) !== cs);
      case 'C':
        out.registers[index] = this.#lock && reg === 0 ? 8 : reg;
        if (this.#lock && reg === 0) this.#lock = false;
        return CONTROL_REGISTERS.has(out.registers[index]);
      case 'D':
        out.registers[index] = reg;
        return reg < 8;
      case 'CL':
        out.registers[index] = L.gprOffset(1);
        return true;
      case 'DX':
        out.registers[index] = L.gprOffset(2);
        return true;
      case 'AL':
      case 'AX':
      case 'rAX':
      case 'eAX':
        out.registers[index] = L.gprOffset(0);
        return true;
      case '1':
        out.immediate = 1;
        return true;
      default:
        out.registers[index] = SEGMENT_NUMBERS[plan.where];
        return true;
    }
  }

  #immediate(plan: OperandPlan): void {
    const { out } = this;
    if (plan.bytes === 8) {
      out.displacementLo = this.#signed(4);
      out.displacementHi = this.#signed(4);
    } else if (plan.bytes === 3) {
      out.immediate = (this.#signed(2) & 0xffff) | (this.#u8() << 16);
    } else {
      out.immediate = this.#signed(plan.bytes);
    }
  }

  #setDisplacement(value: number): void {
    this.out.displacementLo = value | 0;
    this.out.displacementHi = value < 0 ? -1 : 0;
  }

  /** Memory at an offset that is in the instruction (MOV with moffs). */
  #offsetOperand(): void {
    const size = this.#addressSize();
    this.out.displacementLo = size === 16 ? this.#signed(2) & 0xffff : this.#signed(4);
    if (size === 64) this.out.displacementHi = this.#signed(4);
    this.#addressing(ds, size);
  }

  /** ModRM, SIB and displacement of a memory operand. */
  #memory(): void {
    const size = this.#addressSize();
    const defaultSegment = size === 16 ? this.#memory16() : this.#memory32();
    this.#addressing(defaultSegment, size);
  }

  #memory16(): number {
    const { out } = this;
    const mod = this.#modrm >> 6;
    const rm = this.#modrm & 7;
    if (mod === 0 && rm === 6) {
      this.#setDisplacement(this.#signed(2) & 0xffff);
      return ds;
    }
    out.base = L.gprOffset(BASES_16[rm]);
    if (INDICES_16[rm] >= 0) {
      out.index = L.gprOffset(INDICES_16[rm]);
      out.ea |= R.EA_INDEX;
    }
    if (mod !== 0) this.#setDisplacement(this.#signed(mod));
    return BASES_16[rm] === 5 ? ss : ds;
  }

  #memory32(): number {
    const { out } = this;
    const mod = this.#modrm >> 6;
    let base = this.#modrm & 7;
    if (base === 4) {
      const sib = this.#u8();
      base = sib & 7;
      const index = ((sib >> 3) & 7) | ((this.#rex & 2) << 2);
      if (index !== 4) {
        out.index = L.gprOffset(index);
        out.scale = sib >> 6;
        out.ea |= R.EA_INDEX;
      }
      if (base === 5 && mod === 0) {
        this.#setDisplacement(this.#signed(4));
        return ds;
      }
    } else if (base === 5 && mod === 0) {
      this.#setDisplacement(this.#signed(4));
      if (this.#long) {
        out.base = L.RIP_PAGE;
        out.relative = true;
      }
      return ds;
    }
    const number = base | ((this.#rex & 1) << 3);
    out.base = L.gprOffset(number);
    if (mod !== 0) this.#setDisplacement(this.#signed(mod === 1 ? 1 : 4));
    return base === 5 || base === 4 ? (number < 8 ? ss : ds) : ds;
  }

  /** Segment, width and checks of the address. */
  #addressing(defaultSegment: number, size: number): void {
    const { out } = this;
    const segment = this.#segment < 0 ? defaultSegment : this.#segment;
    if (this.#long) {
      if (size === 32) out.ea |= R.EA_32;
      if (segment === fs || segment === gs) {
        out.ea |= R.EA_SEGMENT;
        out.segment = L.segmentOffset(segment);
      }
      return;
    }
    out.ea |= size === 16 ? R.EA_16 : R.EA_32;
    out.segment = L.segmentOffset(segment);
    if ((this.#mode & MODE_SEGMENTED) !== 0) {
      out.ea |= R.EA_SEGMENT | R.EA_CHECKED | R.EA_LINEAR_32;
    } else if (segment === cs) {
      out.ea |= R.EA_SEGMENT | R.EA_LINEAR_32;
    }
  }
}
