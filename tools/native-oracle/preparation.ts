/**
 * What particular instructions need of the state they begin in: implied registers that hold
 * addresses, targets of branches, operands that make both outcomes likely.
 */
import type { NativeForm } from './forms.js';
import type { Instruction } from './instruction.js';
import type { RandomSource } from './random.js';
import { type Bits, codeStart, dataStart, FX_IMAGE, FX_ST, type UserState } from './user-state.js';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const RBX = 3;
const RSP = 4;
const RBP = 5;
const RSI = 6;
const RDI = 7;

/** What the choice of operands has to respect. */
export interface Needs {
  /** Registers that are no base or index. */
  readonly busy?: readonly number[];
  readonly stack?: boolean;
  /** Address of the memory operand. */
  readonly target?: number;
  /** The byte immediate. */
  readonly immediate?: number;
  /** Called with ModRM.reg beside a memory operand: its value matters, so it is no base. */
  readonly register?: (number: number) => void;
  /** Called with ModRM.rm of a register operand. */
  readonly source?: (number: number, high: boolean) => void;
  /** Called with the finished instruction. */
  readonly after?: (instruction: Instruction) => void;
}

export interface Situation {
  readonly form: NativeForm;
  readonly random: RandomSource;
  readonly state: UserState;
  readonly addressSize: 16 | 32 | 64;
}

type Preparation = (situation: Situation) => Needs;

/** An address as a register of the address size may hold it, with anything above. */
function address({ form, random, addressSize }: Situation, offset: number): bigint {
  const value = BigInt(dataStart(form.bits) + offset);
  if (addressSize === form.bits) return value | (addressSize === 16 ? high16(random) : 0n);
  return form.bits === 64 ? value | (BigInt(random.u32()) << 32n) : value;
}

function high16(random: RandomSource): bigint {
  return BigInt(random.below(0x10000)) << 16n;
}

/** Offset in the window of a pointer that lies there. */
function inWindow(bits: Bits, pointer: bigint): number {
  return Number(pointer & 0xffffn) - (dataStart(bits) & 0xffff);
}

/** Where branches may go: anywhere in the page of breakpoints. */
function landing({ form, random }: Situation): bigint {
  const distance = random.below(0xe00) - 0x700;
  const outside = distance < 0 || distance > 15 ? distance : distance + 16;
  return BigInt(codeStart(form.bits) + outside);
}

const stack: Preparation = (situation) => {
  const { form, random, state } = situation;
  const top = BigInt(dataStart(form.bits) + 112 + random.below(24));
  state.setGpr(RSP, form.bits === 16 ? top | high16(random) : top);
  return { stack: true };
};

const frame: Preparation = (situation) => {
  const needs = stack(situation);
  const { form, random, state } = situation;
  state.setGpr(RBP, dataStart(form.bits) + 100 + random.below(100));
  return needs;
};

const popFlags: Preparation = (situation) => {
  const needs = stack(situation);
  const { form, state } = situation;
  // TF would trap behind the next instruction, AC in the handler of the signal.
  const offset = inWindow(form.bits, state.gpr(RSP));
  state.data[offset + 1] &= ~1;
  state.data[offset + 2] &= ~4;
  return needs;
};

const returns: Preparation = (situation) => {
  const needs = stack(situation);
  const { form, state } = situation;
  const offset = inWindow(form.bits, state.gpr(RSP));
  state.setData(offset, landing(situation), form.size / 8);
  return needs;
};

const branchesTo: Preparation = (situation) => {
  const { form, random, state } = situation;
  const needs = stack(situation);
  if (form.memory) {
    const offset = 120 + random.below(32);
    // A call pushes in front of the target, never over it.
    state.setGpr(RSP, dataStart(form.bits) + 64);
    state.setData(offset, landing(situation), form.size / 8);
    return { ...needs, target: dataStart(form.bits) + offset };
  }
  return { ...needs, source: (number) => state.setGpr(number, landing(situation)) };
};

const strings: Preparation = (situation) => {
  const { random, state, addressSize, form } = situation;
  const count = BigInt(random.below(8));
  const wider = addressSize === 32 && form.bits === 64;
  for (const [register, value] of [
    [RSI, address(situation, 64 + random.below(128))],
    [RDI, address(situation, 64 + random.below(128))],
    [RCX, wider ? count | (BigInt(random.u32()) << 32n) : count],
  ] as const) {
    // See `vendor-differences.ts`.
    state.setGpr(register, wider && count === 0n ? value & 0xffffffffn : value);
  }
  if (addressSize === 16) state.setGpr(RCX, count | high16(random));
  return {};
};

const translate: Preparation = (situation) => {
  situation.state.setGpr(RBX, address(situation, 0));
  return {};
};

const maskedMove: Preparation = (situation) => {
  situation.state.setGpr(RDI, address(situation, situation.random.below(240)));
  return {};
};

/** Bit offsets in registers reach outside the operand. */
const bitTest: Preparation = ({ form, random, state }) => {
  if (!form.memory || form.encoding.row.operands[1] !== 'Gv') return {};
  const set = (number: number): void => {
    const offset = BigInt.asUintN(form.size, BigInt(random.below(1024) - 512));
    const above = form.bits === 64 ? random.u64() : BigInt(random.u32());
    const kept = form.size === 64 ? 0n : (above >> BigInt(form.size)) << BigInt(form.size);
    state.setGpr(number, form.bits === 64 ? kept | offset : BigInt.asUintN(32, kept | offset));
  };
  return { target: dataStart(form.bits) + 80 + random.below(80), register: set };
};

