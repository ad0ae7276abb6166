/**
 * The description language for vectors: XMM and MMX operands, their preconditions and alignment.
 *
 * A form is an MMX form if none of its register operands is 128 bits wide: rows of SSE instructions
 * always give an XMM destination as 128 bits. A narrower vector operand comes as a v128 with zeros
 * above, so that most descriptions serve both.
 *
 * Sources: AMD APM vol. 1, sections 4.12 (SSE exceptions) and 5.16 (MMX exceptions); vol. 2, table
 * 8-1; the state change of MMX instructions: vol. 1, section 5.17.
 */
import * as L from '../cpu/layout.js';
import { TRAP } from '../fpu/traps.js';
import type { Emitter, Value } from './emitter.js';

const UD = 6;
const NM = 7;
const GP = 13;
const MF = 16;

/** Whether the form works on MMX registers. */
export function isMmx(x: Emitter): boolean {
  const registers = x.form.operands.filter(({ kind }) => kind === 'x');
  return registers.length > 0 && registers.every(({ size }) => size !== 128);
}

/** Raises what an SSE instruction raises whatever its operands. */
export function checkSse(x: Emitter): void {
  const traps = x.and(x.state32(L.FPU_TRAPS), x.i32(TRAP.sseUndefined | TRAP.sseUnavailable));
  x.if(traps, () => {
    x.if(x.and(traps, x.i32(TRAP.sseUndefined)), () => x.raise(UD));
    x.raise(NM);
  });
}

/** The same for MMX; also makes all x87 registers valid and TOP 0. */
export function checkMmx(x: Emitter): void {
  const mask = TRAP.mmxUndefined | TRAP.x87Unavailable | TRAP.x87Pending;
  const traps = x.and(x.state32(L.FPU_TRAPS), x.i32(mask));
  x.if(traps, () => {
    x.if(x.and(traps, x.i32(TRAP.mmxUndefined)), () => x.raise(UD));
    x.if(x.and(traps, x.i32(TRAP.x87Unavailable)), () => x.raise(NM));
    x.raise(MF);
  });
}

/** Ends an MMX instruction other than EMMS: TOP becomes 0, all tags valid. */
export function enterMmx(x: Emitter): void {
  const status = x.code.load('i32.load16_u', x.cpu, L.FSW);
  x.code.store('i32.store16', x.cpu, x.and(status, x.i32(0xc7ff)), L.FSW);
  x.code.store('i32.store16', x.cpu, x.i32(0), L.FTW);
}

export function checkVector(x: Emitter): void {
  if (isMmx(x)) checkMmx(x);
  else checkSse(x);
}

/** The linear address of memory operand `index`, which must be a multiple of 16. */
export function alignedAddress(x: Emitter, index: number): Value {
  const address = x.address(index);
  x.if(x.and(x.wrap(address), x.i32(15)), () => x.raise(GP, 0));
  return address;
}

/** Host address from which vector operand `index` can be read. */
export function vectorHost(x: Emitter, index: number, aligned = true): Value {
  if (x.kindOf(index) !== 'm') return x.registerAddress(index);
  const size = x.sizeOf(index);
  const address = size === 128 && aligned ? alignedAddress(x, index) : x.address(index);
  return x.readable(address, size >> 3);
}

/** Vector operand `index` as a v128, zero-extended. */
export function vector(x: Emitter, index: number, aligned = true): Value {
  const host = vectorHost(x, index, aligned);
  switch (x.sizeOf(index)) {
    case 128:
      return x.code.load('v128.load', host);
    case 64:
      return x.code.load('v128.load64_zero', host);
    case 32:
      return x.code.load('v128.load32_zero', host);
    default: {
      const name = x.sizeOf(index) === 16 ? 'i32.load16_u' : 'i32.load8_u';
      return x.code.lane('i32x4.replace_lane', 0, zero(x), x.code.load(name, host));
    }
  }
}

/** Part of vector operand `index`, by any load instruction. */
export function part(x: Emitter, index: number, name: string, offset = 0): Value {
  return x.code.load(name, vectorHost(x, index), offset);
}

/** Writes vector operand `index` in its full size. */
export function setVector(x: Emitter, index: number, value: Value, aligned = true): void {
  const size = x.sizeOf(index);
  if (x.kindOf(index) === 'm') {
    if (size === 128) {
      const address = aligned ? alignedAddress(x, index) : x.address(index);
      x.storeAs('v128.store', address, value, 16);
      return;
    }
    const name = size === 64 ? 'i64x2.extract_lane' : 'i32x4.extract_lane';
    const low = x.code.lane(name, 0, value);
    x.storeAs(size === 64 ? 'i64.store' : 'i32.store', x.address(index), low, size >> 3);
    return;
  }
  if (isMmx(x)) setMmx(x, index, x.code.lane('i64x2.extract_lane', 0, value));
  else x.code.store('v128.store', x.registerAddress(index), value);
}

/** Writes an MMX register: the exponent of the x87 register becomes all ones. */
export function setMmx(x: Emitter, index: number, value: Value): void {
  const register = x.registerAddress(index);
  x.code.store('i64.store', register, value);
  x.code.store('i32.store16', register, x.i32(0xffff), 8);
}

/** Writes part of XMM register `index`, by any store instruction; the rest stays. */
export function setPart(x: Emitter, index: number, name: string, value: Value, offset = 0): void {
  x.code.store(name, x.registerAddress(index), value, offset);
}

export function zero(x: Emitter): Value {
  return x.code.v128(0n, 0n);
}

/** A v128 of equal lanes; `value` is cut to the lane. */
export function splat(x: Emitter, laneBits: number, value: bigint): Value {
  let word = BigInt.asUintN(laneBits, value);
  for (let bits = laneBits; bits < 64; bits *= 2) word |= word << BigInt(bits);
  return x.code.v128(word, word);
}

/** A vector whose bytes are 0, 1, 2 … 15, plus `count` (i32). */
export function byteIndices(x: Emitter, count: Value): Value {
  const indices = x.code.v128(0x0706050403020100n, 0x0f0e0d0c0b0a0908n);
  return x.code.op('i8x16.add', indices, x.code.op('i8x16.splat', count));
}

/** The low halves of two vectors as one: what an MMX pair of operands is. */
export function lowHalves(x: Emitter, a: Value, b: Value): Value {
  return x.code.shuffle(a, b, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
}

/** Operations on v128 by name, short for descriptions. */
export function vop(x: Emitter, name: string, a: Value, b?: Value, c?: Value): Value {
  return x.code.op(name, a, b, c);
}
