/**
 * Our decoder and iced-x86's on the same bytes: validity, length, name, and every operand.
 *
 * iced-x86 decodes as AMD's processors do. Where we say undefined opcode and it does not, the
 * outcome names the instruction: whether that is an instruction we leave out is the caller's
 * question. The length of an undefined opcode means nothing.
 */
import { createRequire } from 'node:module';
import type * as Iced from 'iced-x86';
import * as L from '../../packages/backend-emu/src/cpu/layout.js';
import {
  MODE_16,
  MODE_32,
  MODE_64,
  MODE_SEGMENTED,
} from '../../packages/backend-emu/src/cpu/mode.js';
import { DECODED, Decoder } from '../../packages/backend-emu/src/decode/decoder.js';
import type { FormInfo, OperandPlan } from '../../packages/backend-emu/src/decode/variant.js';
import '../../packages/backend-emu/src/isa/index.js';
import * as R from '../../packages/backend-emu/src/isa/op-record.js';
import { icedNames } from './names.js';

// Its entry point is CommonJS, and finds its WebAssembly beside itself.
const iced = createRequire(import.meta.url)('iced-x86') as typeof Iced;
const { DecoderOptions, EncodingKind, Mnemonic, OpKind, Register } = iced;

export type Bits = 16 | 32 | 64;

/** How the two decoders differ on one string. */
export interface Disagreement {
  readonly kind: 'refused' | 'accepted' | 'length' | 'name' | 'operand';
  /** What iced-x86 calls it; for `accepted`, what we call it. */
  readonly name: string;
  readonly detail: string;
}

const MODES: Readonly<Record<Bits, number>> = {
  16: MODE_16 | MODE_SEGMENTED,
  32: MODE_32 | MODE_SEGMENTED,
  64: MODE_64,
};

/** Memory operands that only name an address: the sizes mean nothing. */
const ADDRESS_ONLY =
  /^(LEA|NOP|PREFETCH|CLFLUSH|CLWB|.*(INVLPG|[GI]DT|FARI?|BOUND|SAVE.*|RSTOR|ENV|CALLFI|JMPFI))$/;

/** Their registers are read in the low byte or word, or written with zeros above, in any size. */
const LOW_WORD = new Set([
  'ARPL', 'LAR', 'LSL', 'MOVTOSEG', 'PINSRB', 'PINSRW', 'LTR', 'LLDT', 'VERR', 'VERW', 'LMSW',
  'EXTRACTPS', 'MOVMSKPS', 'MOVMSKPD', 'PEXTRB', 'PEXTRW', 'PMOVMSKB',
]); // biome-ignore format: table

/** Operands that iced-x86 shows of those that our table gives more. */
const IMPLIED: Readonly<Record<string, number>> = { LOADFAR: 2, FUCOMPP: 0, FCOMPP: 0 };

/** The VEX instructions that we have; for the others their encoding stands. */
const BMI = /^(Andn|Bextr|Blsi|Blsmsk|Blsr|Bzhi|Mulx|Pdep|Pext|Rorx|Sarx|Shlx|Shrx)$/;

/** What a form leaves to compare. */
interface Expectation {
  readonly names: ReadonlySet<number>;
  readonly undefinedOpcode: boolean;
  readonly plans: readonly OperandPlan[];
  readonly sized: boolean;
  /** iced-x86 gives the register in the operand size. */
  readonly low: boolean;
  /** Its second operand is not used, and not in our table. */
  readonly hint: boolean;
  readonly strings: boolean;
  readonly exactRep: boolean;
}

const mnemonicNumbers = Mnemonic as unknown as Readonly<Record<string, number>>;

function expectationOf(info: FormInfo): Expectation {
  const { mnemonic } = info.form;
  const names = icedNames(info).map((name) => mnemonicNumbers[name]);
  if (names.includes(undefined as unknown as number) && mnemonic !== 'TOOLONG') {
    throw new Error(`${mnemonic}: iced-x86 has no ${icedNames(info)}`);
  }
  return {
    names: new Set(names),
    undefinedOpcode: mnemonic === 'UD' || mnemonic === 'TOOLONG',
    plans: info.operands.slice(0, IMPLIED[mnemonic]),
    low: LOW_WORD.has(mnemonic) || mnemonic === 'NOP',
    hint: mnemonic === 'NOP',
    sized: !ADDRESS_ONLY.test(mnemonic),
    strings: /^(MOVS|CMPS|STOS|LODS|SCAS|INS|OUTS|XLAT|MASKMOV)$/.test(mnemonic),
    exactRep: mnemonic === 'CMPS' || mnemonic === 'SCAS',
  };
}

