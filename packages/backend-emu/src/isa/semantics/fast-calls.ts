/**
 * SYSCALL, SYSRET and SWAPGS: the usual ways in and out of a 64-bit kernel without leaving emitted
 * code. Whatever is unusual is a function of `system/fast-calls.ts`, which does the same for every
 * mode: other modes, single steps, EFLAGS.AC (it chooses among the TLBs), an interrupt that waits,
 * and the first use of a privilege since its jump cache was made for another mode.
 *
 * Source: AMD APM vol. 2, 6.1; vol. 3, SYSCALL, SYSRET, SWAPGS.
 */
import { FLAG_AC, FLAG_RF, FLAG_TF, FLAG_VM, FLAGS_ALL, FLAGS_STATUS } from '../../cpu/flags.js';
import * as L from '../../cpu/layout.js';
import { MODE_64 } from '../../cpu/mode.js';
import { EFER_SCE, VECTOR_GP, VECTOR_UD } from '../../cpu/registers.js';
import type { ArithmeticEmitter } from '../arithmetic-emitter.js';
import { define } from '../define.js';
import type { Emitter, Value } from '../emitter.js';

const RCX = L.gprOffset(1);
const R11 = L.gprOffset(11);
const CS = L.segmentOffset(L.SEG.cs);
const SS = L.segmentOffset(L.SEG.ss);
const FLAT = 0xffffffff;
/** Attributes in VMCB form. */
const CODE64 = 0xa9b;
const DATA = 0xc93;
const DPL3 = 3 << 5;
export const SUPERVISOR = 0;
export const USER = 1;
/** Flags with which both are left to the system functions. */
const UNUSUAL = FLAG_TF | FLAG_AC;

/** Whether a change to `privilege` within 64-bit mode changes no more than the places below. */
function isPlain(x: Emitter, privilege: number): Value {
  const in64 = x.eq(x.state32(L.MODE), x.i32(MODE_64));
  const known = x.eq(x.state32(L.CODE_MODES + 4 * privilege), x.i32(MODE_64));
  const enabled = x.and(x.state32(L.EFER), x.i32(EFER_SCE));
  const odd = x.or(x.state32(L.INTERRUPT_PENDING), x.and(x.state32(L.EFLAGS), x.i32(UNUSUAL)));
  return x.and(x.and(in64, known), x.and(enabled, x.eqz(odd)));
}

/** The privilege, and what is kept for each: TLB, jump cache and its generation. */
export function enter(x: ArithmeticEmitter, privilege: number, cpl: number): void {
  const isUser = privilege === USER;
  x.setState32(L.CPL, x.i32(cpl));
  x.setState32(L.TLB, x.i32(isUser ? L.TLB_USER : L.TLB_SUPERVISOR));
  x.setState32(L.JUMP_CACHE, x.i32(isUser ? L.JUMP_USER : L.JUMP_SUPERVISOR));
  x.setState32(L.GENERATION, x.state32(L.CODE_GENERATIONS + 4 * privilege));
}

/** Base, limit and attributes of a flat segment, and its selector (i32). */
function setFlat(x: Emitter, segment: number, selector: Value, attributes: number): void {
  x.setState64(segment, x.i64(0));
  x.setState32(segment + L.SEG_LIMIT, x.i32(FLAT | 0));
  const low = x.and(selector, x.i32(0xffff));
  x.setState32(segment + L.SEG_SELECTOR, x.or(low, x.i32(attributes << 16)));
}

/** RFLAGS but for the status flags: those of `mask` (i32) as `image` has them. */
export function setOtherFlags(x: Emitter, image: Value, mask: Value): void {
  const others = x.and(mask, x.i32(FLAGS_ALL & ~FLAGS_STATUS));
  const kept = x.andNot(x.state32(L.EFLAGS), others);
  x.setState32(L.EFLAGS, x.or(x.or(kept, x.and(image, others)), x.i32(2)));
}

define('SYSCALL', { ends: true }, (x) => {
  x.if(isPlain(x, SUPERVISOR), () =>
    x.code.scope(() => {
      const masked = x.variable(x.or(x.state32(L.SFMASK), x.i32(FLAG_RF)));
      const status = x.variable(x.statusImage());
      const flags = x.or(x.state32(L.EFLAGS), status);
      x.setState64(R11, x.widen(x.andNot(flags, x.i32(FLAG_RF))));
      x.setState64(RCX, x.nextRip());
      x.setFlagsOf(x.variable(x.andNot(status, masked)));
      setOtherFlags(x, x.i32(0), masked);
      const selector = x.and(x.state32(L.STAR + 4), x.i32(0xfffc));
      setFlat(x, CS, selector, CODE64);
      setFlat(x, SS, x.add(selector, x.i32(8)), DATA);
      enter(x, SUPERVISOR, 0);
      x.flow.jump(x.state64(L.LSTAR));
    }),
  );
  x.system('syscall', []);
});

define('SYSRET', { ends: true }, (x) => {
  if (x.size === 64) {
    const image = x.variable(x.wrap(x.state64(R11)));
    const odd = x.or(x.state32(L.CPL), x.and(image, x.i32(UNUSUAL)));
    x.if(x.and(isPlain(x, USER), x.eqz(odd)), () =>
      x.code.scope(() => {
        x.setFlagsOf(image);
        setOtherFlags(x, image, x.i32(~(FLAG_RF | FLAG_VM)));
        const selector = x.shrU(x.state32(L.STAR + 4), x.i32(16));
        setFlat(x, CS, x.or(x.add(selector, x.i32(16)), x.i32(3)), CODE64 | DPL3);
        // Of SS the selector alone: what else it has is left as it was.
        const stack = x.or(x.add(selector, x.i32(8)), x.i32(3));
        x.code.store('i32.store16', x.cpu, stack, SS + L.SEG_SELECTOR);
        enter(x, USER, 3);
        x.flow.jump(x.state64(RCX));
      }),
    );
  }
  x.system('sysret', [x.i64(x.size >> 3)]);
});

define('SWAPGS', { modal: true }, (x) => {
  if (x.legacy) return void x.raise(VECTOR_UD);
  x.if(x.state32(L.CPL), () => x.raise(VECTOR_GP, 0));
  const base = L.segmentOffset(L.SEG.gs);
  const old = x.variable(x.state64(base));
  x.setState64(base, x.state64(L.KERNEL_GS_BASE));
  x.setState64(L.KERNEL_GS_BASE, old);
});
