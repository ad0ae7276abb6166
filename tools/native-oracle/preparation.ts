/**
 * What particular instructions need of the state they begin in: implied registers that hold
 * addresses, targets of branches, operands that make both outcomes likely.
 */
import { hostIsAmd } from './host.js';
import { movesImage } from './image-preparation.js';
import {
  address,
  high16,
  inWindow,
  landing,
  type Needs,
  nonCanonical,
  type Preparation,
  RAX,
  RBP,
  RBX,
  RCX,
  RDI,
  RDX,
  RSI,
  RSP,
  type Situation,
  stack,
} from './preparation-parts.js';
import {
  farImmediate,
  farIndirect,
  farReturn,
  interruptReturn,
  loadsPointer,
  loadsSegment,
  looksAtSelector,
  popsSegment,
  pushesSegment,
} from './segment-preparation.js';
import { dataStart, FX_IMAGE, FX_ST } from './user-state.js';

const frame: Preparation = (situation) => {
  const needs = stack(situation);
  const { form, random, state } = situation;
  const outside = form.bits === 64 && random.once(32);
  const inside = dataStart(form.bits) + 100 + random.below(100);
  state.setGpr(RBP, outside ? nonCanonical(random) : inside);
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
    // See `isa/vendor-differences.ts`.
    const cut = !hostIsAmd && wider && count === 0n;
    state.setGpr(register, cut ? value & 0xffffffffn : value);
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

/**
 * LDMXCSR: reserved bits fault. Bit 17 (MM) is one where there is no misaligned SSE mode, which a
 * host of AMD's has and no model states (AMD APM vol. 1, 4.2.2).
 */
const mediaControl: Preparation = ({ form, random, state }) => {
  const offset = random.below(240);
  const reserved = random.once(4) ? (random.u32() >>> 16) & ~2 : 0;
  state.setData(offset + 2, reserved, 2);
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
  [/^(MOVS|CMPS|STOS|LODS|SCAS|INS|OUTS)$/, strings],
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
  [/^(LAR|LSL|VERR|VERW)$/, looksAtSelector],
  [/^MOVTOSEG$/, loadsSegment],
  [/^PUSHSEG$/, pushesSegment],
  [/^POPSEG$/, popsSegment],
  [/^LOADFAR$/, loadsPointer],
  [/^(JMPFI|CALLFI)$/, farIndirect],
  [/^(JMPF|CALLF)$/, farImmediate],
  [/^RETFI?$/, farReturn],
  [/^IRET$/, interruptReturn],
  [/^LDMXCSR$/, mediaControl],
  [/^(FXSAVE|FXRSTOR|XSAVE|XSAVEOPT|XSAVEC|XRSTOR)$/, movesImage],
  [/^SH[LR]D$/, doubleShift],
  [/^(JCXZ|LOOP.*)$/, count],
];

/** Prepares the state for an instruction of the form; what its operands have to respect. */
export function prepare(situation: Situation): Needs {
  const { mnemonic } = situation.form.encoding.row;
  const found = PREPARATIONS.find(([names]) => names.test(mnemonic));
  return found === undefined ? {} : found[1](situation);
}
