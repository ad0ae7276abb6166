/**
 * Instructions that are system functions in TypeScript: descriptions only hand over operands.
 * AMD APM vol. 3, chapter 4, and the far transfers, I/O and RDRAND of chapter 3.
 */
import * as L from '../../cpu/layout.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';
import { EXTENSION_INSTRUCTIONS } from '../extension-instructions.js';
import * as R from '../op-record.js';

const ENDS = { ends: true } as const;

/** A system function without operands. */
function plain(mnemonic: string, name: string, ends = false): void {
  define(mnemonic, { ends }, (x) => x.system(name, []));
}

/** A function of the address of `bytes` bytes and a number. */
function ofAddress(
  mnemonic: string,
  name: string,
  access: 'r' | 'w',
  bytes: number,
  number: (x: Emitter) => number,
  privileged = false,
): void {
  define(mnemonic, { access, ends: true }, (x) => {
    if (privileged) x.if(x.state32(L.CPL), () => x.raise(13, 0));
    x.system(name, [x.address(0, bytes), x.i64(number(x))]);
  });
}

const tableSize = (x: Emitter): number => (x.legacy ? x.size >> 3 : 8);
for (const [name, access] of [
  ['LGDT', 'r'],
  ['LIDT', 'r'],
  ['SGDT', 'w'],
  ['SIDT', 'w'],
] as const) {
  define(name, { access, modal: true }, (x) => {
    if (access === 'r') x.if(x.state32(L.CPL), () => x.raise(13, 0));
    const address = x.address(0, x.legacy ? 6 : 10);
    x.system(name.toLowerCase(), [address, x.i64(tableSize(x))]);
  });
}
ofAddress('INVLPG', 'invlpg', 'r', 1, () => 0, true);
define('INVPCID', { access: 'r', ends: true }, (x) => {
  x.if(x.state32(L.CPL), () => x.raise(13, 0));
  x.system('invpcid', [x.address(1), x.operandU(0)]);
});
/**
 * Images of x87 and SSE state. Outside 64-bit mode processors of AMD check the segment's limit for
 * the first byte, then the alignment, then the limit for the rest; XSAVE and its variants check
 * the alignment first. It tells where an operand is on the stack: #SS or #GP.
 */
for (const [name, access, bytes, first, order] of [
  ['FXSAVE', 'w', 512, 1, 'fxsaveOrder'],
  ['FXRSTOR', 'r', 512, 1, 'fxsaveOrder'],
  ['XSAVE', 'w', 576, 0, 'xsaveOrder'],
  ['XSAVEOPT', 'w', 576, 0, 'xsaveOrder'],
  ['XSAVEC', 'w', 576, 0, 'xsaveOrder'],
  ['XRSTOR', 'r', 576, 0, 'xsaveOrder'],
] as const) {
  define(name, { access, ends: true, modal: true }, (x) => {
    if (x.legacy) {
      const offset = x.effectiveAddress(0);
      if (first > 0) x.checkSegment(x.operandSegment(), offset, first * 8, access === 'w');
      x.system(order, [x.uncheckedAddress(0)]);
    }
    x.system(name.toLowerCase(), [x.address(0, bytes), x.i64(x.size === 64 ? 1 : 0)]);
  });
}

/**
 * A function of one 16-bit selector or word operand; the privilege is checked before it is read.
 */
for (const [name, privileged] of [
  ['LLDT', true],
  ['LTR', true],
  ['LMSW', true],
  ['VERR', false],
  ['VERW', false],
] as const) {
  define(name, { access: 'r', ends: true }, (x) => {
    if (privileged) x.if(x.state32(L.CPL), () => x.raise(13, 0));
    x.system(name.toLowerCase(), [x.operandU(0)]);
  });
}

/** Stores of a word; the result goes to a register in full or to 16 bits of memory. */
for (const name of ['SLDT', 'STR', 'SMSW']) {
  define(name, { access: 'w' }, (x) => {
    x.system(name.toLowerCase(), []);
    x.setOperand(0, x.systemResult());
  });
}

define('LAR', { access: 'rw' }, (x) => {
  x.system('lar', [x.operandU(1), x.i64(x.size >> 3)]);
  x.if(x.flag('ZF'), () => x.setOperand(0, x.systemResult()));
});

/** MOV to and from control and debug registers: operands are (number, register) in either order. */
for (const [mnemonic, name, number, register] of [
  ['MOVTOCR', 'movToCr', 0, 1],
  ['MOVTODR', 'movToDr', 0, 1],
] as const) {
  define(mnemonic, { ends: true, access: 'r' }, (x) => {
    x.system(name, [x.operandU(number), x.operandU(register)]);
  });
}
for (const [mnemonic, name] of [
  ['MOVFROMCR', 'movFromCr'],
  ['MOVFROMDR', 'movFromDr'],
] as const) {
  define(mnemonic, { access: 'w' }, (x) => {
    x.system(name, [x.operandU(1)]);
    x.setOperand(0, x.systemResult());
  });
}

/** MOV to a segment register: operand 0 is its number. */
define('MOVTOSEG', { ends: true, access: 'r', modal: true }, (x) => {
  x.system('movToSeg', [x.operandU(0), x.and(x.operandU(1), x.i64(0xffff))]);
});

/** MOV from a segment register: zero-extended to a register, 16 bits to memory. */
define('MOVFROMSEG', { access: 'w', modal: true }, (x) => {
  const number = x.wrap(x.operandU(1));
  const offset = x.shl(number, x.i32(5));
  const selector = L.SEGMENTS + L.SEG_SELECTOR;
  x.setOperand(0, x.code.load('i64.load16_u', x.add(x.cpu, offset), selector));
});

