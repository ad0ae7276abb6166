/** The vCPU's loop: a slice comes to its end, whatever the guest does. */
import { describe, expect, it } from 'vitest';
import * as L from './cpu/layout.js';
import { TestComputer } from './cpu/test-computer.js';
import { AT } from './cpu/test-processor.js';

const DB = 1;
const UD = 6;
const PF = 14;
const handler = (vector: number) => AT.handlers + vector * 16;

/** 64-bit mode, where each of `vectors` begins on the same stack. */
function program(code: string, ...vectors: readonly number[]): TestComputer {
  const t = new TestComputer().longMode().load(AT.code, code);
  for (const vector of vectors) t.longGate(vector, { ist: 1 });
  return t;
}

// Without the count these would not fail but run for ever.
describe('a handler that never gets to run', () => {
  it('begins with an undefined opcode', () => {
    const t = program('90 0f 0b', UD).load(handler(UD), '0f 0b');
    expect(t.run(100)).toBe('slice');
    expect([t.vcpu.executed, t.rip]).toEqual([100, handler(UD)]);
  });

  it('lies in a page that is not present', () => {
    const t = program('a0 00 00 04 00 00 00 00 00', PF); // mov al, [40000h]
    for (const page of [0x40000, AT.handlers]) t.setU64(t.pte(page), 0n);
    t.cpu.mmu.reconfigure();
    expect(t.run(100)).toBe('slice');
    expect([t.vcpu.executed, t.rip]).toEqual([100, handler(PF)]);
  });

  it('has a breakpoint on its first instruction', () => {
    const t = program('90', DB).load(handler(DB), 'eb fe');
    t.record.setPair(L.DR, handler(DB), 0);
    t.record.setPair(L.DR + 56, 0x401, 0);
    t.record.setPair(L.RIP, handler(DB), 0);
    t.cpu.breakpointsChanged();
    expect(t.run(100)).toBe('slice');
    expect([t.vcpu.executed, t.rip]).toEqual([100, handler(DB)]);
  });
});
