/**
 * Movement of vectors and their parts. AMD APM vol. 4, chapter 2 (legacy forms); vol. 5 for MMX.
 *
 * MOVNT forms store like any other: nothing here is cached. Known inaccuracy: while alignment is
 * checked, MASKMOVDQU and MASKMOVQ are checked as a whole, where processors go byte by byte.
 */
import * as L from '../../cpu/layout.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import * as R from '../op-record.js';
import {
  checkMmx,
  checkSse,
  checkVector,
  enterMmx,
  isMmx,
  part,
  setMmx,
  setPart,
  setVector,
  vector,
  zero,
} from '../vector-emitter.js';

const MOVE = { access: 'w', hot: true } as const;
const WRITE = { access: 'w' } as const;

/** An i64 as the low half of a vector. */
export function fromQuad(x: Emitter, value: Value): Value {
  return x.code.lane('i64x2.replace_lane', 0, zero(x), value);
}

for (const [name, aligned] of [
  ['MOVAPS', true],
  ['MOVUPS', false],
] as const) {
  define(name, MOVE, (x) => {
    checkSse(x);
    setVector(x, 0, vector(x, 1, aligned), aligned);
  });
}
define('LDDQU', WRITE, (x) => {
  checkSse(x);
  setVector(x, 0, vector(x, 1, false));
});
for (const name of ['MOVNTPS', 'MOVNTDQA']) {
  define(name, WRITE, (x) => {
    checkSse(x);
    setVector(x, 0, vector(x, 1));
  });
}
define('MOVNTI', WRITE, (x) => {
  checkSse(x);
  x.setOperand(0, x.operand(1));
});

/** Scalar moves: between registers the rest stays, a load clears it. */
for (const [name, load, store] of [
  ['MOVSS', 'i32.load', 'i32.store'],
  ['MOVSD', 'i64.load', 'i64.store'],
] as const) {
  define(name, MOVE, (x) => {
    checkSse(x);
    if (x.kindOf(0) === 'm') {
      x.storeAs(store, x.address(0), part(x, 1, load), x.sizeOf(0) >> 3);
    } else if (x.kindOf(1) === 'm') {
      setVector(x, 0, vector(x, 1));
    } else {
      setPart(x, 0, store, part(x, 1, load));
    }
  });
}

/** MOVQ xmm and MOVQ mm. */
define('MOVQ', MOVE, (x) => {
  checkVector(x);
  const value = part(x, 1, 'i64.load');
  if (x.kindOf(0) === 'm') x.store(x.address(0), value, 64);
  else setVector(x, 0, fromQuad(x, value));
  if (isMmx(x)) enterMmx(x);
});
define('MOVNTQ', WRITE, (x) => {
  checkMmx(x);
  x.store(x.address(0), part(x, 1, 'i64.load'), 64);
  enterMmx(x);
});

/** MOVD and MOVQ between vector and general registers or memory. */
define('MOVD', MOVE, (x) => {
  checkVector(x);
  if (x.kindOf(0) === 'x') setVector(x, 0, fromQuad(x, x.operandU(1)));
  else x.setOperand(0, part(x, 1, x.sizeOf(0) === 64 ? 'i64.load' : 'i64.load32_u'));
  if (isMmx(x)) enterMmx(x);
});

/** Between MMX and XMM registers: both sets of conditions hold. */
define('MOVQ2DQ', WRITE, (x) => {
  checkSse(x);
  checkMmx(x);
  setVector(x, 0, fromQuad(x, part(x, 1, 'i64.load')));
  enterMmx(x);
});
define('MOVDQ2Q', WRITE, (x) => {
  checkSse(x);
  checkMmx(x);
  setMmx(x, 0, part(x, 1, 'i64.load'));
  enterMmx(x);
});

/** Halves: source offset, destination offset. */
for (const [name, from, to] of [
  ['MOVLPS', 0, 0],
  ['MOVHPS', 0, 8],
  ['MOVHLPS', 8, 0],
  ['MOVLHPS', 0, 8],
] as const) {
  define(name, WRITE, (x) => {
    checkSse(x);
    if (x.kindOf(0) === 'm') x.store(x.address(0), part(x, 1, 'i64.load', to), 64);
    else setPart(x, 0, 'i64.store', part(x, 1, 'i64.load', from), to);
  });
}

for (const [name, lanes] of [
  ['MOVSLDUP', [0, 0, 2, 2]],
  ['MOVSHDUP', [1, 1, 3, 3]],
  ['MOVDDUP', [0, 1, 0, 1]],
] as const) {
  define(name, WRITE, (x) => {
    checkSse(x);
    const source = vector(x, 1);
    const bytes = lanes.flatMap((lane) => [0, 1, 2, 3].map((byte) => lane * 4 + byte));
    setVector(x, 0, x.code.shuffle(source, source, bytes));
  });
}

for (const [name, operation] of [
  ['MOVMSKPS', 'i32x4.bitmask'],
  ['MOVMSKPD', 'i64x2.bitmask'],
] as const) {
  define(name, WRITE, (x) => {
    checkSse(x);
    x.setOperand(0, x.widen(x.code.op(operation, vector(x, 1))));
  });
}
define('PMOVMSKB', MOVE, (x) => {
  checkVector(x);
  const mask = x.code.op('i8x16.bitmask', vector(x, 1));
  x.setOperand(0, x.widen(isMmx(x) ? x.and(mask, x.i32(0xff)) : mask));
  if (isMmx(x)) enterMmx(x);
});

/**
 * MASKMOVDQU and MASKMOVQ: bytes of operand 0 whose mask byte (operand 1) is negative go to memory
 * at rDI. All bytes are probed for writing; a mask of zero accesses nothing,
 * though the segment is checked.
 */
define('MASKMOV', { access: 'r', modal: true }, (x) => {
  checkVector(x);
  const size = x.form.addressSize;
  const bytes = isMmx(x) ? 8 : 16;
  const data = vector(x, 0);
  const sign = x.code.op('i8x16.shr_s', vector(x, 1), x.i32(7));
  const field = x.code.load('i32.load16_u', x.op, R.OP_SEGMENT);
  const offset = x.gpr(7, size, false);
  const sum = x.add(x.code.load('i64.load', x.add(x.cpu, field), L.SEG_BASE), offset);
  const address = x.legacy ? x.zeroExtend(sum, 32) : sum;
  const mask = bytes === 8 ? fromQuad(x, x.code.lane('i64x2.extract_lane', 0, sign)) : sign;
  x.checkSegment(field, offset, bytes * 8, true);
  x.if(x.code.op('v128.any_true', mask), () => {
    const host = x.update(address, bytes);
    const name = bytes === 8 ? 'v128.load64_zero' : 'v128.load';
    const merged = x.code.op('v128.bitselect', data, x.code.load(name, host), mask);
    if (bytes === 16) x.code.store('v128.store', host, merged);
    else x.code.store('i64.store', host, x.code.lane('i64x2.extract_lane', 0, merged));
    x.commit(host);
  });
  if (isMmx(x)) enterMmx(x);
});
