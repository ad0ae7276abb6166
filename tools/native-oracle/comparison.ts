/**
 * Compares what the host's processor and the emulated one made of a case.
 */

import { settleApproximations } from './approximations.js';
import type { Outcome } from './emulated-user.js';
import { hostIsAmd } from './host.js';
import type { NativeCase } from './native-cases.js';
import type { OracleAnswer } from './oracle.js';
import { STATUS } from './undefined-flags.js';
import { DATA_SIZE, FX_IMAGE, FX_ST, FX_XMM, UserState } from './user-state.js';

/** An exception is pending: with AMD the signal's frame has the pointers then, else zeros. */
const SUMMARY = 0x80;
const BREAKPOINT = 3;
const PAGE_FAULT = 14;
const FETCH = 0x10;
const STACK = 12;
const GENERAL = 13;
/** Vectors with an error code. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
/** DF, NT, AC, ID and the status flags; the rest a user program cannot change. */
const COMPARED_FLAGS = STATUS | 0x400 | 0x4000 | 0x40000 | 0x200000;
const REGISTERS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');

/** The host's answer in the form of the emulated outcome. */
export function nativeOutcome(answer: OracleAnswer): Outcome {
  const vector = answer.vector === BREAKPOINT ? -1 : answer.vector;
  return { ...answer, vector, state: new UserState(answer.state) };
}

/** The fault of fetching what a branch leads to is no part of the case. */
function arrived(outcome: Outcome): Outcome {
  const { vector, error, address, state } = outcome;
  const fetched = vector === PAGE_FAULT && (error & FETCH) !== 0 && address === state.rip;
  return fetched ? { ...outcome, vector: -1 } : outcome;
}

const hex = (value: bigint | number): string => value.toString(16);

function bytesHex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'];

/** The host kernel's return to user mode turns every null selector into 0. */
const selector = (value: number): number => (value < 4 ? 0 : value);

class Differences {
  readonly list: string[] = [];

  add(what: string, native: bigint | number, emulated: bigint | number): void {
    if (native !== emulated) this.list.push(`${what} ${hex(native)} not ${hex(emulated)}`);
  }

  bytes(what: string, native: Uint8Array, emulated: Uint8Array): void {
    if (native.every((byte, i) => byte === emulated[i])) return;
    this.list.push(`${what} ${bytesHex(native)} not ${bytesHex(emulated)}`);
  }
}

/** Two pieces of memory, one of which may lie beyond the limit of the stack. */
const TWO_OPERANDS = new Set(['CMPS', 'MOVS']);

/**
 * Whether an instruction can be refused for two reasons at once, beyond the limit of the stack
 * (#SS) as well as (#GP) by its other operand, as a misaligned vector or as an image whose contents
 * FXRSTOR or XRSTOR do not take: which comes first is no part of the architecture.
 */
function mayFaultTwice({ form }: NativeCase): boolean {
  const { mnemonic, operands } = form.encoding.row;
  if (TWO_OPERANDS.has(mnemonic) || mnemonic.endsWith('RSTOR')) return true;
  return operands.some((code) => /^[VW]/.test(code));
}

/** What differs: "field NATIVE not EMULATED", empty where the two agree. */
export function differences(each: NativeCase, answer: Outcome, result: Outcome): string[] {
  const native = arrived(answer);
  const emulated = arrived(result);
  const found = new Differences();
  const vectors = [native.vector, emulated.vector];
  if (vectors.includes(GENERAL) && vectors.includes(STACK) && mayFaultTwice(each)) return [];
  found.add('vector', native.vector, emulated.vector);
  if (native.vector !== emulated.vector) return found.list;
  if (WITH_ERROR.has(native.vector)) found.add('error code', native.error, emulated.error);
  if (native.vector === PAGE_FAULT) found.add('CR2', native.address, emulated.address);
  const [n, e] = [native.state, emulated.state];
  found.add('rip', n.rip, e.rip);
  SEGMENTS.forEach((name, i) => {
    found.add(name, selector(native.selectors[i]), selector(emulated.selectors[i]));
  });
  const wide = each.bits === 64 ? 64 : 32;
  for (let i = 0; i < (wide === 64 ? 16 : 8); i++) {
    found.add(REGISTERS[i], BigInt.asUintN(wide, n.gpr(i)), BigInt.asUintN(wide, e.gpr(i)));
  }
  const mask = COMPARED_FLAGS & ~each.undefinedFlags;
  found.add('flags', n.rflags & mask, e.rflags & mask);
  const { row } = each.form.encoding;
  settleApproximations(row.mnemonic, n, e);
  // Whether MMX state is entered before a fault is the processor's own affair.
  const mmx = row.operands.some((code) => /^[PQN]/.test(code));
  if (!mmx || native.vector < 0) compareX87(found, n, e);
  compareVectors(found, n, e, wide === 64 ? 16 : 8);
  if (each.ignored !== undefined) {
    const { ignored } = each;
    e.data.set(n.data.subarray(ignored, ignored + 4), ignored);
  }
  for (let i = 0; i < DATA_SIZE; i += 16) {
    found.bytes(`data+${hex(i)}`, n.data.subarray(i, i + 16), e.data.subarray(i, i + 16));
  }
  return found.list;
}

function compareX87(found: Differences, n: UserState, e: UserState): void {
  for (const name of ['fcw', 'fsw'] as const) {
    const at = FX_IMAGE[name];
    found.add(name, n.fx.getUint16(at, true), e.fx.getUint16(at, true));
  }
  found.add('tags', n.fxBytes[FX_IMAGE.tags], e.fxBytes[FX_IMAGE.tags]);
  if (hostIsAmd && (n.fx.getUint16(FX_IMAGE.fsw, true) & SUMMARY) !== 0) {
    found.add('fop', n.fx.getUint16(FX_IMAGE.fop, true), e.fx.getUint16(FX_IMAGE.fop, true));
    for (const name of ['fip', 'fdp'] as const) {
      const at = FX_IMAGE[name];
      found.add(name, n.fx.getBigUint64(at, true), e.fx.getBigUint64(at, true));
    }
  }
  for (let i = 0; i < 8; i++) {
    const from = FX_ST + i * 16;
    found.bytes(`st${i}`, n.fxBytes.subarray(from, from + 10), e.fxBytes.subarray(from, from + 10));
  }
}

function compareVectors(found: Differences, n: UserState, e: UserState, registers: number): void {
  const at = FX_IMAGE.mxcsr;
  found.add('mxcsr', n.fx.getUint32(at, true), e.fx.getUint32(at, true));
  for (let i = 0; i < registers; i++) {
    const from = FX_XMM + i * 16;
    const to = from + 16;
    found.bytes(`xmm${i}`, n.fxBytes.subarray(from, to), e.fxBytes.subarray(from, to));
  }
}
