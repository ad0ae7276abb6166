/**
 * String instructions. AMD APM vol. 3, chapter 3 (CMPSx to STOSx) and 1.2.6 (REP).
 *
 * A repeated form is a block of its own. One iteration counts as one instruction; it stops at the
 * deadline with RIP still on it. Forward copies and fills run as far as a page, the deadline and
 * overlap allow with one bulk operation.
 */
import * as L from '../../cpu/layout.js';
import { MODE_SEGMENTED } from '../../cpu/mode.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import * as R from '../op-record.js';
import { segmentSuspect } from '../segment-suspect.js';

const RSI = 6;
const RDI = 7;
const RCX = 1;
const DF = 1 << 10;
const ES = L.segmentOffset(L.SEG.es);

/** Place in the record of the source's segment: DS, or overridden. */
function sourceSegment(x: Emitter): Value {
  return x.code.load('i32.load16_u', x.op, R.OP_SEGMENT);
}

/** Linear address of the source, checked for one element. */
function sourceAddress(x: Emitter): Value {
  const field = sourceSegment(x);
  const offset = x.gpr(RSI, x.form.addressSize, false);
  x.checkSegment(field, offset, x.size, false);
  return linear(x, x.code.load('i64.load', x.add(x.cpu, field)), offset);
}

/** Linear address of the destination, checked for one element: always ES. */
function targetAddress(x: Emitter, write: boolean): Value {
  const offset = x.gpr(RDI, x.form.addressSize, false);
  x.checkSegment(x.i32(ES), offset, x.size, write);
  return x.legacy ? linear(x, x.state64(L.segmentOffset(L.SEG.es)), offset) : offset;
}

function linear(x: Emitter, base: Value, offset: Value): Value {
  const sum = x.add(base, offset);
  return x.legacy ? x.zeroExtend(sum, 32) : sum;
}

/** Moves an index register by `count` elements in the direction of DF. */
function advance(x: Emitter, register: number, count: Value): void {
  const bytes = x.mul(count, x.i64(x.size >> 3));
  const down = x.and(x.state32(L.EFLAGS), x.i32(DF));
  const step = x.select(down, x.negate(bytes), bytes);
  const size = x.form.addressSize;
  x.setGpr(register, x.add(x.gpr(register, size), step), size);
}

/** Charges `count` iterations (the block's entry has charged one) and lowers RCX by them. */
function charge(x: Emitter, count: Value): Value {
  const extra = x.sub(x.wrap(count), x.i32(1));
  x.setState32(L.BUDGET, x.sub(x.state32(L.BUDGET), extra));
  const size = x.form.addressSize;
  const left = x.zeroExtend(x.sub(x.gpr(RCX, size, false), count), size);
  x.setGpr(RCX, left, size);
  return left;
}

/** Runs `step` unless RCX is 0; it returns the count of iterations done. Repeats by dispatch. */
function repeated(x: Emitter, step: () => Value, stop?: () => Value): void {
  const count = x.gpr(RCX, x.form.addressSize, false);
  x.code.block((done) => {
    x.code.brIf(x.eqz(count), done);
    x.code.scope(() => {
      const left = charge(x, step());
      x.code.brIf(x.eqz(left), done);
      if (stop !== undefined) x.code.brIf(stop(), done);
      x.repeat();
    });
  });
}

/** The smaller of two unsigned i64. */
function least(x: Emitter, a: Value, b: Value): Value {
  return x.select(x.ltU(a, b), a, b);
}

/** Elements from `address` to the end of its page. */
function toPageEnd(x: Emitter, address: Value): Value {
  const bytes = x.sub(x.i64(4096), x.and(address, x.i64(4095)));
  return x.shrU(bytes, x.i64(Math.log2(x.size >> 3)));
}

/**
 * Elements that RCX leaves, and that lie in a row in the segment at `segment` in the record: up to
 * its limit and to where the index wraps around. One in a segment that is not plain data.
 */