/** Dividends that mostly fit. */
const divide: Preparation = ({ form, random, state }) => {
  if (random.once(4)) return {};
  const mask = form.bits === 64 ? 64 : 32;
  const top = random.once(2) ? 0n : BigInt.asIntN(form.size, state.gpr(RAX)) < 0n ? -1n : 0n;
  const high = random.once(3) ? BigInt(random.below(256)) : top;
  if (form.size === 8) state.setGpr(RAX, BigInt.asIntN(8, state.gpr(RAX)) & 0xffffn);
  else state.setGpr(RDX, BigInt.asUintN(mask, high));
  return {};
};

const exchange: Preparation = ({ form, random, state }) => {
  const offset = random.below(128) + 64;
  const target = dataStart(form.bits) + offset;
  if (random.once(2)) return { busy: [RAX] };
  if (form.memory) {
    state.setData(offset, state.gpr(RAX), form.size / 8);
    return { busy: [RAX], target };
  }
  return { source: (number, high) => !high && state.setGpr(number, state.gpr(RAX)) };
};

/** CMPXCHG8B and CMPXCHG16B; the latter wants its operand aligned. */
const exchangePair: Preparation = ({ form, random, state }) => {
  const half = form.encoding.wide === true ? 8 : 4;
  const spread = random.below(128) + 64;
  const offset = half === 8 && !random.once(8) ? spread & ~15 : spread;
  if (random.once(2)) {
    state.setData(offset, state.gpr(RAX), half);
    state.setData(offset + half, state.gpr(RDX), half);
  }
  return { busy: [RAX, RDX, RCX, RBX], target: dataStart(form.bits) + offset };
};

/** With 16-bit operands counts above 16 leave everything undefined. */
const doubleShift: Preparation = ({ form, random, state }) => {
  const count = form.size === 16 ? random.below(17) : random.below(256);
  state.setGpr(RCX, (state.gpr(RCX) & ~0xffn) | BigInt(count));
  return { busy: [RCX], immediate: count };
};

const count: Preparation = ({ random, state }) => {
  if (random.once(2)) state.setGpr(RCX, BigInt(random.below(3)));
  return {};
};

/** LDMXCSR: reserved bits fault. */
const mediaControl: Preparation = ({ form, random, state }) => {
  if (random.once(4)) return {};
  const offset = random.below(240);
  state.setData(offset + 2, 0, 2);
  return { target: dataStart(form.bits) + offset };
};

/** Greatest exponent and leading byte of ST(0) in the range that the manual defines. */
const RANGES: Readonly<Record<string, readonly [exponent: number, positive: boolean]>> = {
  F2XM1: [0x3ffe, false],
  FYL2X: [0x7ffe, true],
  FYL2XP1: [0x3ffc, false],
  FPATAN: [0x7ffe, false],
  // Below pi/4 nobody reduces the argument, by whatever value of pi.
  FPTAN: [0x3ffd, false],
  FSIN: [0x3ffd, false],
  FCOS: [0x3ffd, false],
  FSINCOS: [0x3ffd, false],
};

/** Arguments in range, all exceptions masked. */
const transcendental: Preparation = ({ form, random, state }) => {
  const [most, positive] = RANGES[form.encoding.row.mnemonic];
  const { fx } = state;
  const control = fx.getUint16(FX_IMAGE.fcw, true);
  fx.setUint16(FX_IMAGE.fcw, control | 0x3f, true);
  fx.setUint16(FX_IMAGE.fsw, fx.getUint16(FX_IMAGE.fsw, true) & 0x7f7f, true);
  const word = fx.getUint16(FX_ST + 8, true);
  const exponent = word & 0x7fff;
  const sign = positive ? 0 : word & 0x8000;
  const within = exponent > most ? most - random.below(30) : exponent;
  fx.setUint16(FX_ST + 8, within | sign, true);
  return {};
};

const PREPARATIONS: readonly (readonly [names: RegExp, preparation: Preparation])[] = [
  [/^(MOVS|CMPS|STOS|LODS|SCAS)$/, strings],
  [/^(PUSH|POP|PUSHF|CALL|PUSHA|POPA)$/, stack],
  [/^(ENTER|LEAVE)$/, frame],
  [/^POPF$/, popFlags],
  [/^(RET|RETI)$/, returns],
  [/^(JMPI|CALLI)$/, branchesTo],
  [/^XLAT$/, translate],
  [/^MASKMOV$/, maskedMove],
  [/^BT[SRC]?$/, bitTest],
  [/^I?DIV$/, divide],
  [/^CMPXCHG$/, exchange],
  [/^CMPXCHG(8|16)B$/, exchangePair],
  [new RegExp(`^(${Object.keys(RANGES).join('|')})$`), transcendental],
  [/^LDMXCSR$/, mediaControl],
  [/^SH[LR]D$/, doubleShift],
  [/^(JCXZ|LOOP.*)$/, count],
];

/** Prepares the state for an instruction of the form; what its operands have to respect. */
export function prepare(situation: Situation): Needs {
  const { mnemonic } = situation.form.encoding.row;
  const found = PREPARATIONS.find(([names]) => names.test(mnemonic));
  return found === undefined ? {} : found[1](situation);
}
