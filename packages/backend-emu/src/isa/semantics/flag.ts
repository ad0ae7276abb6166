/**
 * Instructions on RFLAGS. AMD APM vol. 3, chapter 3 (CLC, CLD, CMC, STC, STD, PUSHF, POPF) and
 * chapter 4 (CLAC, CLI, STAC, STI).
 */
import * as L from '../../cpu/layout.js';
import { define } from '../define.js';

const DF = 1 << 10;
const IF = 1 << 9;
const AC = 1 << 18;
const SMAP = 1 << 21;
const STATUS = 0x8d5;
const TF = 1 << 8;
const VM = 1 << 17;
const IOPL = 3 << 12;

define('CLC', {}, (x) => x.setCarry(x.i32(0)));
define('STC', {}, (x) => x.setCarry(x.i32(1)));
define('CMC', {}, (x) => x.setCarry(x.eqz(x.flag('CF'))));

define('CLD', {}, (x) => {
  x.setState32(L.EFLAGS, x.and(x.state32(L.EFLAGS), x.i32(~DF)));
});

define('STD', {}, (x) => {
  x.setState32(L.EFLAGS, x.or(x.state32(L.EFLAGS), x.i32(DF)));
});

define('CLI', { hot: true }, (x) => {
  x.if(
    x.eqz(x.state32(L.CPL)),
    () => x.setState32(L.EFLAGS, x.and(x.state32(L.EFLAGS), x.i32(~IF))),
    () => x.system('cli', []),
  );
});

define('STI', { hot: true }, (x) => {
  const flags = x.state32(L.EFLAGS);
  const simple = x.eqz(x.or(x.state32(L.CPL), x.state32(L.INTERRUPT_PENDING)));
  x.if(
    simple,
    () => {
      // The shadow covers the next instruction if IF was clear.
      x.if(x.eqz(x.and(flags, x.i32(IF))), () => {
        x.setState32(L.EFLAGS, x.or(flags, x.i32(IF)));
        x.setState64(L.SHADOW_RIP, x.nextRip());
      });
    },
    () => x.system('sti', []),
  );
});

/** With SMAP, EFLAGS.AC chooses among the TLBs of supervisor accesses. */
for (const [name, on] of [
  ['STAC', true],
  ['CLAC', false],
] as const) {
  define(name, { ends: true, modal: true }, (x) => {
    x.if(x.state32(L.CPL), () => x.raise(6));
    const flags = x.state32(L.EFLAGS);
    x.setState32(L.EFLAGS, on ? x.or(flags, x.i32(AC)) : x.and(flags, x.i32(~AC)));
    const smap = x.and(x.state32(L.CR4), x.i32(SMAP));
    const open = x.i32(on ? L.TLB_OVERRIDE : L.TLB_SUPERVISOR);
    x.setState32(L.TLB, x.code.select(smap, open, x.i32(L.TLB_SUPERVISOR)));
    x.flow.jump(x.nextRip());
  });
}

define('PUSHF', { modal: true, hot: true }, (x) => {
  if (!x.legacy) {
    // RF and VM are pushed as zero.
    const image = x.and(x.eflags(), x.i32(~((1 << 16) | VM)));
    x.push(x.widen(image));
    return;
  }
  x.system('pushf', []);
  x.push(x.systemResult());
});

define('POPF', { modal: true, hot: true }, (x) => {
  const image = x.top();
  const flags = x.state32(L.EFLAGS);
  // Anything but status flags, DF and IF, any privilege but 0, single-stepping, and an interrupt
  // that would now be let in are left to the system function.
  const others = x.size === 16 ? 0x7100 : 0x277100;
  const changed = x.and(x.xor(flags, x.wrap(image)), x.i32(others));
  const enables = x.ne(x.and(x.wrap(image), x.i32(IF)), x.i32(0));
  const admits = x.and(enables, x.state32(L.INTERRUPT_PENDING));
  const modes = x.or(x.state32(L.CPL), x.and(flags, x.i32(TF | VM)));
  const slow = x.rarely(x.or(x.or(changed, admits), modes));
  if (x.legacy) {
    // In virtual-8086 mode the privilege is checked before the pointer moves.
    const guarded = x.and(flags, x.i32(VM | IOPL));
    x.if(x.and(guarded, x.i32(VM)), () => {
      x.if(x.ne(guarded, x.i32(VM | IOPL)), () => x.raise(13, 0));
    });
  }
  x.popped(x.size >> 3);
  x.if(
    slow,
    () => x.system('popf', [image, x.i64(x.size >> 3)]),
    () => {
      const keep = x.and(flags, x.i32(~(DF | IF)));
      const take = x.and(x.wrap(image), x.i32(DF | IF));
      x.setState32(L.EFLAGS, x.or(keep, take));
      x.setStatus(x.wrap(image), STATUS);
    },
  );
});