function room(x: Emitter, segment: Value, register: number): Value {
  const size = x.form.addressSize;
  const count = x.gpr(RCX, size, false);
  if (!x.legacy) return count;
  const left = x.variable(count);
  x.if(x.and(x.state32(L.MODE), x.i32(MODE_SEGMENTED)), () => {
    x.code.scope(() => {
      const offset = x.gpr(register, size, false);
      const bound = x.code.load('i64.load32_u', x.add(x.cpu, segment), L.SEG_LIMIT);
      const last = least(x, bound, x.i64(size === 16 ? 0xffff : 0xffffffffn));
      const bytes = x.sub(x.add(last, x.i64(1)), offset);
      const elements = x.shrU(bytes, x.i64(Math.log2(x.size >> 3)));
      const plain = x.eqz(segmentSuspect(x, x.cpu, segment, offset, x.i64(x.size >> 3)));
      x.set(left, x.select(plain, least(x, count, elements), x.i64(1)));
    });
  });
  return left;
}

/** Iterations allowed before the deadline: the budget and the one charged at entry. */
function allowance(x: Emitter): Value {
  return x.code.op('i64.extend_i32_s', x.add(x.state32(L.BUDGET), x.i32(1)));
}

function goesUp(x: Emitter): Value {
  return x.eqz(x.and(x.state32(L.EFLAGS), x.i32(DF)));
}

/** One element, the way every access goes. */
function moveOne(x: Emitter): void {
  const value = x.load(sourceAddress(x), x.size);
  x.store(targetAddress(x, true), value, x.size);
}

/** Copies a run if it lies in one page each, goes up, and does not feed on itself. */
function moveRun(x: Emitter): Value {
  const done = x.variable(x.i64(1));
  const source = sourceAddress(x);
  const target = targetAddress(x, true);
  const pages = least(x, toPageEnd(x, source), toPageEnd(x, target));
  const rooms = least(x, room(x, sourceSegment(x), RSI), room(x, x.i32(ES), RDI));
  const run = least(x, least(x, pages, rooms), allowance(x));
  const bulk = x.and(goesUp(x), x.gtU(run, x.i64(1)));
  x.if(
    bulk,
    () => {
      const bytes = x.mul(run, x.i64(x.size >> 3));
      // Only finds the places: a device is not to see it.
      const from = x.readable(source, 1, 0);
      const to = x.update(target, 1, 0);
      const bounce = x.add(x.cpu, x.i32(L.BOUNCE));
      const length = x.wrap(bytes);
      const slow = x.or(x.eq(from, bounce), x.eq(to, bounce));
      const feeds = x.ltU(x.sub(to, from), length);
      x.if(
        x.or(slow, feeds),
        () => {
          x.setState32(L.RMW_PENDING, x.i32(0));
          moveOne(x);
        },
        () => {
          x.code.memoryCopy(to, from, length);
          x.set(done, run);
        },
      );
    },
    () => moveOne(x),
  );
  return done;
}

function fillOne(x: Emitter): void {
  x.store(targetAddress(x, true), x.gpr(0, x.size), x.size);
}

/** Fills a run: bytes at once, wider elements by writing one and copying it forward. */
function fillRun(x: Emitter): Value {
  const done = x.variable(x.i64(1));
  const target = targetAddress(x, true);
  const rooms = least(x, toPageEnd(x, target), room(x, x.i32(ES), RDI));
  const run = least(x, rooms, allowance(x));
  const value = x.gpr(0, x.size, false);
  const byte = x.and(value, x.i64(0xff));
  const pattern = x.mul(byte, x.i64(0x0101010101010101n >> BigInt(64 - x.size)));
  const uniform = x.eq(value, pattern);
  const bulk = x.and(x.and(goesUp(x), x.gtU(run, x.i64(1))), uniform);
  x.if(
    bulk,
    () => {
      x.setState32(L.FOUND_BLANK, x.i32(0));
      const to = x.update(target, 1, 0);
      x.if(
        x.eq(to, x.add(x.cpu, x.i32(L.BOUNCE))),
        () => {
          x.setState32(L.RMW_PENDING, x.i32(0));
          // Zeros where zeros are: the page is the guest's now, and that is all.
          x.if(
            x.and(x.state32(L.FOUND_BLANK), x.eqz(byte)),
            () => x.set(done, run),
            () => fillOne(x),
          );
        },
        () => {
          const length = x.wrap(x.mul(run, x.i64(x.size >> 3)));
          x.code.memoryFill(to, x.wrap(byte), length);
          x.set(done, run);
        },
      );
    },
    () => fillOne(x),
  );
  return done;
}

