/** The vCPU's loop: what is taken between two instructions, and that slices come to their end. */
import { describe, expect, it } from 'vitest';
import { FLAG_TF } from './cpu/flags.js';
import * as L from './cpu/layout.js';
import { TestComputer } from './cpu/test-computer.js';
import { AT } from './cpu/test-processor.js';

const RSP = L.gprOffset(4);
const DB = 1;
const NMI = 2;
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

describe('what comes while a traced instruction runs', () => {
  /** Ports written: out 80h, al is single-stepped, and `come` happens in its exit. */
  function stepped(come: (t: TestComputer) => void): [TestComputer, ports: number[]] {
    const t = program('e6 80').load(handler(DB), 'e6 81 eb fe').load(handler(NMI), 'eb fe');
    for (const vector of [DB, NMI]) t.longGate(vector);
    t.record.setEflags(FLAG_TF, FLAG_TF);
    t.onExit = () => come(t);
    t.run(1000);
    return [t, t.exits.map((exit) => (exit.kind === 'io' ? exit.port : -1))];
  }

  it('an NMI is taken before the first instruction of the handler', () => {
    const [t, ports] = stepped(({ cpu }) => cpu.nmi());
    expect(ports).toEqual([0x80]);
    expect(t.rip).toBe(handler(NMI));
    expect(t.u64(t.record.u32(RSP))).toBe(BigInt(handler(DB)));
  });

  it('an INIT is not put off', () => {
    const [t, ports] = stepped(({ cpu }) => cpu.init());
    expect(ports).toEqual([0x80]);
    expect(t.record.i32(L.CR0) & 1).toBe(0);
  });
});
