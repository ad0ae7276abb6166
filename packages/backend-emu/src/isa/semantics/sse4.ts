/**
 * SSE4.1 and SSE4.2: blends, insertions and extractions, widening, sums of differences, string
 * comparison, CRC32. AMD APM vol. 4, chapter 2; CRC32 vol. 3, chapter 3.
 */
import * as L from '../../cpu/layout.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from '../../fpu/vector-operation.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import { Lanes, slowLanes } from '../float-emitter.js';
import { byteIndices, checkSse, part, setVector, vector, vop } from '../vector-emitter.js';
import { unary } from './sse-integer.js';

// Widening -----------------------------------------------------------------------------------

const WIDENINGS: readonly [suffix: string, steps: readonly string[]][] = [
  ['BW', ['i16x8.extend_low_i8x16']],
  ['BD', ['i16x8.extend_low_i8x16', 'i32x4.extend_low_i16x8']],
  ['BQ', ['i16x8.extend_low_i8x16', 'i32x4.extend_low_i16x8', 'i64x2.extend_low_i32x4']],
  ['WD', ['i32x4.extend_low_i16x8']],
  ['WQ', ['i32x4.extend_low_i16x8', 'i64x2.extend_low_i32x4']],
  ['DQ', ['i64x2.extend_low_i32x4']],
];
for (const [suffix, steps] of WIDENINGS) {
  for (const [letter, sign] of [
    ['S', '_s'],
    ['Z', '_u'],
  ]) {
    unary(`PMOV${letter}X${suffix}`, (x, a) =>
      steps.reduce((value, step) => vop(x, step + sign, value), a),
    );
  }
}

// Blends -------------------------------------------------------------------------------------

function blend(x: Emitter, mask: Value): void {
  const b = vector(x, 1);
  setVector(x, 0, vop(x, 'v128.bitselect', b, vector(x, 0), mask));
}

/** The sign of each lane of XMM0 chooses. */
for (const [name, shift, bits] of [
  ['PBLENDVB', 'i8x16.shr_s', 7],
  ['BLENDVPS', 'i32x4.shr_s', 31],
  ['BLENDVPD', 'i64x2.shr_s', 63],
] as const) {
  define(name, {}, (x) => {
    checkSse(x);
    blend(x, vop(x, shift, x.stateAs('v128.load', L.XMM), x.i32(bits)));
  });
}

/** A bit of the immediate for each lane chooses. */
for (const [name, shape, bits] of [
  ['BLENDPS', 'i32x4', [0x0000000200000001n, 0x0000000800000004n]],
  ['BLENDPD', 'i64x2', [1n, 2n]],
  ['PBLENDW', 'i16x8', [0x0008000400020001n, 0x0080004000200010n]],
] as const) {
  define(name, {}, (x) => {
    checkSse(x);
    const immediate = x.immediate(2, false);
    const spread = vop(x, `${shape}.splat`, shape === 'i64x2' ? immediate : x.wrap(immediate));
    const lanes = x.code.v128(bits[0], bits[1]);
    const chosen = vop(x, 'v128.and', spread, lanes);
    blend(x, vop(x, `${shape}.eq`, chosen, lanes));
  });
}

define('PTEST', { access: 'r' }, (x) => {
  checkSse(x);
  const b = vector(x, 1);
  const a = vector(x, 0);
  const none = (value: Value): Value => x.eqz(vop(x, 'v128.any_true', value));
  const zero = none(vop(x, 'v128.and', a, b));
  const carry = none(vop(x, 'v128.andnot', b, a));
  // PF is clear: a result of zero needs it turned round.
  const parity = x.shl(x.widen(zero), x.i64(8));
  const carries = x.select(carry, x.i64(-(1n << 62n)), x.i64(0));
  x.setFlagWords(x.widen(x.eqz(zero)), carries, parity);
});

// Insertions and extractions -----------------------------------------------------------------

/** Offset in bytes of the element that the immediate names. */
function elementOffset(x: Emitter, bytes: number): Value {
  const index = x.and(x.wrap(x.immediate(2)), x.i32(16 / bytes - 1));
  return x.shl(index, x.i32(Math.log2(bytes)));
}

for (const [name, sizeOf] of [
  ['PEXTRB', () => 8],
  ['PEXTRD', (x: Emitter) => x.sizeOf(0)],
  ['EXTRACTPS', () => 32],
] as const) {
  define(name, { access: 'w' }, (x) => {
    checkSse(x);
    const size = sizeOf(x);
    const at = x.add(x.registerAddress(1), elementOffset(x, size >> 3));
    x.setOperand(0, x.code.load(size === 64 ? 'i64.load' : `i64.load${size}_u`, at));
  });
}

for (const name of ['PINSRB', 'PINSRD']) {
  define(name, {}, (x) => {
    checkSse(x);
    const size = name === 'PINSRB' ? 8 : x.sizeOf(1);
    const value = x.operandU(1);
    const at = x.add(x.registerAddress(0), elementOffset(x, size >> 3));
    x.code.store(size === 64 ? 'i64.store' : `i64.store${size}`, at, value);
  });
}

