/**
 * x87 instructions but for control: descriptions check what any of them raises, move operands
 * between memory and the record, and call the functions of `fpu/`. AMD APM vol. 5, chapter 2.
 */
import * as L from '../../cpu/layout.js';
import { TRAP } from '../../fpu/traps.js';
import { ENVIRONMENT, environmentSize } from '../../fpu/x87-environment.js';
import { OPERAND } from '../../fpu/x87-operand.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import * as R from '../op-record.js';
import { enterMmx } from '../vector-emitter.js';
import { x87Ready } from './x87-control.js';

const READ = { access: 'r' } as const;
const WRITE = { access: 'w' } as const;

/** Integers and floats of one size are told apart by the mnemonic. */
function kindOf(x: Emitter, integer: boolean): number {
  switch (x.sizeOf(0)) {
    case 16:
      return OPERAND.int16;
    case 32:
      return integer ? OPERAND.int32 : OPERAND.single;
    case 80:
      return x.form.mnemonic.startsWith('FB') ? OPERAND.bcd : OPERAND.extended;
    default:
      return integer ? OPERAND.int64 : OPERAND.double;
  }
}

/**
 * Notes opcode, selectors and the offset of the operand, as the functions do the instruction's: the
 * decoder leaves the opcode in the place of a second register. In 64-bit mode only FS and GS are
 * named.
 */
function notePointers(x: Emitter): void {
  const field = (offset: number): Value => x.code.load('i32.load16_u', x.op, offset);
  const store = (value: Value, offset: number): void =>
    x.code.store('i32.store16', x.cpu, value, offset);
  store(field(R.OP_REG[1]), L.FOP);
  store(x.stateAs('i32.load16_u', L.segmentOffset(L.SEG.cs) + L.SEG_SELECTOR), L.FCS);
  if (x.form.operands[0]?.kind !== 'm') return;
  x.setState64(L.FDP, x.effectiveAddress(0));
  const segment = field(R.OP_SEGMENT);
  const selector = x.code.load('i32.load16_u', x.add(x.cpu, segment), L.SEG_SELECTOR);
  store(x.select(x.eq(segment, x.i32(L.ZERO)), x.i32(0), selector), L.FDS);
}

/** Calls an x87 function. */
function perform(x: Emitter, name: string, args: readonly Value[]): void {
  x.system(`x87${name}`, args);
  notePointers(x);
}

/** Hands operand 0 to a function: a register's number, or the bits in memory. */
function call(x: Emitter, name: string, integer = false): void {
  x87Ready(x, true);
  if (x.form.operands.length === 0) {
    perform(x, name, []);
    return;
  }
  if (x.kindOf(0) !== 'm') {
    perform(x, name, [x.i32(OPERAND.register), x.operandU(0)]);
    return;
  }
  const address = x.address(0);
  const kind = x.i32(kindOf(x, integer));
  if (x.sizeOf(0) === 80) {
    const host = x.readable(address, 10);
    const low = x.code.load('i64.load', host);
    const high = x.code.load('i64.load16_u', host, 8);
    perform(x, name, [kind, low, high]);
    return;
  }
  perform(x, name, [kind, x.load(address, x.sizeOf(0))]);
}

/** The same under its own name. */
function direct(...names: readonly string[]): void {
  for (const name of names) define(name, READ, (x) => call(x, name));
}

for (const name of ['ADD', 'MUL', 'SUB', 'SUBR', 'DIV', 'DIVR']) {
  direct(`F${name}`, `F${name}TO`, `F${name}P`);
  define(`FI${name}`, READ, (x) => call(x, `F${name}`, true));
}
direct('FCOM', 'FCOMP', 'FCOMPP', 'FUCOM', 'FUCOMP', 'FUCOMPP', 'FTST', 'FXAM');
define('FICOM', READ, (x) => call(x, 'FCOM', true));
define('FICOMP', READ, (x) => call(x, 'FCOMP', true));
direct('FSQRT', 'FRNDINT', 'FSCALE', 'FPREM', 'FPREM1', 'FXTRACT', 'FCHS', 'FABS');
direct('F2XM1', 'FYL2X', 'FYL2XP1', 'FPTAN', 'FPATAN', 'FSIN', 'FCOS', 'FSINCOS');
direct('FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ');
direct('FSTP1', 'FXCH', 'FINCSTP', 'FDECSTP', 'FFREE', 'FFREEP');
define('FLD', READ, (x) => call(x, x.kindOf(0) === 'm' ? 'FLD' : 'FLDST'));
define('FBLD', READ, (x) => call(x, 'FLD'));
define('FILD', READ, (x) => call(x, 'FLD', true));

/** Stores: the memory is made sure of before the function changes anything. */
function store(x: Emitter, name: string, integer: boolean): void {
  x87Ready(x, true);
  const size = x.sizeOf(0);
  const address = x.address(0);
  const host = x.update(address, size >> 3);
  perform(x, name, [x.i32(kindOf(x, integer))]);
  x.if(
    x.wrap(x.systemResult(2)),
    () => {
      const low = x.systemResult();
      x.code.store(size >= 64 ? 'i64.store' : `i64.store${size}`, host, low);
      if (size === 80) x.code.store('i64.store16', host, x.systemResult(1), 8);
      x.commit(host);
    },
    () => x.setState32(L.RMW_PENDING, x.i32(0)),
  );
}

