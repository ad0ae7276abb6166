/**
 * Random cases of a form: an instruction with operands, and the state that it begins in.
 *
 * Registers are random but where the instruction needs one for an address; memory operands lie in
 * the window of data, across its page border, or (rarely) beyond its end, where they fault.
 */
import { chooseAddress } from './addressing.js';
import { hasModrm } from './encodings.js';
import type { NativeForm } from './forms.js';
import { hostIsAmd } from './host.js';
import {
  assemble,
  type Instruction,
  littleEndian,
  newInstruction,
  REX,
  setRex,
  type Vex,
} from './instruction.js';
import type { OracleSegment } from './oracle.js';
import { prepare } from './preparation.js';
import { type Needs, nonCanonical } from './preparation-parts.js';
import type { RandomSource } from './random.js';
import { randomSegments, WHOLE } from './random-segments.js';
import { isX87, randomState } from './random-state.js';
import { undefinedFlags } from './undefined-flags.js';
import {
  type Bits,
  DATA_AT,
  DATA_PAGES,
  dataStart,
  FX_IMAGE,
  type UserState,
} from './user-state.js';

export interface NativeCase {
  readonly form: NativeForm;
  readonly bits: Bits;
  readonly code: Uint8Array;
  readonly state: UserState;
  /** Of 16-bit code: code, stack, data. */
  readonly segments: readonly OracleSegment[];
  /** Status flags that are not compared. */
  readonly undefinedFlags: number;
  /** Offset in the window of four bytes that are not compared. */
  readonly ignored?: number;
}

/** AMD APM vol. 3, 1.2.5: instructions that LOCK is allowed with, on memory. */
const LOCKABLE =
  /^(ADD|OR|ADC|SBB|AND|SUB|XOR|NOT|NEG|INC|DEC|XCHG|XADD|CMPXCHG|CMPXCHG(8|16)B|BT[SRC])$/;
const LOCK = 0xf0;
/** ES, CS, SS and DS: without effect in 64-bit mode. */
const NULL_OVERRIDES = [0x26, 0x2e, 0x36, 0x3e];
/** In other modes CS is not writable and SS is DS. */
const OVERRIDES = [0x26, 0x36, 0x3e];

export function randomCase(form: NativeForm, random: RandomSource): NativeCase {
  const { encoding, bits, size } = form;
  const { row } = encoding;
  const segments = randomSegments(random, bits);
  const whole = segments.every(({ limit }) => limit === WHOLE.limit);
  const state = randomState(random, form, whole);
  const instruction = newInstruction(encoding.opcode);
  const addressSize = addressPrefix(form, random, instruction);
  const needs = prepare({ form, random, state, addressSize });
  operandSizePrefixes(form, random, instruction);
  registersAndMemory(form, random, instruction, state, needs, addressSize);
  for (const code of row.operands) {
    instruction.tail.push(...tailOf(code, form, random, needs, addressSize));
  }
  otherPrefixes(form, random, instruction);
  needs.after?.(instruction);
  const count = shiftCount(row.operands, instruction, state);
  return {
    form,
    bits,
    code: assemble(instruction),
    state,
    segments,
    undefinedFlags: undefinedFlags(row.mnemonic, size, count),
    ...(needs.ignored === undefined ? {} : { ignored: needs.ignored }),
  };
}

function usesAddress({ encoding, memory }: NativeForm): boolean {
  const { row } = encoding;
  return memory || row.flags.has('addr') || row.operands.some((code) => code[0] === 'O');
}

/** Adds 67 now and then; the address size. Where addresses do not fit 16 bits it stays away. */
function addressPrefix(form: NativeForm, random: RandomSource, to: Instruction): 16 | 32 | 64 {
  const { bits } = form;
  if (!usesAddress(form) || bits === 32 || !random.once(6)) return bits;
  to.prefixes.push(0x67);
  return 32;
}

