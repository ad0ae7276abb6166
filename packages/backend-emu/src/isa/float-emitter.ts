/**
 * The description language for SSE floating point: lanes of floats, packed or scalar, and the
 * decision between emitted code and the slow path of `fpu/vector-slow.ts`.
 *
 * Emitted code decides alone while rounding is to nearest, PE is masked, and no operand or result
 * is of a kind that could raise anything but PE: no NaN, no denormal, no overflow. DAZ and FZ then
 * mean nothing. PE itself is found by an error-free transformation, while it is not set yet.
 *
 * Source of the transformations: T. J. Dekker, "A floating-point technique for extending the
 * available precision", 1971; D. E. Knuth, The Art of Computer Programming, vol. 2, 4.2.2.
 */
import * as L from '../cpu/layout.js';
import { PE } from '../fpu/real.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from '../fpu/vector-operation.js';
import { SLOW_OPERATIONS, type SlowOperation } from '../fpu/vector-slow.js';
import type { Emitter, Value } from './emitter.js';
import { part, splat, vector } from './vector-emitter.js';

/** MXCSR: rounding control, the mask of PE and PE itself. */
const CONTROL = 0x7020;
const CONTROL_FAST = 0x1020;
const CONTROL_NO_PE = 0x1000;

const scratch = new DataView(new ArrayBuffer(8));

/** Lanes of one format; masks are v128 when packed, i32 when scalar. */
export class Lanes {
  readonly #type: string;
  readonly #integers: string;

  constructor(
    readonly x: Emitter,
    readonly double: boolean,
    readonly packed: boolean,
  ) {
    const scalar = double ? 'f64' : 'f32';
    this.#type = packed ? `${scalar}x${double ? 2 : 4}` : scalar;
    this.#integers = double ? 'i64x2' : 'i32x4';
  }

  get count(): number {
    return this.packed ? (this.double ? 2 : 4) : 1;
  }

  get load(): string {
    return this.packed ? 'v128.load' : `${this.#type}.load`;
  }

  get store(): string {
    return this.packed ? 'v128.store' : `${this.#type}.store`;
  }

  /** Vector operand `index` as lanes. */
  operand(index: number): Value {
    return this.packed ? vector(this.x, index) : part(this.x, index, this.load);
  }

  /** Vector operand `index`, a register of which the lanes are the low part. */
  operandAt(index: number): Value {
    return this.x.code.load(this.load, this.x.registerAddress(index));
  }

  op(name: string, a: Value, b?: Value): Value {
    return this.x.code.op(`${this.#type}.${name}`, a, b);
  }

  constant(value: number): Value {
    const { x } = this;
    if (!this.packed) return this.double ? x.code.f64(value) : x.code.f32(value);
    if (this.double) {
      scratch.setFloat64(0, value);
      return splat(x, 64, scratch.getBigUint64(0));
    }
    scratch.setFloat32(0, value);
    return splat(x, 32, BigInt(scratch.getUint32(0)));
  }

  and(a: Value, b: Value): Value {
    return this.packed ? this.x.code.op('v128.and', a, b) : this.x.and(a, b);
  }

  or(a: Value, b: Value): Value {
    return this.packed ? this.x.code.op('v128.or', a, b) : this.x.or(a, b);
  }

  /** i32: the mask holds in every lane. */
  all(mask: Value): Value {
    return this.packed ? this.x.code.op(`${this.#integers}.all_true`, mask) : mask;
  }

  /** i32: the mask holds in some lane. */
  any(mask: Value): Value {
    return this.packed ? this.x.code.op('v128.any_true', mask) : mask;
  }

  isZero(a: Value): Value {
    return this.op('eq', a, this.constant(0));
  }

