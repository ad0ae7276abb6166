/**
 * Chooses an addressing form at random and sets its registers so that it reaches a wanted address.
 * AMD APM vol. 3, 1.4 (ModRM and SIB) and tables.
 */
import { type Instruction, littleEndian, REX, setRex } from './instruction.js';
import type { RandomSource } from './random.js';
import type { Bits, UserState } from './user-state.js';

const RSP = 4;
const NO_INDEX = 4;

export interface AddressOptions {
  readonly bits: Bits;
  /** Address size in bits. */
  readonly size: 16 | 32 | 64;
  /** Wanted offset in the data segment; a displacement alone reaches numbers only. */
  readonly target: number | bigint;
  /** Registers whose values the instruction needs. */
  readonly busy: ReadonlySet<number>;
  /** ModRM.reg, 3 bits. */
  readonly reg: number;
  /** The instruction uses the stack: RSP must stay near. */
  readonly stack: boolean;
}

/** Fills in ModRM, SIB and displacement, and the registers they name. */
export function chooseAddress(
  random: RandomSource,
  instruction: Instruction,
  state: UserState,
  options: AddressOptions,
): void {
  if (options.size === 16) address16(random, instruction, state, options);
  else address32(random, instruction, state, options);
}

function displacement(random: RandomSource, mod: number): bigint {
  if (mod === 0) return 0n;
  const value = BigInt.asIntN(8, BigInt(random.u32()));
  return mod === 1 ? value : random.once(2) ? value * 0x1234n : BigInt.asIntN(32, random.u64());
}

function freeRegister(random: RandomSource, count: number, busy: ReadonlySet<number>): number {
  for (;;) {
    const number = random.below(count);
    if (!busy.has(number)) return number;
  }
}

/** A register's value that is `value` in the address size, with anything above. */
function extended(random: RandomSource, value: bigint, options: AddressOptions): bigint {
  const { size, bits } = options;
  if (size === 64) return value;
  const cut = BigInt.asUintN(size, value);
  return bits === 64 ? (BigInt(random.u32()) << 32n) | cut : cut | highHalf(random, size);
}

/** Garbage above a 16-bit address in a 32-bit register. */
function highHalf(random: RandomSource, size: number): bigint {
  return size === 16 ? BigInt(random.below(0x10000)) << 16n : 0n;
}

function modrm(mod: number, reg: number, rm: number): number {
  return (mod << 6) | (reg << 3) | rm;
}

function address32(
  random: RandomSource,
  instruction: Instruction,
  state: UserState,
  options: AddressOptions,
): void {
  const { bits, reg, stack } = options;
  const target = BigInt(options.target);
  const form = typeof options.target === 'bigint' ? 2 + random.below(6) : random.below(8);
  if (form === 0 && bits === 64 && options.size === 64) {
    instruction.modrm = [modrm(0, reg, 5), 0, 0, 0, 0];
    instruction.ripTarget = target;
    return;
  }
  const registers = bits === 64 ? 16 : 8;
  const busy = new Set([...options.busy, ...(stack ? [RSP] : [])]);
  if (form === 1) {
    noBase(random, instruction, state, { ...options, busy });
    return;
  }
  const base = freeRegister(random, registers, busy);
  const needsDisplacement = (base & 7) === 5;
  const mod = needsDisplacement ? 1 + random.below(2) : random.below(3);
  const offset = displacement(random, mod);
  const sib = form < 5 || (base & 7) === 4;
  const index = sib && random.below(4) !== 0 ? freeRegister(random, registers, busy) : NO_INDEX;
  let rest = target - offset;
  let scale = sib ? random.below(4) : 0;
  if (index !== NO_INDEX && index !== base) {
    rest -= state.gpr(index) << BigInt(scale);
  } else if (index === base) {
    // The register counts 1 + 2^scale times: only a double address can be halved.
    scale = 0;
  }
  const usedIndex = index === base ? NO_INDEX : index;
  state.setGpr(base, extended(random, rest, options));
  const bytes = littleEndian(offset, [0, 1, 4][mod]);
  instruction.modrm = sib
    ? [modrm(mod, reg, 4), (scale << 6) | ((usedIndex & 7) << 3) | (base & 7), ...bytes]
    : [modrm(mod, reg, base), ...bytes];
  if (!sib) instruction.modrm[0] = modrm(mod, reg, base & 7);
  if (base > 7) setRex(instruction, REX.b);
  if (usedIndex > 7) setRex(instruction, REX.x);
}

/** SIB without a base: a displacement, with or without an index. */
function noBase(
  random: RandomSource,
  instruction: Instruction,
  state: UserState,
  options: AddressOptions,
): void {
  const target = BigInt(options.target);
  const scale = random.below(4);
  const registers = options.bits === 64 ? 16 : 8;
  const index = random.once(2) ? freeRegister(random, registers, options.busy) : NO_INDEX;
  let offset = target;
  if (index !== NO_INDEX) {
    const times = BigInt(random.below(0x100000));
    state.setGpr(index, extended(random, times, options));
    offset -= times << BigInt(scale);
    if (index > 7) setRex(instruction, REX.x);
  }
  const sib = (scale << 6) | ((index & 7) << 3) | 5;
  instruction.modrm = [modrm(0, options.reg, 4), sib, ...littleEndian(offset, 4)];
}

/** Base and index of the eight forms; -1: none. */
const FORMS_16 = [
  [3, 6], [3, 7], [5, 6], [5, 7], [6, -1], [7, -1], [5, -1], [3, -1],
] as const; // biome-ignore format: table

function address16(
  random: RandomSource,
  instruction: Instruction,
  state: UserState,
  options: AddressOptions,
): void {
  const { reg, busy } = options;
  const target = BigInt(options.target);
  const usable = FORMS_16.map((_, rm) => rm).filter(
    (rm) => !FORMS_16[rm].some((register) => busy.has(register)),
  );
  const rm = usable.length === 0 ? 6 : random.pick(usable);
  const direct = usable.length === 0 || (rm === 6 && random.once(2));
  if (direct) {
    instruction.modrm = [modrm(0, reg, 6), ...littleEndian(target, 2)];
    return;
  }
  const [base, index] = FORMS_16[rm];
  const mod = rm === 6 ? 1 + random.below(2) : random.below(3);
  const offset = displacement(random, mod);
  const rest = target - offset - (index < 0 ? 0n : state.gpr(index));
  state.setGpr(base, extended(random, rest, options));
  instruction.modrm = [modrm(mod, reg, rm), ...littleEndian(offset, mod)];
}