const PLAIN = { string: true, modal: true } as const;

function single(x: Emitter, registers: readonly number[]): void {
  for (const register of registers) advance(x, register, x.i64(1));
}

define('MOVS', PLAIN, (x) => {
  if (x.form.rep === 0) {
    moveOne(x);
    single(x, [RSI, RDI]);
    return;
  }
  repeated(x, () => {
    const count = moveRun(x);
    advance(x, RSI, count);
    advance(x, RDI, count);
    return count;
  });
});

define('STOS', PLAIN, (x) => {
  if (x.form.rep === 0) {
    fillOne(x);
    single(x, [RDI]);
    return;
  }
  repeated(x, () => {
    const count = fillRun(x);
    advance(x, RDI, count);
    return count;
  });
});

function loadOne(x: Emitter): void {
  x.setGpr(0, x.load(sourceAddress(x), x.size), x.size);
  single(x, [RSI]);
}

define('LODS', PLAIN, (x) => {
  if (x.form.rep === 0) {
    loadOne(x);
    return;
  }
  repeated(x, () => {
    loadOne(x);
    return x.i64(1);
  });
});

function compareOne(x: Emitter, a: Value, b: Value): void {
  x.flagsOfSub(a, b, x.signExtend(x.sub(a, b), x.size), x.size);
}

/** Whether the repetition ends: REPE on a difference, REPNE on equality. */
function mismatch(x: Emitter): Value {
  return x.form.rep === 0xf3 ? x.eqz(x.flag('ZF')) : x.flag('ZF');
}

/** Repeats a comparing step inside the handler while budget and RCX last. */
function repeatedComparison(x: Emitter, step: () => void): void {
  const size = x.form.addressSize;
  x.if(x.ne(x.gpr(RCX, size, false), x.i64(0)), () => {
    x.code.block((done) => {
      x.code.loop((again) => {
        x.code.scope(() => {
          step();
          const left = x.zeroExtend(x.sub(x.gpr(RCX, size, false), x.i64(1)), size);
          x.setGpr(RCX, left, size);
          x.code.brIf(x.eqz(left), done);
          x.code.brIf(mismatch(x), done);
          // The next iteration is charged here, or left to a new entry of the block.
          const budget = x.sub(x.state32(L.BUDGET), x.i32(1));
          x.if(x.ltS(budget, x.i32(0)), () => x.repeat());
          x.setState32(L.BUDGET, budget);
          x.code.br(again);
        });
      });
    });
  });
}

function comparison(x: Emitter, step: () => void): void {
  if (x.form.rep === 0) step();
  else repeatedComparison(x, step);
}

define('CMPS', PLAIN, (x) =>
  comparison(x, () => {
    // The target's fault comes first where both have one, as on processors.
    const b = x.load(targetAddress(x, false), x.size);
    const a = x.load(sourceAddress(x), x.size);
    compareOne(x, a, b);
    single(x, [RSI, RDI]);
  }),
);

define('SCAS', PLAIN, (x) =>
  comparison(x, () => {
    const b = x.load(targetAddress(x, false), x.size);
    compareOne(x, x.gpr(0, x.size), b);
    single(x, [RDI]);
  }),
);

/** INS and OUTS go to the host, element by element, in TypeScript. */
for (const [mnemonic, name] of [
  ['INS', 'ins'],
  ['OUTS', 'outs'],
] as const) {
  define(mnemonic, { ...PLAIN, ends: true }, (x) => {
    const segment = x.widen(x.code.load('i32.load16_u', x.op, R.OP_SEGMENT));
    const rep = x.i64(x.form.rep === 0 ? 0 : 1);
    x.system(name, [x.i64(x.size >> 3), rep, x.i64(x.form.addressSize >> 3), segment]);
  });
}
