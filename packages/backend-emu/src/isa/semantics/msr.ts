/**
 * RDMSR and WRMSR. What Linux's handler of #VC does with them is emitted, where nobody is to be
 * asked (`extension/msr-rights.ts`): reading the bases of FS and GS, and the MSR that an extension
 * has kept in the vCPU record. All else are system functions.
 *
 * Source: AMD APM vol. 3, RDMSR, WRMSR.
 */
import { msr } from '@cloister/core/cpu';
import { FLAG_TF } from '../../cpu/flags.js';
import * as L from '../../cpu/layout.js';
import { BASES, READ_KEPT, WRITE_KEPT } from '../../extension/msr-rights.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const RAX = 0;
const RCX = 1;
const RDX = 2;
const FS = L.segmentOffset(L.SEG.fs);

/** Bits of the accesses that may be made at this privilege. */
function rights(x: Emitter): Value {
  return x.select(x.state32(L.CPL), x.i32(0), x.state32(L.MSR_RIGHTS));
}

/** Where in the record the MSR is that RDMSR reads; 0: a function knows. */
function readable(x: Emitter): Value {
  const index = x.wrap(x.gpr(RCX));
  const allowed = rights(x);
  const number = x.sub(index, x.i32(msr.FS_BASE | 0));
  const isLast = x.eq(number, x.i32(BASES.length - 1));
  const segment = x.add(x.shl(number, x.i32(Math.log2(L.SEGMENT_SIZE))), x.i32(FS));
  const base = x.select(isLast, x.i32(L.KERNEL_GS_BASE), segment);
  const isBase = x.and(x.ltU(number, x.i32(BASES.length)), x.shrU(allowed, number));
  const isKept = x.and(
    x.eq(index, x.state32(L.KEPT_MSR)),
    x.ne(x.and(allowed, x.i32(READ_KEPT)), x.i32(0)),
  );
  const kept = x.select(isKept, x.i32(L.KEPT_MSR_VALUE), x.i32(0));
  return x.select(isBase, base, kept);
}

define('RDMSR', {}, (x) => {
  const place = readable(x);
  x.if(
    place,
    () => {
      const value = x.code.load('i64.load', x.add(x.cpu, place));
      x.setGpr(RAX, x.zeroExtend(value, 32));
      x.setGpr(RDX, x.shrU(value, x.i64(32)));
    },
    () => x.system('rdmsr', []),
  );
});

define('WRMSR', { ends: true, modal: true }, (x) => {
  const isKept = x.eq(x.wrap(x.gpr(RCX)), x.state32(L.KEPT_MSR));
  const allowed = x.ne(x.and(rights(x), x.i32(WRITE_KEPT)), x.i32(0));
  const traced = x.and(x.state32(L.EFLAGS), x.i32(FLAG_TF));
  const waits = x.or(x.state32(L.INTERRUPT_PENDING), x.state32(L.DEBUG_PENDING));
  x.if(x.and(x.and(isKept, allowed), x.eqz(x.or(traced, waits))), () =>
    x.code.scope(() => {
      const value = x.or(x.zeroExtend(x.gpr(RAX), 32), x.shl(x.gpr(RDX), x.i64(32)));
      x.setState64(L.KEPT_MSR_VALUE, value);
      x.flow.jump(x.nextRip());
    }),
  );
  x.system('wrmsr', []);
});