/** Register of iced-x86 to size in bits and our offset (or number), by its number. */
const registers = new Map<number, { readonly size: number; readonly at: number }>();
function addRegisters(first: number, count: number, size: number, at: (i: number) => number): void {
  for (let i = 0; i < count; i++) registers.set(first + i, { size, at: at(i) });
}
addRegisters(Register.AL, 4, 8, L.gprOffset);
addRegisters(Register.AH, 4, 8, (i) => L.gprOffset(i) + 1);
addRegisters(Register.SPL, 12, 8, (i) => L.gprOffset(i + 4));
addRegisters(Register.AX, 16, 16, L.gprOffset);
addRegisters(Register.EAX, 16, 32, L.gprOffset);
addRegisters(Register.RAX, 16, 64, L.gprOffset);
addRegisters(Register.ES, 6, 16, (i) => i);
addRegisters(Register.XMM0, 16, 128, (i) => L.XMM + 16 * i);
addRegisters(Register.MM0, 8, 64, (i) => L.ST + 16 * i);
addRegisters(Register.ST0, 8, 64, (i) => i);
addRegisters(Register.CR0, 16, 64, (i) => i);
addRegisters(Register.DR0, 16, 64, (i) => i);

export class Comparison {
  readonly #ours = new Decoder();
  readonly #instruction = new iced.Instruction();
  readonly #expectations = new Map<FormInfo, Expectation>();
  readonly #kinds: number[] = [];
  readonly #memorySizes = new Map<number, number>();
  #theirs: Iced.Decoder | null = null;
  #bytes: Uint8Array = new Uint8Array(0);
  #bits: Bits = 64;

  /** Bytes that `at` takes strings from, and the mode to decode them in. */
  open(bytes: Uint8Array, bits: Bits): void {
    this.close();
    this.#bytes = bytes;
    this.#bits = bits;
    this.#theirs = new iced.Decoder(bits, bytes, DecoderOptions.AMD);
  }

  close(): void {
    this.#theirs?.free();
    this.#theirs = null;
  }

  /** Null where the decoders agree on the string at `at`. */
  compare(at: number): Disagreement | null {
    const theirs = this.#theirs as Iced.Decoder;
    const instruction = this.#instruction;
    theirs.position = at;
    theirs.ip = 0n;
    theirs.decodeOut(instruction);
    const status = this.#ours.decode(this.#bytes, at, this.#bytes.length, MODES[this.#bits]);
    const { out } = this.#ours;
    const mnemonic = instruction.mnemonic;
    const name = Mnemonic[mnemonic];
    if (status !== DECODED) return { kind: 'refused', name, detail: 'truncated' };
    const expected = this.#expectation(out.info);
    if (expected.undefinedOpcode) {
      if (mnemonic === Mnemonic.INVALID || expected.names.has(mnemonic)) return null;
      const { encoding } = instruction;
      const whole = encoding !== EncodingKind.Legacy && !BMI.test(name);
      const named = whole ? EncodingKind[encoding] : name;
      const kind = out.info.form.mnemonic === 'UD' ? 'refused' : 'length';
      return { kind, name: named, detail: out.info.form.mnemonic };
    }
    const ours = out.info.key;
    if (mnemonic === Mnemonic.INVALID) {
      return { kind: 'accepted', name: out.info.form.mnemonic, detail: ours };
    }
    if (!expected.names.has(mnemonic)) return { kind: 'name', name, detail: ours };
    if (instruction.length !== out.length) {
      return { kind: 'length', name, detail: `${out.length}, not ${instruction.length}` };
    }
    const operand = this.#operands(expected);
    return operand === null ? null : { kind: 'operand', name, detail: `${ours}: ${operand}` };
  }

  /** Text of the instruction at `at` as iced-x86 reads it. */
  text(at: number): string {
    const theirs = this.#theirs as Iced.Decoder;
    theirs.position = at;
    theirs.decodeOut(this.#instruction);
    return this.#instruction.toString();
  }

  #expectation(info: FormInfo): Expectation {
    let known = this.#expectations.get(info);
    if (known === undefined) this.#expectations.set(info, (known = expectationOf(info)));
    return known;
  }

