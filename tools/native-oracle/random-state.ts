/**
 * A random state to begin in: general registers and flags always; x87, MMX and SSE registers and
 * their control words where the instruction uses them.
 */
import type { NativeForm } from './forms.js';
import { hostIsAmd } from './host.js';
import { littleEndian } from './instruction.js';
import type { RandomSource } from './random.js';
import { STATUS } from './undefined-flags.js';
import {
  type Bits,
  codeStart,
  FX_IMAGE,
  FX_ST,
  FX_XMM,
  OPERANDS_SIZE,
  UserState,
} from './user-state.js';

const ALWAYS = 0x202;
const DF = 0x400;
/** Alignment is checked: where that comes among the faults of an access the vendors differ. */
const AC = 0x40000;
/** Bytes by bytes, where the emulated processor looks at the whole. */
const UNALIGNED = new Set(['MASKMOV']);
const MXCSR_MASKS = 0x1f80;
const MXCSR_FLAGS = 0x3f;
const FCW_MASKS = 0x3f;
const FCW_FIXED = 0x40;
/** Condition codes and exception flags of the x87 status word, without stack fault. */
const FSW_CODES = 0x4700;
const FSW_SUMMARY = 0x8080;

export function randomState(
  random: RandomSource,
  form: NativeForm,
  /** Segments have no limits: what comes first, they or alignment, is the processor's affair. */
  whole: boolean,
): UserState {
  const { bits } = form;
  const state = new UserState();
  for (let i = 0; i < 16; i++) {
    const value = random.integer();
    state.setGpr(i, bits === 64 ? value : i < 8 ? value & 0xffffffffn : 0n);
  }
  const aligned =
    whole && hostIsAmd && !UNALIGNED.has(form.encoding.row.mnemonic) && random.once(8);
  const others = (random.once(2) ? DF : 0) | (aligned ? AC : 0);
  state.rflags = (random.u32() & (STATUS | others)) | ALWAYS;
  state.rip = BigInt(codeStart(bits));
  state.fx.setUint32(FX_IMAGE.mxcsr, MXCSR_MASKS, true);
  state.fx.setUint16(FX_IMAGE.fcw, 0x300 | FCW_FIXED | FCW_MASKS, true);
  const element = usesFloats(form) ? random.pick([integers, singles, doubles]) : integers;
  for (let i = 0; i < OPERANDS_SIZE; i += 8) state.setData(i, element(random), 8);
  if (usesVectors(form)) fillVectors(random, state, bits, element);
  if (usesX87(form)) fillX87(random, state);
  return state;
}

/** Whether the form is an x87 escape. */
export function isX87({ encoding }: NativeForm): boolean {
  return encoding.opcode.length === 1 && (encoding.opcode[0] & 0xf8) === 0xd8;
}

function usesX87(form: NativeForm): boolean {
  const { row } = form.encoding;
  const mmx = row.operands.some((code) => /^[PQN]/.test(code));
  return isX87(form) || row.mnemonic === 'EMMS' || mmx;
}

function usesVectors({ encoding }: NativeForm): boolean {
  const { row } = encoding;
  return row.feature !== '' || row.operands.some((code) => /^[VWUPQN]/.test(code));
}

function usesFloats(form: NativeForm): boolean {
  return usesVectors(form) || usesX87(form);
}

const integers = (random: RandomSource): bigint => random.integer();
const doubles = (random: RandomSource): bigint => random.double();
const singles = (random: RandomSource): bigint =>
  (BigInt(random.single()) << 32n) | BigInt(random.single());

function fillVectors(
  random: RandomSource,
  { fx }: UserState,
  bits: Bits,
  element: (random: RandomSource) => bigint,
): void {
  for (let i = 0; i < (bits === 64 ? 256 : 128); i += 8) {
    fx.setBigUint64(FX_XMM + i, element(random), true);
  }
  // Rounding, flush to zero, denormals are zero, sticky flags; rarely an exception is not masked.
  const masks = random.once(8) ? random.u32() & MXCSR_MASKS : MXCSR_MASKS;
  const modes = random.once(2) ? random.u32() & 0xe040 : 0;
  fx.setUint32(FX_IMAGE.mxcsr, masks | modes | (random.u32() & MXCSR_FLAGS), true);
}

function fillX87(random: RandomSource, { fx, fxBytes }: UserState): void {
  const masks = random.once(8) ? random.below(64) : FCW_MASKS;
  const modes = random.once(2) ? 0x300 : (random.below(4) << 10) | (random.pick([0, 2, 3]) << 8);
  fx.setUint16(FX_IMAGE.fcw, FCW_FIXED | masks | modes, true);
  const flags = random.once(4) ? random.below(64) : 0;
  const summary = (flags & ~masks) === 0 ? 0 : FSW_SUMMARY;
  // Without a pending exception the host's kernel may lose them at any interrupt: AMD's XSAVE
  // stores zeros then.
  if (summary !== 0) fillPointers(random, fx);
  const top = random.below(8) << 11;
  fx.setUint16(FX_IMAGE.fsw, (random.u32() & FSW_CODES) | top | flags | summary, true);
  fxBytes[FX_IMAGE.tags] = random.once(3) ? random.below(256) : 0xff;
  for (let i = 0; i < 8; i++) fxBytes.set(extended(random), FX_ST + i * 16);
}

/** Opcode and addresses of the last x87 instruction, canonical. */
function fillPointers(random: RandomSource, fx: DataView): void {
  fx.setUint16(FX_IMAGE.fop, random.below(0x800), true);
  for (const at of [FX_IMAGE.fip, FX_IMAGE.fdp]) fx.setBigUint64(at, random.u64() >> 17n, true);
}

/** A register: 64 bits of significand, sign and exponent. */
export function extended(random: RandomSource): number[] {
  const sign = random.below(2) << 15;
  const [significand, exponent] = extendedParts(random);
  return [...littleEndian(significand, 8), ...littleEndian(exponent | sign, 2)];
}

function extendedParts(random: RandomSource): [bigint, number] {
  const top = 1n << 63n;
  switch (random.below(8)) {
    case 0:
      return random.pick([
        [0n, 0], [top, 0x7fff], [top | (1n << 62n), 0x7fff], [top | 1n, 0x7fff], [1n, 0],
        [top, 0], [top, 1], [top - 1n, 0], [top, 0x3fff], [(top << 1n) - 1n, 0x7ffe],
      ]); // biome-ignore format: table
    case 1:
      return [random.u64(), random.below(0x8000)];
    case 2:
      // Small integers and halves.
      return [top | (BigInt(random.below(16)) << 59n), 0x3ffe + random.below(6)];
    case 3:
      return [top | random.u64(), 0x3fff + random.below(66)];
    case 4:
      // A significand of double precision.
      return [(top | random.u64()) & ~0x7ffn, 0x3ff0 + random.below(32)];
    default:
      return [top | random.u64(), 0x3ff8 + random.below(16)];
  }
}