function operandSizePrefixes(form: NativeForm, random: RandomSource, to: Instruction): void {
  const { encoding, bits, size } = form;
  const { row, prefix, selected, wide } = encoding;
  const { flags } = row;
  if (wide === true) setRex(to, REX.w);
  const free = !selected;
  if (encoding.vex !== 0) to.vex = { map: encoding.vex, prefix, register: 0, length: 0 };
  else if (prefix !== 0) to.prefixes.push(prefix);
  const fixed = flags.has('byte') || flags.has('any') || flags.has('w32');
  if (fixed) {
    if (flags.has('byte') && free && random.once(8)) to.prefixes.push(0x66);
    if (flags.has('w32') && size === 64) setRex(to, REX.w);
    return;
  }
  if (size === 64) {
    if (!flags.has('d64') || random.once(4)) setRex(to, REX.w);
    return;
  }
  const natural = bits === 16 ? 16 : 32;
  if (size !== natural && prefix !== 0x66) to.prefixes.push(0x66);
}

/** ModRM and the registers of REX. */
function registersAndMemory(
  form: NativeForm,
  random: RandomSource,
  to: Instruction,
  state: UserState,
  needs: Needs,
  addressSize: 16 | 32 | 64,
): void {
  const { encoding, bits, memory, size } = form;
  const { row } = encoding;
  const long = bits === 64;
  const bytes = row.operands.some((code) => code[1] === 'b' && /^[EGZ]/.test(code));
  if (long && random.once(bytes ? 2 : 8)) setRex(to, 0);
  const high = (bit: number): number => {
    if (!long || !random.once(2)) return 0;
    setRex(to, bit);
    return 8;
  };
  if (row.operands.some((code) => code[0] === 'Z')) high(REX.b);
  if (row.operands.some((code) => code[0] === 'B') && to.vex !== null) {
    to.vex.register = random.below(long ? 16 : 8);
  }
  if (!hasModrm(encoding)) return;
  const extends3 = row.operands.some((code) => /^[GVCD]/.test(code));
  const reg = encoding.reg >= 0 ? encoding.reg : random.below(8);
  const wide = extends3 ? reg + high(REX.r) : reg;
  if (memory) {
    const busy = new Set(needs.busy);
    if (needs.register !== undefined) {
      busy.add(wide);
      needs.register(wide);
    }
    const stack = needs.stack === true;
    const far = bits === 64 && addressSize === 64 && random.once(32) && mayFault(form, state);
    const near = needs.target ?? memoryTarget(form, random, mayFault(form, state));
    const target = far && needs.stack !== true ? nonCanonical(random) : near;
    const options = { bits, size: addressSize, target, busy, reg, stack };
    chooseAddress(random, to, state, options);
    return;
  }
  const rm = encoding.rm >= 0 ? encoding.rm : random.below(8);
  to.modrm = [0xc0 | (reg << 3) | rm];
  const wideRm = row.operands.some((code) => /^[ERWU]/.test(code)) ? rm + high(REX.b) : rm;
  needs.source?.(wideRm, size === 8 && to.rex === 0);
}

/** Bytes that a memory operand of the form has. */
export function operandBytes({ encoding, size }: NativeForm): number {
  const code = encoding.row.operands.find((each) => /^[EMWQO]/.test(each)) ?? 'Ev';
  const fixed: Readonly<Record<string, number>> = { b: 1, w: 2, d: 4, q: 8, t: 10, o: 16 };
  return code === 'EvMw' ? 2 : (fixed[code[1]] ?? Math.max(size, 8) / 8);
}

/** See `isa/vendor-differences.ts`, MOVSXD and stores of x87. */
function mayFault(form: NativeForm, { fx }: UserState): boolean {
  if (hostIsAmd) return true;
  if (form.encoding.row.mnemonic === 'MOVSXD') return false;
  return !isX87(form) || (fx.getUint16(FX_IMAGE.fcw, true) & 0x3f) === 0x3f;
}