  /** What is wrong with the operands, or null. */
  #operands(expected: Expectation): string | null {
    if (expected.strings) return this.#string(expected);
    // ENDBR is a NOP here, whose operand is not looked at.
    if (expected.hint && this.#instruction.opCount === 0) return null;
    const { plans } = expected;
    const theirs = this.#explicit(plans);
    let theirIndex = 0;
    for (let i = 0; i < plans.length; i++) {
      const problem = this.#operand(plans[i], i, theirs[theirIndex], expected);
      if (problem !== null) return `operand ${i}: ${problem}`;
      theirIndex += plans[i].bytes === 3 ? 2 : 1;
    }
    return theirIndex === theirs.length || expected.hint
      ? null
      : `${theirIndex} operands, not ${theirs.length}`;
  }

  /** Operands of iced-x86 by index, without the top of the x87 stack where that is implied. */
  #explicit(plans: readonly OperandPlan[]): readonly number[] {
    const instruction = this.#instruction;
    const count = instruction.opCount;
    const found = this.#kinds;
    found.length = 0;
    for (let i = 0; i < count; i++) found.push(i);
    if (count === plans.length) return found;
    const top = found.filter(
      (i) =>
        !(instruction.opKind(i) === OpKind.Register && instruction.opRegister(i) === Register.ST0),
    );
    // ST(0) with itself: one of the two.
    return plans.length > 0 && top.length === 0 ? [0] : top;
  }

  #operand(plan: OperandPlan, index: number, theirs: number, expected: Expectation): string | null {
    const instruction = this.#instruction;
    const { out } = this.#ours;
    if (theirs === undefined) return 'not there';
    const kind = instruction.opKind(theirs);
    switch (plan.kind) {
      case 'r':
      case 'x':
      case 's':
      case 'n': {
        if (kind !== OpKind.Register) return `a register, not kind ${OpKind[kind]}`;
        const number = instruction.opRegister(theirs);
        const register = registers.get(number);
        const same = register?.at === out.registers[index];
        const fits = plan.kind !== 'r' || register?.size === plan.size || expected.low;
        return same && fits
          ? null
          : `${out.registers[index]}, ${plan.size}, not ${Register[number]}`;
      }
      case 'm':
        return kind === OpKind.Memory
          ? this.#memory(plan, expected)
          : `memory, not ${OpKind[kind]}`;
      case 'j':
        return this.#target(kind);
      case 'i':
        return this.#immediate(plan, theirs, kind);
    }
  }

  #target(kind: number): string | null {
    const { out } = this.#ours;
    const size = out.info.form.size;
    const theirSize = { 1: 16, 2: 32, 3: 64 }[kind];
    if (theirSize !== size) return `target of ${size} bits, not ${theirSize}`;
    const target = BigInt(out.displacementLo + out.length);
    const theirs = this.#instruction.nearBranchTarget;
    return BigInt.asUintN(size, target) === theirs ? null : `target ${target}, not ${theirs}`;
  }

  #immediate(plan: OperandPlan, theirs: number, kind: number): string | null {
    const instruction = this.#instruction;
    const { out } = this.#ours;
    if (plan.where === 'A') {
      const wide = plan.bytes === 6;
      const offset = wide ? instruction.farBranch32 : instruction.farBranch16;
      if ((kind === OpKind.FarBranch32) !== wide) return `far pointer of ${plan.bytes} bytes`;
      const same =
        ((out.displacementLo ^ offset) & (wide ? -1 : 0xffff)) === 0 &&
        (out.immediate & 0xffff) === instruction.farBranchSelector;
      return same ? null : `far pointer ${out.immediate}:${out.displacementLo}`;
    }
    if (plan.bytes === 3) {
      const both = instruction.immediate16 | (Number(instruction.immediate(theirs + 1)) << 16);
      return both === out.immediate ? null : `${out.immediate}, not ${both}`;
    }
    const value = BigInt.asUintN(plan.size, instruction.immediate(theirs));
    const ours =
      plan.bytes === 8
        ? (BigInt(out.displacementHi) << 32n) | BigInt(out.displacementLo >>> 0)
        : BigInt(out.immediate);
    return BigInt.asUintN(plan.size, ours) === value ? null : `${ours}, not ${value}`;
  }

  #memory(plan: OperandPlan, expected: Expectation): string | null {
    const instruction = this.#instruction;
    const { out } = this.#ours;
    const base = instruction.memoryBase;
    const index = instruction.memoryIndex;
    const relative = base === Register.RIP || base === Register.EIP;
    if (relative !== out.relative) return `relative to RIP: ${out.relative}`;
    const addressSize = this.#addressSize();
    const ourSize = out.ea & R.EA_16 ? 16 : out.ea & R.EA_32 ? 32 : 64;
    if (addressSize !== ourSize) return `address of ${ourSize} bits, not ${addressSize}`;
    const expectedBase = base === Register.None ? L.ZERO : registers.get(base)?.at;
    if (!relative && out.base !== expectedBase) return `base ${out.base}, not ${Register[base]}`;
    const indexed = index !== Register.None;
    if (indexed !== ((out.ea & R.EA_INDEX) !== 0)) return `index: ${!indexed}`;
    if (indexed) {
      if (out.index !== registers.get(index)?.at)
        return `index ${out.index}, not ${Register[index]}`;
      const scale = instruction.memoryIndexScale;
      if (1 << out.scale !== scale) return `scale ${1 << out.scale}, not ${scale}`;
    }
    const length = relative ? BigInt(out.length) : 0n;
    const theirs = BigInt.asUintN(addressSize, instruction.memoryDisplacement - length);
    const high = out.displacementHi;
    const ours = (BigInt(high) << 32n) | BigInt(out.displacementLo >>> 0);
    if (BigInt.asUintN(addressSize, ours) !== theirs) return `displacement ${ours}, not ${theirs}`;
    return this.#segment() ?? (expected.sized ? this.#memorySize(plan) : null);
  }

  #memorySize(plan: OperandPlan): string | null {
    const size = this.#instruction.memorySize;
    let bits = this.#memorySizes.get(size);
    if (bits === undefined) {
      bits = iced.MemorySizeExt.size(size) * 8;
      this.#memorySizes.set(size, bits);
    }
    return bits === plan.size ? null : `memory of ${plan.size} bits, not ${bits}`;
  }

  #segment(): string | null {
    const { out } = this.#ours;
    const theirs = this.#instruction.memorySegment;
    const number = theirs - Register.ES;
    // In 64-bit mode the other four have no base.
    const counts = this.#bits !== 64 || number >= L.SEG.fs;
    const offset = counts ? L.segmentOffset(number) : L.ZERO;
    return out.segment === offset ? null : `segment ${out.segment}, not ${Register[theirs]}`;
  }

  #addressSize(): number {
    const instruction = this.#instruction;
    for (const register of [instruction.memoryBase, instruction.memoryIndex]) {
      if (register === Register.EIP) return 32;
      if (register === Register.RIP) return 64;
      if (register !== Register.None) return registers.get(register)?.size ?? 0;
    }
    return instruction.memoryDisplSize * 8;
  }

  /** String instructions and their like: repetition, address size and segment of the source. */
  #string(expected: Expectation): string | null {
    const instruction = this.#instruction;
    const { form } = this.#ours.out.info;
    const f3 = instruction.hasRepPrefix;
    const f2 = instruction.hasRepnePrefix;
    const repeated = form.rep !== 0;
    if (form.mnemonic !== 'XLAT' && form.mnemonic !== 'MASKMOV') {
      if (repeated !== (f2 || f3)) return `repeated: ${repeated}`;
      if (expected.exactRep && repeated && (form.rep === 0xf3) !== f3) return `F${form.rep & 15}`;
    }
    for (let i = 0; i < instruction.opCount; i++) {
      const kind = instruction.opKind(i);
      if (kind === OpKind.Memory) {
        if (this.#addressSize() !== form.addressSize) return `address of ${form.addressSize} bits`;
        return this.#segment();
      }
      if (kind < OpKind.MemorySegSI || kind > OpKind.MemoryESRDI) continue;
      if (16 << (kind % 3) !== form.addressSize) return `address of ${form.addressSize} bits`;
      const problem = kind <= OpKind.MemorySegRDI ? this.#segment() : null;
      if (problem !== null) return problem;
    }
    return null;
  }
}
