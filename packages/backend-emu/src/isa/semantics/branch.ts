/**
 * Near branches. AMD APM vol. 3, chapter 3 (CALL, Jcc, JCXZ, JMP, LOOP, RET).
 */
import { CONDITIONS, define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const ENDS = { ends: true, modal: true, hot: true } as const;

/** The sign bit of a virtual address with four levels. */
const CANONICAL_SHIFT = 47;

/**
 * #GP of the branch itself, with nothing changed, for a target that is not canonical or behind the
 * limit of CS. A relative branch that leaves the canonical addresses is found by the fetch there.
 */
function requireTarget(x: Emitter, target: Value): void {
  if (x.legacy) x.requireInCode(x.cutRip(target));
  if (x.size !== 64) return;
  const signs = x.shrS(target, x.i64(CANONICAL_SHIFT));
  const canonical = x.eq(signs, x.shrS(target, x.i64(63)));
  x.if(x.eqz(canonical), () => x.system('wideBase', [target]));
}

CONDITIONS.forEach((name, cc) => {
  define(`J${name}`, { modal: true, hot: true }, (x) => {
    x.if(x.condition(cc), () => {
      x.requireRelative();
      x.branchRelative();
    });
  });
});

define('JMP', ENDS, (x) => {
  x.requireRelative();
  x.branchRelative();
  x.ended = true;
});

define('CALL', ENDS, (x) => {
  // Faults of the stack come first.
  x.requireRelative(() => x.probePush());
  x.push(x.nextRip());
  x.branchRelative();
  x.ended = true;
});

/** JMP and CALL through a register or memory. */
define('JMPI', { ...ENDS, access: 'r' }, (x) => {
  const target = x.operand(0);
  requireTarget(x, target);
  x.branchIndirect(target);
  x.ended = true;
});

define('CALLI', { ...ENDS, access: 'r' }, (x) => {
  const target = x.operand(0);
  if (x.legacy) x.probePush();
  requireTarget(x, target);
  x.push(x.nextRip());
  x.branchIndirect(target);
  x.ended = true;
});

define('RET', ENDS, (x) => {
  const target = x.top();
  requireTarget(x, target);
  x.popped(x.size >> 3);
  x.branchTo(target);
  x.ended = true;
});

/** RET imm16: releases bytes of arguments. */
define('RETI', ENDS, (x) => {
  const target = x.top();
  requireTarget(x, target);
  const released = x.operandU(0);
  x.popped(x.size >> 3);
  const moved = x.add(x.stackPointer(), released);
  x.setStackPointer(x.legacy ? x.and(moved, x.stackMask()) : moved);
  x.branchTo(target);
  x.ended = true;
});

/** The count register in the address size, for JCXZ and LOOP. */
define('JCXZ', { modal: true }, (x) => {
  const count = x.gpr(1, x.form.addressSize, false);
  x.if(x.eqz(count), () => {
    x.requireRelative();
    x.branchRelative();
  });
});

for (const [name, cc] of [
  ['LOOP', -1],
  ['LOOPZ', 4],
  ['LOOPNZ', 5],
] as const) {
  define(name, { modal: true }, (x) => {
    const size = x.form.addressSize;
    const count = x.sub(x.gpr(1, size, false), x.i64(1));
    const cut = x.zeroExtend(count, size);
    const more = x.ne(cut, x.i64(0));
    const taken = cc < 0 ? more : x.and(more, x.condition(cc));
    x.if(taken, () => x.requireRelative());
    x.setGpr(1, cut, size);
    x.if(taken, () => x.branchRelative());
  });
}