for (const name of ['FST', 'FSTP']) {
  define(name, WRITE, (x) => {
    if (x.kindOf(0) !== 'm') call(x, `${name}ST`);
    else store(x, x.sizeOf(0) === 80 ? 'FSTPT' : name, false);
  });
}
for (const name of ['FIST', 'FISTP', 'FISTTP']) {
  define(name, WRITE, (x) => store(x, name, true));
}
define('FBSTP', WRITE, (x) => store(x, 'FBSTP', false));

/** Comparisons into ZF, PF and CF; the others are cleared. */
for (const name of ['FCOMI', 'FCOMIP', 'FUCOMI', 'FUCOMIP']) {
  define(name, READ, (x) => {
    call(x, name);
    // 0 greater: none; 1 less: CF; 2 equal: ZF; 3 unordered: all.
    const relation = x.wrap(x.systemResult());
    const carry = x.and(relation, x.i32(1));
    const zero = x.shl(x.and(relation, x.i32(2)), x.i32(5));
    const parity = x.shl(x.eq(relation, x.i32(3)), x.i32(2));
    x.setStatus(x.or(x.or(carry, zero), parity), 0x8d5);
  });
}

/** FCMOVcc: condition codes of CMOVcc. */
for (const [name, cc] of [
  ['B', 2],
  ['E', 4],
  ['BE', 6],
  ['U', 10],
  ['NB', 3],
  ['NE', 5],
  ['NBE', 7],
  ['NU', 11],
] as const) {
  define(`FCMOV${name}`, READ, (x) => {
    x87Ready(x, true);
    perform(x, 'FCMOV', [x.condition(cc), x.operandU(0)]);
  });
}

/** FNOP does nothing but wait. */
define('FNOP', {}, (x) => x87Ready(x, true));
/** Obsolete: FENI, FDISI and FSETPM are ignored. */
define('FNONE', {}, (x) => x87Ready(x, false));

define('EMMS', {}, (x) => {
  x.if(x.and(x.state32(L.FPU_TRAPS), x.i32(TRAP.mmxUndefined)), () => x.raise(6));
  x87Ready(x, true);
  enterMmx(x);
  x.code.store('i32.store16', x.cpu, x.i32(0xffff), L.FTW);
});

// Environment --------------------------------------------------------------------------------

/** Runs `body` with offsets 0, 2, 4 … below `bytes`. */
function everyHalf(x: Emitter, bytes: number, body: (offset: Value) => void): void {
  const offset = x.variable(x.i32(0));
  x.code.loop((again) => {
    x.code.scope(() => {
      body(offset);
      x.set(offset, x.add(offset, x.i32(2)));
      x.code.brIf(x.ltU(offset, x.i32(bytes)), again);
    });
  });
}

function addressAt(x: Emitter, address: Value, offset: Value): Value {
  const sum = x.add(address, x.widen(offset));
  return x.legacy ? x.zeroExtend(sum, 32) : sum;
}

/** Images consist of words as wide as the operand: that is what alignment checks ask for. */
function alignImage(x: Emitter, address: Value, write: boolean): void {
  const bytes = x.size === 16 ? 2 : 4;
  if (!write) {
    x.readable(address, bytes);
    return;
  }
  x.update(address, bytes);
  x.setState32(L.RMW_PENDING, x.i32(0));
}

/** Probes the memory from its start, so that a fault comes before the first store. */
function writeImage(x: Emitter, bytes: number): void {
  const address = x.address(0, bytes);
  alignImage(x, address, true);
  everyHalf(x, bytes, (offset) => {
    x.update(addressAt(x, address, offset), 2);
    x.setState32(L.RMW_PENDING, x.i32(0));
  });
  x.system('x87Image', [x.i32(x.size === 16 ? 0 : 1)]);
  everyHalf(x, bytes, (offset) => {
    const value = x.code.load('i64.load16_u', x.add(x.cpu, offset), ENVIRONMENT);
    x.store(addressAt(x, address, offset), value, 16);
  });
}

function readImage(x: Emitter, bytes: number): void {
  const address = x.address(0, bytes);
  alignImage(x, address, false);
  everyHalf(x, bytes, (offset) => {
    const value = x.load(addressAt(x, address, offset), 16, false);
    x.code.store('i64.store16', x.add(x.cpu, offset), value, ENVIRONMENT);
  });
}

const ENVIRONMENT_OPTIONS = { access: 'r', modal: true } as const;
const REGISTER_BYTES = 80;

define('FNSTENV', { access: 'w', modal: true }, (x) => {
  x87Ready(x, false);
  writeImage(x, environmentSize(x.size !== 16));
  x.system('x87Stored', []);
});
define('FNSAVE', { access: 'w', modal: true }, (x) => {
  x87Ready(x, false);
  writeImage(x, environmentSize(x.size !== 16) + REGISTER_BYTES);
  x.system('x87Initialise', []);
});
define('FLDENV', ENVIRONMENT_OPTIONS, (x) => {
  x87Ready(x, true);
  readImage(x, environmentSize(x.size !== 16));
  x.system('x87LoadEnvironment', [x.i32(x.size === 16 ? 0 : 1)]);
});
define('FRSTOR', ENVIRONMENT_OPTIONS, (x) => {
  x87Ready(x, true);
  readImage(x, environmentSize(x.size !== 16) + REGISTER_BYTES);
  x.system('x87LoadState', [x.i32(x.size === 16 ? 0 : 1)]);
});
