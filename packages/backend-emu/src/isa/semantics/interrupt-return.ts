/**
 * IRET. The usual return of a 64-bit kernel, to itself or to a 64-bit program, is emitted; it looks
 * at everything before it changes anything and leaves what is unusual to `system/iret.ts`: other
 * modes and privileges, tables that the TLB has not got, flags that change more than themselves, an
 * event that waits, an extension that asks.
 *
 * Source: AMD APM vol. 3, IRET; vol. 2, 8.9.3.
 */
import * as F from '../../cpu/flags.js';
import { interceptBit } from '../../cpu/intercept-bits.js';
import * as L from '../../cpu/layout.js';
import { MODE_64 } from '../../cpu/mode.js';
import { define } from '../define.js';
import type { Emitter, Label, Value } from '../emitter.js';
import * as D from './descriptor.js';
import { enter, SUPERVISOR, setOtherFlags, USER } from './fast-calls.js';

const CS = L.segmentOffset(L.SEG.cs);
const SS = L.segmentOffset(L.SEG.ss);
const RSP = 4;
/** The frame: RIP, CS, RFLAGS, RSP, SS, 8 bytes each. */
const FRAME = { rip: 0, cs: 8, flags: 16, rsp: 24, ss: 32, size: 40 } as const;
/** What may change at CPL 0, but for RF. */
const FLAGS = F.FLAGS_ALL & ~(F.FLAG_RF | F.FLAG_VM);
const KIND = D.S | D.CODE | D.P | D.DPL | D.ACCESSED;

/** Goes to `unusual` where what is around the return is. */
function requireUsual(x: Emitter, unusual: Label): void {
  x.code.brIf(x.ne(x.state32(L.MODE), x.i32(MODE_64)), unusual);
  const asked = x.and(x.state32(L.INTERCEPTED), x.i32(interceptBit('iret')));
  const flags = x.and(x.state32(L.EFLAGS), x.i32(F.FLAG_TF | F.FLAG_NT | F.FLAG_AC));
  const waits = [L.CPL, L.INTERRUPT_PENDING, L.NMI_BLOCKED, L.DEBUG_PENDING];
  const odd = waits.reduce((sum, field) => x.or(sum, x.state32(field)), x.or(asked, flags));
  x.code.brIf(odd, unusual);
}

/** Goes to `unusual` unless a user may keep what DS, ES, FS and GS hold. */
function requireOuterSegments(x: Emitter, unusual: Label): void {
  for (const index of [L.SEG.es, L.SEG.ds, L.SEG.fs, L.SEG.gs]) {
    const field = L.segmentOffset(index) + L.SEG_ATTRIBUTES;
    const rights = x.and(x.stateAs('i32.load16_u', field), x.i32(0xe0));
    // Present, and of an inner privilege.
    x.code.brIf(x.ltU(x.sub(rights, x.i32(0x80)), x.i32(0x60)), unusual);
  }
}

/** The descriptor of SS; of a null one at CPL 0 a stand-in that `loadStack` does not look at. */
function stackDescriptor(x: Emitter, ss: Value, cpl: Value, unusual: Label): D.Descriptor {
  const lo = x.variable(x.i32(0));
  const hi = x.variable(x.i32(0));
  x.if(x.or(ss, cpl), () => {
    x.code.brIf(x.ne(x.and(ss, x.i32(3)), cpl), unusual);
    const found = D.readDescriptor(x, ss, unusual);
    const expected = x.i32(D.S | D.WRITABLE | D.P | D.ACCESSED);
    const kind = x.and(found.hi, x.i32(KIND | D.WRITABLE));
    const level = x.shl(cpl, x.i32(D.DPL_SHIFT));
    x.code.brIf(x.ne(kind, x.or(expected, level)), unusual);
    x.set(lo, found.lo);
    x.set(hi, found.hi);
  });
  return { lo, hi };
}

function loadStack(x: Emitter, ss: Value, descriptor: D.Descriptor): void {
  x.if(
    ss,
    () => D.cacheSegment(x, SS, ss, descriptor),
    () => D.cacheNullStack(x),
  );
}

function returnUsual(x: Emitter, unusual: Label): void {
  requireUsual(x, unusual);
  const frame = x.known(x.gpr(RSP), FRAME.size, L.TLB_TAG_READ, unusual);
  const rip = x.code.load('i64.load', frame, FRAME.rip);
  const cs = x.code.load('i32.load16_u', frame, FRAME.cs);
  const image = x.code.load('i32.load', frame, FRAME.flags);
  const rsp = x.code.load('i64.load', frame, FRAME.rsp);
  const ss = x.code.load('i32.load16_u', frame, FRAME.ss);
  x.code.brIf(x.and(image, x.i32(F.FLAG_TF | F.FLAG_AC)), unusual);
  x.code.brIf(x.ne(x.signExtend48(rip), rip), unusual);
  const cpl = x.and(cs, x.i32(3));
  const user = x.and(cpl, x.i32(1));
  x.code.brIf(x.ne(user, x.shrU(cpl, x.i32(1))), unusual);
  const mode = x.code.load('i32.load', x.add(x.cpu, x.shl(user, x.i32(2))), L.CODE_MODES);
  x.code.brIf(x.ne(mode, x.i32(MODE_64)), unusual);
  x.if(user, () => requireOuterSegments(x, unusual));
  const code = D.readDescriptor(x, cs, unusual);
  const kind = x.and(code.hi, x.i32(KIND | D.CONFORMING | D.LONG | D.DB));
  const expected = x.i32(D.S | D.CODE | D.P | D.ACCESSED | D.LONG);
  x.code.brIf(x.ne(kind, x.or(expected, x.shl(cpl, x.i32(D.DPL_SHIFT)))), unusual);
  const stack = stackDescriptor(x, ss, cpl, unusual);
  // Nothing below fails.
  D.cacheSegment(x, CS, cs, code);
  loadStack(x, ss, stack);
  x.setGpr(RSP, rsp);
  x.setFlagsOf(image);
  setOtherFlags(x, image, x.i32(FLAGS));
  x.if(x.and(image, x.i32(F.FLAG_RF)), () =>
    x.setState64(L.RESUME_AT, x.add(x.executed(), x.i64(1))),
  );
  x.if(
    user,
    () => enter(x, USER, 3),
    () => enter(x, SUPERVISOR, 0),
  );
  x.flow.jump(rip);
}

define('IRET', { ends: true }, (x) => {
  if (x.size === 64) x.code.block((unusual) => x.code.scope(() => returnUsual(x, unusual)));
  x.system('iret', [x.i64(x.size >> 3)]);
});