define('PUSHSEG', { access: 'r', modal: true }, (x) => {
  const offset = x.shl(x.wrap(x.operandU(0)), x.i32(5));
  const selector = L.SEGMENTS + L.SEG_SELECTOR;
  x.push(x.code.load('i64.load16_u', x.add(x.cpu, offset), selector));
});

define('POPSEG', { ends: true, access: 'r', modal: true }, (x) => {
  x.system('popSeg', [x.operandU(0), x.i64(x.size >> 3)]);
});

/**
 * LDS, LES, LFS, LGS, LSS: a far pointer in memory; operand 2 is the segment's number. Argument 3
 * names the general register by its offset, and the operand size in bytes in bits 15:8.
 */
define('LOADFAR', { ends: true, access: 'w', modal: true }, (x) => {
  const [offset, selector] = farPointerInMemory(x, 1);
  const register = x.code.load('i64.load16_u', x.op, R.OP_REG[0]);
  const number = x.shrU(register, x.i64(3));
  const target = x.or(number, x.i64((x.size >> 3) << 8));
  x.system('loadFar', [x.operandU(2), selector, offset, target]);
});

function farPointerInMemory(x: Emitter, index: number): [Value, Value] {
  // AMD APM vol. 3, CALL (Far) and JMP (Far): REX.W does not make the offset longer.
  const size = Math.min(x.size, 32);
  const address = x.address(index, (size >> 3) + 2);
  const offset = x.load(address, size, false);
  const next = x.add(address, x.i64(size >> 3));
  return [offset, x.load(x.legacy ? x.zeroExtend(next, 32) : next, 16, false)];
}

/** Far pointer in the instruction: selector in the immediate, offset in the displacement. */
function farPointerImmediate(x: Emitter): [Value, Value] {
  const offset = x.code.load('i64.load', x.op, R.OP_DISPLACEMENT);
  return [x.zeroExtend(offset, x.size), x.code.load('i64.load16_u', x.op, R.OP_IMMEDIATE)];
}

for (const [mnemonic, name, pointer] of [
  ['JMPF', 'jmpFar', farPointerImmediate],
  ['CALLF', 'callFar', farPointerImmediate],
  ['JMPFI', 'jmpFar', (x: Emitter) => farPointerInMemory(x, 0)],
  ['CALLFI', 'callFar', (x: Emitter) => farPointerInMemory(x, 0)],
] as const) {
  define(mnemonic, { ends: true, access: 'r', modal: true }, (x) => {
    const [offset, selector] = pointer(x);
    x.system(name, [selector, offset, x.i64(x.size >> 3)]);
  });
}

define('RETF', ENDS, (x) => x.system('retFar', [x.i64(0), x.i64(x.size >> 3)]));
define('RETFI', ENDS, (x) => x.system('retFar', [x.operandU(0), x.i64(x.size >> 3)]));
define('SYSEXIT', ENDS, (x) => x.system('sysexit', [x.i64(x.size >> 3)]));
define('INT', { ends: true, access: 'r' }, (x) => x.system('int', [x.operandU(0)]));
plain('INT3', 'int3', true);
plain('INTO', 'into', true);
plain('ICEBP', 'icebp', true);
plain('SYSENTER', 'sysenter', true);
plain('CLTS', 'clts', true);
plain('WBINVD', 'wbinvd');
plain('INVD', 'invd');
plain('CPUID', 'cpuid');
plain('RDPMC', 'rdpmc');
define('RDPID', { access: 'w' }, (x) => x.setOperand(0, x.stateAs('i64.load32_u', L.TSC_AUX)));
plain('WRPKRU', 'wrpkru', true);
plain('XGETBV', 'xgetbv');
plain('XSETBV', 'xsetbv', true);
plain('HLT', 'hlt', true);
plain('VMMCALL', 'vmmcall', true);
plain('PAUSE_ASKED', 'pause', true);
for (const [number, mnemonic] of EXTENSION_INSTRUCTIONS.entries()) {
  define(mnemonic, ENDS, (x) => x.system('extension', [x.i64(number)]));
}
plain('MONITOR', 'monitor');
plain('MWAIT', 'mwait');
/** Whatever is not an instruction of this processor. */
plain('UD', 'ud', true);

define('IN', { access: 'w' }, (x) => {
  x.system('in', [x.and(x.operandU(1), x.i64(0xffff)), x.i64(x.sizeOf(0) >> 3)]);
  x.setOperand(0, x.systemResult());
});

define('OUT', { access: 'r' }, (x) => {
  const port = x.and(x.operandU(0), x.i64(0xffff));
  x.system('out', [port, x.i64(x.sizeOf(1) >> 3), x.operandU(1)]);
});

for (const name of ['RDRAND', 'RDSEED']) {
  define(name, { access: 'w' }, (x) => {
    x.system(name.toLowerCase(), [x.i64(x.size >> 3)]);
    x.setOperand(0, x.systemResult());
  });
}

/**
 * No effect here: caches are coherent and nothing is reordered. Code that was overwritten is never
 * executed as it was, so there is nothing to do for SERIALIZE either.
 */
const NO_EFFECT = ['NOP', 'PAUSE', 'PREFETCH', 'LFENCE', 'SFENCE', 'MFENCE', 'SERIALIZE', 'ENDBR'];
for (const name of NO_EFFECT) {
  define(name, { access: 'r', hot: name === 'NOP' || name === 'PAUSE' }, () => {});
}

/** The line must be readable. */
for (const name of ['CLFLUSH', 'CLFLUSHOPT', 'CLWB']) {
  define(name, { access: 'r' }, (x) => {
    x.load(x.address(0), 8);
  });
}

/** An instruction of more than 15 bytes. */
define('TOOLONG', { ends: true }, (x) => {
  x.raise(13, 0);
  x.ended = true;
});