function memoryTarget(form: NativeForm, random: RandomSource, faults = true): number {
  const bytes = operandBytes(form);
  const start = dataStart(form.bits);
  if (faults && random.once(24)) {
    const end = start - DATA_AT + DATA_PAGES;
    return end - bytes + 1 + random.below(bytes);
  }
  const mayMiss = hostIsAmd || !form.encoding.row.mnemonic.startsWith('SHA');
  const aligned = bytes === 16 && !(mayMiss && random.once(8));
  if (aligned) return start + 16 * random.below(14);
  // Half of them lie across the page border.
  if (random.once(3)) return start + 128 - bytes + random.below(bytes + 1);
  return start + random.below(240 - bytes);
}

/** Immediates, relative targets and offsets. */
function tailOf(
  code: string,
  form: NativeForm,
  random: RandomSource,
  needs: Needs,
  addressSize: number,
): number[] {
  const { size } = form;
  const any = (bytes: number): number[] => littleEndian(random.integer(), bytes);
  switch (code) {
    case 'Ib':
    case 'Is':
      return needs.immediate === undefined ? any(1) : [needs.immediate];
    case 'Iw':
      return littleEndian(random.below(64), 2);
    case 'Ie':
      return [...littleEndian(random.below(128), 2), random.below(random.once(2) ? 4 : 32)];
    case 'Iz':
      return any(Math.min(size, 32) / 8);
    case 'Iv':
      return any(size / 8);
    case 'Jb':
      return [outside(random.below(256))];
    case 'Jz':
      return littleEndian(outside(random.below(0xe00) - 0x700), size === 16 ? 2 : 4);
    case 'Ap': {
      const { offset, selector } = needs.pointer ?? { offset: 0n, selector: 0 };
      return [...littleEndian(offset, size / 8), ...littleEndian(selector, 2)];
    }
    default:
      return code[0] === 'O' ? littleEndian(memoryTarget(form, random), addressSize / 8) : [];
  }
}

/** A displacement that does not lead back into the instruction, where it could run for ever. */
function outside(displacement: number): number {
  const signed = displacement > 127 && displacement < 256 ? displacement - 256 : displacement;
  return signed < 0 && signed > -16 ? displacement - 16 : displacement;
}

function otherPrefixes(form: NativeForm, random: RandomSource, to: Instruction): void {
  const { encoding, bits, memory } = form;
  const { row, selected } = encoding;
  if (to.vex !== null && random.once(16)) spoil(to.vex, random, to, bits);
  if (row.flags.has('rep') && random.once(2)) to.prefixes.push(random.pick([0xf3, 0xf2]));
  if (random.once(12)) to.prefixes.unshift(random.pick(bits === 64 ? NULL_OVERRIDES : OVERRIDES));
  const lockable = LOCKABLE.test(row.mnemonic) && memory && row.operands[0][0] !== 'G';
  // Elsewhere LOCK is an undefined opcode.
  const lockMeansCr8 = !hostIsAmd && /^MOV(TO|FROM)CR$/.test(row.mnemonic);
  // Processors whose microcode makes VERW clear buffers take a LOCK in front of it.
  const unlocked = lockMeansCr8 || row.mnemonic === 'VERW';
  if (!selected && !unlocked && random.once(lockable ? 4 : 48)) to.prefixes.unshift(LOCK);
}

/** What makes a VEX instruction undefined, or is ignored outside 64-bit mode. */
function spoil(vex: Vex, random: RandomSource, to: Instruction, bits: Bits): void {
  const kind = random.below(4);
  if (kind === 0) vex.length = 1;
  else if (kind === 1) to.prefixes.push(random.pick([0x66, LOCK, 0xf2, 0xf3]));
  else if (kind === 2 && bits !== 64) setRex(to, REX.w);
  else if (bits === 64) vex.register = random.below(16);
}

function shiftCount(operands: readonly string[], { tail }: Instruction, state: UserState): number {
  if (operands.includes('1')) return 1;
  if (operands.includes('CL')) return Number(state.gpr(1) & 0xffn);
  return operands.at(-1) === 'Ib' ? tail[tail.length - 1] : 0;
}