  get #smallest(): number {
    return this.double ? 2 ** -1022 : 2 ** -126;
  }

  /** Mask: neither NaN nor denormal. */
  benign(a: Value): Value {
    const large = this.op('ge', this.op('abs', a), this.constant(this.#smallest));
    return this.or(large, this.isZero(a));
  }

  /** Mask: a finite result that cannot have been tiny. */
  normal(a: Value): Value {
    const magnitude = this.op('abs', a);
    const large = this.op('gt', magnitude, this.constant(this.#smallest));
    return this.and(large, this.op('lt', magnitude, this.constant(Infinity)));
  }

  /** Mask: far enough from both ends that the transformations below are exact. */
  moderate(a: Value): Value {
    const magnitude = this.op('abs', a);
    const [low, high] = this.double ? [2 ** -400, 2 ** 400] : [2 ** -40, 2 ** 60];
    const inside = this.and(
      this.op('gt', magnitude, this.constant(low)),
      this.op('lt', magnitude, this.constant(high)),
    );
    return this.or(inside, this.isZero(a));
  }

  /** What rounding took from a + b = sum. */
  sumError(a: Value, b: Value, sum: Value): Value {
    const added = this.op('sub', sum, a);
    const left = this.op('sub', a, this.op('sub', sum, added));
    return this.op('add', left, this.op('sub', b, added));
  }

  #split(a: Value): [Value, Value] {
    const scaled = this.op('mul', a, this.constant(this.double ? 2 ** 27 + 1 : 2 ** 12 + 1));
    const high = this.op('sub', scaled, this.op('sub', scaled, a));
    return [high, this.op('sub', a, high)];
  }

  /** What rounding took from a * b = product, negated. */
  productError(a: Value, b: Value, product: Value): Value {
    const [aHigh, aLow] = this.#split(a);
    const [bHigh, bLow] = this.#split(b);
    let error = this.op('sub', product, this.op('mul', aHigh, bHigh));
    error = this.op('sub', error, this.op('mul', aLow, bHigh));
    error = this.op('sub', error, this.op('mul', aHigh, bLow));
    return this.op('sub', error, this.op('mul', aLow, bLow));
  }

  /** Mask: a * b is not exactly `product`. */
  isNotProduct(a: Value, b: Value, product: Value): Value {
    const nearest = this.op('mul', a, b);
    const error = this.productError(a, b, nearest);
    return this.or(this.op('ne', nearest, product), this.op('ne', error, this.constant(0)));
  }
}

/** An instruction's way out of emitted code. */
export interface SlowCall {
  readonly operation: SlowOperation;
  readonly double: boolean;
  readonly lanes: number;
  readonly immediate?: Value;
  /** Stores the operands at `SLOW_SOURCE` and `SLOW_DESTINATION`. */
  readonly operands: readonly [name: string, value: Value, offset: number][];
}

export function slowCall(x: Emitter, call: SlowCall): void {
  for (const [name, value, offset] of call.operands) x.code.store(name, x.cpu, value, offset);
  const number = SLOW_OPERATIONS.indexOf(call.operation);
  x.system('fpuVector', [
    x.i32(number),
    x.i32(call.double ? 1 : 0),
    x.i32(call.lanes),
    call.immediate ?? x.i32(0),
  ]);
}

/** The slow path of an operation on lanes; its result. */
export function slowLanes(
  lanes: Lanes,
  operation: SlowOperation,
  a: Value | null,
  b: Value,
  immediate?: Value,
): Value {
  const { x } = lanes;
  const operands: [string, Value, number][] = [[lanes.store, b, SLOW_SOURCE]];
  if (a !== null) operands.push([lanes.store, a, SLOW_DESTINATION]);
  const call = { operation, double: lanes.double, lanes: lanes.count, operands };
  slowCall(x, immediate === undefined ? call : { ...call, immediate });
  return x.stateAs(lanes.load, SLOW_RESULT);
}

/** What decides whether emitted code may go on alone. */
export interface Decision {
  /** i32: operands and result raise nothing but PE. */
  readonly fine: Value;
  /** i32: `inexact` can be trusted; only asked while PE is not set. */
  readonly trusted: () => Value;
  /** i32: the result is inexact. */
  readonly inexact: () => Value;
}

/** Runs `slow` unless `decision` is for the emitted code; notes PE. */
export function decide(x: Emitter, decision: Decision, slow: () => void): void {
  const mxcsr = x.state32(L.MXCSR);
  const control = x.and(mxcsr, x.i32(CONTROL));
  const fast = x.and(decision.fine, x.eq(control, x.i32(CONTROL_FAST)));
  x.if(x.eqz(fast), () => {
    const done = x.variable(x.i32(0));
    x.if(x.and(decision.fine, x.eq(control, x.i32(CONTROL_NO_PE))), () => {
      x.if(decision.trusted(), () => {
        x.set(done, x.i32(1));
        x.if(decision.inexact(), () => x.setState32(L.MXCSR, x.or(mxcsr, x.i32(PE))));
      });
    });
    x.if(x.eqz(done), slow);
  });
}