/** Bits 7:6 choose the source's element (of a register), 5:4 the place, 3:0 what is cleared. */
define('INSERTPS', {}, (x) => {
  checkSse(x);
  const immediate = x.wrap(x.immediate(2, false));
  const field = (bit: number): Value => {
    const index = x.and(x.shrU(immediate, x.i32(bit)), x.i32(3));
    return x.shl(index, x.i32(2));
  };
  const value =
    x.kindOf(1) === 'm'
      ? part(x, 1, 'i32.load')
      : x.code.load('i32.load', x.add(x.registerAddress(1), field(6)));
  x.code.store('i32.store', x.add(x.registerAddress(0), field(4)), value);
  const lanes = x.code.v128(0x0000000200000001n, 0x0000000800000004n);
  const cleared = vop(x, 'v128.and', vop(x, 'i32x4.splat', immediate), lanes);
  const mask = vop(x, 'i32x4.eq', cleared, lanes);
  setVector(x, 0, vop(x, 'v128.andnot', vector(x, 0), mask));
});

// Arithmetic ---------------------------------------------------------------------------------

/** The least word and its index: both in one number, so that the first of equals wins. */
unary('PHMINPOSUW', (x, a) => {
  let least: Value | null = null;
  for (let lane = 0; lane < 8; lane++) {
    const word = x.code.lane('i16x8.extract_lane_u', lane, a);
    const key = x.or(x.shl(word, x.i32(3)), x.i32(lane));
    least = least === null ? key : x.select(x.ltU(key, least), key, least);
  }
  const key = least as Value;
  const packed = x.or(x.shrU(key, x.i32(3)), x.shl(x.and(key, x.i32(7)), x.i32(16)));
  return x.code.lane('i32x4.replace_lane', 0, x.code.v128(0n, 0n), packed);
});

/** Eight sums of four absolute differences: a sliding window against one quadruple. */
define('MPSADBW', {}, (x) => {
  checkSse(x);
  const immediate = x.wrap(x.immediate(2, false));
  const b = vector(x, 1);
  const a = vector(x, 0);
  const from = x.and(immediate, x.i32(4));
  const quad = x.shl(x.and(immediate, x.i32(3)), x.i32(2));
  let sum = x.code.v128(0n, 0n);
  for (let k = 0; k < 4; k++) {
    const window = vop(x, 'i8x16.swizzle', a, byteIndices(x, x.add(from, x.i32(k))));
    const byte = vop(x, 'i8x16.splat', x.add(quad, x.i32(k)));
    const other = vop(x, 'i8x16.swizzle', b, byte);
    const difference = vop(
      x,
      'i16x8.sub',
      vop(x, 'i16x8.extend_low_i8x16_u', window),
      vop(x, 'i16x8.extend_low_i8x16_u', other),
    );
    sum = vop(x, 'i16x8.add', sum, vop(x, 'i16x8.abs', difference));
  }
  setVector(x, 0, sum);
});

for (const [name, double] of [
  ['DPPS', false],
  ['DPPD', true],
] as const) {
  define(name, {}, (x) => {
    checkSse(x);
    const lanes = new Lanes(x, double, true);
    const b = lanes.operand(1);
    const immediate = x.wrap(x.immediate(2, false));
    setVector(x, 0, slowLanes(lanes, 'DP', lanes.operandAt(0), b, immediate));
  });
}

// SSE4.2 -------------------------------------------------------------------------------------

/** Operand sizes of the explicit lengths: RAX and RDX with REX.W, EAX and EDX without. */
for (const name of ['PCMPESTRM', 'PCMPESTRI', 'PCMPISTRM', 'PCMPISTRI']) {
  const explicit = name[4] === 'E';
  const mask = name.endsWith('M');
  define(name, { access: 'r' }, (x) => {
    checkSse(x);
    x.code.store('v128.store', x.cpu, vector(x, 1, false), SLOW_SOURCE);
    x.code.store('v128.store', x.cpu, vector(x, 0), SLOW_DESTINATION);
    const immediate = x.immediate(2, false);
    const length = (register: number): Value => x.gpr(register, x.size);
    const none = x.i64(-1);
    x.system(mask ? 'fpuStringMask' : 'fpuStringIndex', [
      immediate,
      explicit ? length(0) : none,
      explicit ? length(2) : none,
      x.i32(explicit ? 1 : 0),
    ]);
    if (mask) x.code.store('v128.store', x.cpu, x.stateAs('v128.load', SLOW_RESULT), L.XMM);
    else x.setGpr(1, x.systemResult(0), 32);
    x.setStatus(x.wrap(x.systemResult(1)), 0x8d5);
  });
}

define('CRC32', { access: 'rw' }, (x) => {
  const source = x.operandU(1);
  x.system('crc32', [x.and(x.operandU(0), x.i64(0xffffffffn)), source, x.i64(x.sizeOf(1) >> 3)]);
  x.setOperand(0, x.systemResult());
});

define('MOVBE', { access: 'w' }, (x) => {
  const value = x.operandU(1);
  const byte = (from: number): Value => x.and(x.shrU(value, x.i64(from)), x.i64(0xff));
  let result = byte(0);
  for (let from = 8; from < x.size; from += 8) {
    result = x.or(x.shl(result, x.i64(8)), byte(from));
  }
  x.setOperand(0, result);
});
