/**
 * The decoder: bytes and mode to a predecoded instruction. Pure; never reads past `end`, never
 * throws on any bytes.
 *
 * Source: AMD APM vol. 3, chapter 1 (instruction encoding) and appendix A (opcode maps).
 *
 * Known inaccuracies: XOP and EVEX encodings, and those of VEX but for BMI, are undefined opcodes.
 */
import * as L from '../cpu/layout.js';
import { MODE_REAL } from '../cpu/mode.js';
import { OPCODE_MAPS } from '../isa/table/index.js';
import { type Entry, isRow, type Row, row, rowCount } from '../isa/table/row.js';
import { implicitSegment, memoryOperand, offsetOperand } from './addressing.js';
import { clearOperands, type Decoded, newDecoded, setDisplacement } from './decoded.js';
import { InstructionBytes, MAX_LENGTH } from './instruction-bytes.js';
import { Prefixes } from './prefixes.js';
import { type FormInfo, formOf, type OperandPlan } from './variant.js';
import { isVex, readVex } from './vex.js';

/** Outcome of `decode`. */
export const DECODED = 0;
/** The bytes end before the instruction does. */
export const TRUNCATED = 1;

const UNDEFINED_ROW = row('UD');
const TOO_LONG_ROW = row('TOOLONG');
const NOP_ROW = row('NOP');
const PAUSE_ROW = row('PAUSE');
/** PAUSE where an extension may intercept it. */
const PAUSE_ASKED_ROW = row('PAUSE_ASKED');
/** CR1, CR5 to CR7 and those from CR9 on are undefined opcodes. */
const CONTROL_REGISTERS = new Set([0, 2, 3, 4, 8]);
const { es, cs, ss, ds, fs, gs } = L.SEG;
const SEGMENT_NUMBERS: Readonly<Record<string, number>> = { es, cs, ss, ds, fs, gs };

/** Forms by row and what `#formInfo` makes of prefixes and ModRM: the same for all decoders. */
const forms: (FormInfo | null | undefined)[] = [];
/** Outside 64-bit mode, there but in real mode, in 64-bit mode: places in `#validity`. */
const MODE_KINDS = 3;

/** Which optional instructions the CPU model has, by feature name of the rows. */
export type FeatureTest = (feature: string) => boolean;

export class Decoder {
  readonly out: Decoded;
  /** Whether rows are defined, by row and mode; no gaps, for which V8 would take a dictionary. */
  readonly #validity = new Array<boolean | undefined>(rowCount() * MODE_KINDS).fill(undefined);
  readonly #has: FeatureTest;
  readonly #bytes = new InstructionBytes();
  readonly #prefixes = new Prefixes();
  #modrm = -1;
  #opcode = 0;
  /** An x87 instruction. */
  #escape = false;

