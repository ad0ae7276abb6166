/**
 * Data movement between registers and memory. AMD APM vol. 3, chapter 3.
 */

import * as L from '../../cpu/layout.js';
import { CONDITIONS, define } from '../define.js';

define('MOV', { access: 'w', hot: true }, (x) => {
  x.setOperand(0, x.operand(1));
});

/** MOV r64, imm64. */
define('MOVABS', { access: 'w', hot: true }, (x) => {
  x.setOperand(0, x.immediate(1));
});

define('MOVZX', { access: 'w', hot: true }, (x) => {
  x.setOperand(0, x.operandU(1));
});

define('MOVSX', { access: 'w', hot: true }, (x) => {
  x.setOperand(0, x.operand(1));
});

define('MOVSXD', { access: 'w', hot: true }, (x) => {
  x.setOperand(0, x.operand(1));
});

define('LEA', { access: 'w', hot: true, string: true }, (x) => {
  x.setOperand(0, x.effectiveAddress(1));
});

define('BSWAP', { hot: true }, (x) => {
  const a = x.operandU(0);
  const byte = (from: number, to: number) =>
    x.shl(x.and(x.shrU(a, x.i64(from)), x.i64(0xff)), x.i64(to));
  const bytes = x.size / 8;
  let result = byte(0, x.size - 8);
  for (let i = 1; i < bytes; i++) result = x.or(result, byte(i * 8, x.size - 8 - i * 8));
  x.setOperand(0, result);
});

CONDITIONS.forEach((name, cc) => {
  define(`SET${name}`, { access: 'w' }, (x) => {
    x.setOperand(0, x.widen(x.condition(cc)));
  });
  define(`CMOV${name}`, { access: 'rw', hot: true }, (x) => {
    // The source is read, and may fault, whatever the condition; 32-bit forms always zero-extend.
    const source = x.operand(1);
    x.setOperand(0, x.select(x.condition(cc), source, x.operand(0)));
  });
});

define('CBW', {}, (x) => {
  x.setGpr(0, x.gpr(0, x.size / 2), x.size);
});

define('CWD', {}, (x) => {
  x.setGpr(2, x.shrS(x.gpr(0, x.size), x.i64(63)), x.size);
});

define('XLAT', { string: true, modal: true }, (x) => {
  const mask = (1n << BigInt(x.form.addressSize)) - 1n;
  const offset = x.and(x.add(x.gpr(3), x.gpr(0, 8, false)), x.i64(BigInt.asIntN(64, mask)));
  const segment = x.code.load('i32.load16_u', x.op, 14);
  x.checkSegment(segment, offset, 8, false);
  const sum = x.add(x.code.load('i64.load', x.add(x.cpu, segment)), offset);
  x.setGpr(0, x.load(x.legacy ? x.zeroExtend(sum, 32) : sum, 8), 8);
});

define('LAHF', {}, (x) => {
  const flags = x.eflags();
  x.code.store('i32.store8', x.cpu, flags, L.GPR + 1);
});

define('SAHF', {}, (x) => {
  const image = x.stateAs('i32.load8_u', L.GPR + 1);
  x.setStatus(image, 0xd5);
});
