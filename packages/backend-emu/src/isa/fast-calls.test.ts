/** SYSCALL, SYSRET and SWAPGS as emitted code and as system functions do the same. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

const { rcx, r11 } = { rcx: L.gprOffset(1), r11: L.gprOffset(11) };
const CODE = { syscall: '0f05', sysret: '480f07', swapgs: '0f01f8' } as const;
type Name = keyof typeof CODE;

/** What both begin with. */
interface Start {
  readonly enabled: boolean;
  readonly user: boolean;
  readonly flags: number;
  readonly mask: number;
  readonly returned: number;
  readonly selectors: number;
  readonly pending: boolean;
  /** The other privilege was in use before. */
  readonly seen: boolean;
}

const start: fc.Arbitrary<Start> = fc.record({
  enabled: fc.constantFrom(true, true, true, false),
  user: fc.boolean(),
  flags: fc.constantFrom(0x2, 0x202, 0x246, 0xcd7, 0x40202, 0x3202),
  mask: fc.oneof(fc.constant(0x257fd5), fc.integer()),
  returned: fc.oneof(fc.constantFrom(0x202, 0x246, 0x40202, 0x102), fc.integer()),
  selectors: fc.integer(),
  pending: fc.boolean(),
  seen: fc.constantFrom(true, true, true, false),
});

function prepared(name: Name, from: Start): TestComputer {
  const t = new TestComputer('', 'off').longMode().load(AT.code, CODE[name]);
  if (from.seen) t.userMode();
  if (from.seen && !from.user) t.longMode();
  if (from.user) t.userMode();
  const { record } = t;
  record.setPair(L.EFER, from.enabled ? 0xd01 : 0xd00, 0);
  record.setEflags(from.flags);
  record.setPair(L.SFMASK, from.mask, 0);
  record.setPair(L.STAR, 0, from.selectors);
  record.setPair(L.LSTAR, AT.handlers, 0);
  record.setPair(rcx, AT.userCode, 0);
  record.setPair(r11, from.returned, 0);
  record.setPair(L.KERNEL_GS_BASE, 0x1234, 0x5678);
  record.setI32(L.INTERRUPT_PENDING, from.pending ? 1 : 0);
  record.setPair(L.NEXT_RIP, AT.code + CODE[name].length / 2, 0);
  return t;
}

/** All that can be seen, and what emitted code goes by. */
function seen(t: TestComputer): unknown {
  const { record } = t;
  const words = [L.CPL, L.TLB, L.JUMP_CACHE, L.MODE, L.FAULT_VECTOR, L.FAULT_ERROR];
  return {
    state: t.cpu.readState(),
    eflags: record.eflags(),
    words: words.map((offset) => record.i32(offset)),
    current:
      record.i32(L.GENERATION) === record.i32(L.CODE_GENERATIONS + (t.cpu.cpl === 3 ? 4 : 0)),
  };
}

describe.each(Object.keys(CODE) as Name[])('%s', (name) => {
  it('does the same as emitted code and as a function', () => {
    fc.assert(
      fc.property(start, (from) => {
        const emitted = prepared(name, from);
        // Without the vCPU's loop around it: what a fault or a trap leads to is not asked.
        const end = emitted.vcpu.interpreter.run(1);
        const called = prepared(name, from);
        const outcome = called.call(name, 8);
        if (outcome === 0) called.cpu.completed();
        expect(end === 'fault').toBe(outcome === 1);
        expect(seen(emitted)).toEqual(seen(called));
      }),
      { numRuns: 60 },
    );
  });
});