  /** `asksPause`: PAUSE is a system function. */
  constructor(
    has: FeatureTest = () => true,
    private readonly asksPause = false,
  ) {
    this.#has = has;
    this.out = newDecoded(this.#formInfo(UNDEFINED_ROW) as FormInfo, UNDEFINED_ROW);
  }

  /** Decodes the instruction at `start`; bytes from `end` on are not there. */
  decode(bytes: Uint8Array, start: number, end: number, mode: number): number {
    this.#bytes.open(bytes, start, end);
    this.#prefixes.begin(mode);
    this.#modrm = -1;
    this.#escape = false;
    clearOperands(this.out);
    const found = this.#row();
    this.#finish(found);
    if (this.#bytes.overrun) {
      if (!this.#bytes.full) return TRUNCATED;
      this.#replace(TOO_LONG_ROW, MAX_LENGTH);
    }
    return DECODED;
  }

  /** Reads prefixes and opcode; the row that they name, or null. */
  #row(): Row | null {
    const opcode = this.#prefixes.read(this.#bytes);
    if (opcode === 0x0f) return this.#secondary();
    if (isVex(opcode, this.#bytes, this.#prefixes)) return this.#vex(opcode);
    this.#opcode = opcode;
    if (opcode === 0x90) {
      // REX.B makes NOP, but not PAUSE, an XCHG of r8.
      if (this.#prefixes.rep === 0xf3) return this.asksPause ? PAUSE_ASKED_ROW : PAUSE_ROW;
      if ((this.#prefixes.rex & 1) === 0) return NOP_ROW;
    }
    // The x87 escapes choose by more than the opcode: ModRM is always there.
    this.#escape = (opcode & 0xf8) === 0xd8;
    if (this.#escape) this.#needModrm();
    return this.#choose(OPCODE_MAPS.primary[opcode]);
  }

  #secondary(): Row | null {
    const opcode = this.#bytes.u8();
    const { secondary, map38, map3a } = OPCODE_MAPS;
    if (opcode === 0x38 || opcode === 0x3a) {
      this.#opcode = this.#bytes.u8();
      return this.#choose((opcode === 0x38 ? map38 : map3a)[this.#opcode]);
    }
    this.#opcode = opcode;
    return this.#choose(secondary[opcode]);
  }

  /** The row behind a VEX prefix. Without an operand for it VEX.vvvv must be all ones. */
  #vex(opcode: number): Row | null {
    const map = readVex(opcode, this.#bytes, this.#prefixes);
    if (map !== 2 && map !== 3) return null;
    const { vex38, vex3a } = OPCODE_MAPS;
    this.#opcode = this.#bytes.u8();
    const found = this.#choose((map === 2 ? vex38 : vex3a)[this.#opcode]);
    const named = found?.operands.some((code) => code[0] === 'B') === true;
    return named || this.#prefixes.vexRegister === 0 ? found : null;
  }

  #needModrm(): number {
    if (this.#modrm < 0) this.#modrm = this.#bytes.u8();
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
          const number = this.#prefixes.selector;
          let chosen: Entry = current.entries[number];
          // F2 or F3 in front of an instruction that they do not select is ignored.
          const ignored = number >= 2 && !this.#prefixes.vex;
          if (ignored && isRow(chosen) && !this.#allowed(chosen)) chosen = current.entries[0];
          current = chosen;
          break;
        }
        case 'wide':
          current = current.entries[this.#prefixes.wide ? 1 : 0];
          break;
        case 'mode':
          current = this.#prefixes.long ? current.long : current.legacy;
          break;
      }
    }
    return current;
  }

  #allowed(found: Row): boolean {
    return found.feature === '' || this.#has(found.feature);
  }

  /** The form of `found` under the prefixes and ModRM read, from a cache. */
  #formInfo(found: Row): FormInfo | null {
    const { operandSize: size, addressSize, long, rep, wide } = this.#prefixes;
    const register = this.#modrm >= 0xc0;
    const key =
      found.number * 256 +
      (size === 64 ? 2 : size >> 5) +
      (register ? 4 : 0) +
      (long ? 0 : 8) +
      (rep & 3) * 16 +
      (addressSize >> 5) * 64;
    const known = forms[key];
    if (known !== undefined) return known;
    const variant = { size, register, legacy: !long, rep, addressSize, rexW: wide };
    const info = formOf(found, variant);
    forms[key] = info;
    return info;
  }

  #finish(found: Row | null): void {
    if (found === null || !this.#valid(found)) {
      this.#replace(UNDEFINED_ROW, this.#bytes.length);
      return;
    }
    if (found.hasModrm) this.#needModrm();
    const info = this.#formInfo(found);
    if (info === null) {
      this.#replace(UNDEFINED_ROW, this.#bytes.length);
      return;
    }
    this.out.info = info;
    this.out.row = found;
    const fine = this.#operands(info);
    // The x87 unit keeps the opcode of its last instruction.
    if (this.#escape) this.out.registers[1] = ((this.#opcode & 7) << 8) | this.#modrm;
    this.out.length = this.#bytes.length;
    if (!fine || (this.#prefixes.lock && !info.lockable)) {
      this.#replace(UNDEFINED_ROW, this.out.length);
    }
    if (info.impliesMemory) implicitSegment(this.#prefixes, this.out);
  }

  #valid(found: Row): boolean {
    const { long, mode } = this.#prefixes;
    const kind = long ? 2 : (mode & MODE_REAL) !== 0 ? 1 : 0;
    const key = found.number * MODE_KINDS + kind;
    let valid = this.#validity[key];
    if (valid === undefined) {
      valid = this.#isValid(found);
      this.#validity[key] = valid;
    }
    return valid;
  }

  #isValid(found: Row): boolean {
    if (found.flags.has(this.#prefixes.long ? 'i64' : 'o64')) return false;
    if (found.flags.has('prot') && (this.#prefixes.mode & MODE_REAL) !== 0) return false;
    return this.#allowed(found);
  }

  #replace(by: Row, length: number): void {
    this.#prefixes.clear();
    this.#modrm = -1;
    clearOperands(this.out);
    this.out.info = this.#formInfo(by) as FormInfo;
    this.out.row = by;
    this.out.length = Math.max(1, length);
  }

  /** Fills in the operands; false where an operand makes the instruction undefined. */
  #operands({ operands: plans, hasModrmMemory }: FormInfo): boolean {
    // The address comes first: its bytes do.
    if (hasModrmMemory) {
      if (this.#modrm >= 0xc0) return false;
      memoryOperand(this.#bytes, this.#prefixes, this.#modrm, this.out);
    }
    for (let i = 0; i < plans.length; i++) {
      if (!this.#operand(plans[i], i)) return false;
    }
    return true;
  }

  #register(number: number, size: number): number {
    if (size === 8 && this.#prefixes.rex === 0 && number >= 4 && number < 8) {
      return L.gprOffset(number - 4) + 1;
    }
    return L.gprOffset(number);
  }

  /** Those that nearly all instructions have: V8 compiles them once, whatever else comes later. */
  #operand(plan: OperandPlan, index: number): boolean {
    const { out } = this;
    switch (plan.where) {
      case 'E':
        if (plan.kind === 'r') out.registers[index] = this.#register(this.#rm, plan.size);
        return true;
      case 'G':
        out.registers[index] = this.#register(this.#reg, plan.size);
        return true;
      case 'I':
        this.#immediate(plan);
        return true;
      case 'J':
        setDisplacement(out, this.#bytes.signed(plan.bytes));
        out.relative = true;
        return true;
      case 'M':
        return true;
      case 'Z':
        out.registers[index] = this.#register(
          (this.#opcode & 7) | ((this.#prefixes.rex & 1) << 3),
          plan.size,
        );
        return true;
      default:
        return this.#rareOperand(plan, index);
    }
  }

  /** ModRM.rm and ModRM.reg with the bits of REX. */
  get #rm(): number {
    return (this.#modrm & 7) | ((this.#prefixes.rex & 1) << 3);
  }

  get #reg(): number {
    return ((this.#modrm >> 3) & 7) | ((this.#prefixes.rex & 4) << 1);
  }

  #rareOperand(plan: OperandPlan, index: number): boolean {
    const { out } = this;
    const rm = this.#rm;
    const reg = this.#reg;
    switch (plan.where) {
      case 'R':
        out.registers[index] = this.#register(rm, plan.size);
        return true;
      case 'B':
        out.registers[index] = L.gprOffset(
          this.#prefixes.vexRegister & (this.#prefixes.long ? 15 : 7),
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
      case 'O':
        offsetOperand(this.#bytes, this.#prefixes, this.out);
        return true;
      case 'A':
        setDisplacement(out, this.#bytes.signed(plan.bytes - 2));
        out.immediate = this.#bytes.signed(2);
        return true;
      case 'S':
        out.registers[index] = reg & 7;
        // There are six; CS cannot be loaded.
        return (reg & 7) < 6 && (index !== 0 || (reg & 7) !== cs);
      case 'C':
        out.registers[index] = this.#prefixes.lock && reg === 0 ? 8 : reg;
        if (this.#prefixes.lock && reg === 0) this.#prefixes.lock = false;
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
      out.displacementLo = this.#bytes.signed(4);
      out.displacementHi = this.#bytes.signed(4);
    } else if (plan.bytes === 3) {
      out.immediate = (this.#bytes.signed(2) & 0xffff) | (this.#bytes.u8() << 16);
    } else {
      out.immediate = this.#bytes.signed(plan.bytes);
    }
  }
}
