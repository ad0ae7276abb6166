/** LSL in 64-bit mode: emitted code does what the system function does, or leaves it to that. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, SEL } from '../cpu/test-processor.js';
import type { JitMode } from '../jit/mode.js';

/** By operand size. */
const LSL = { 16: '660f03c1', 32: '0f03c1', 64: '480f03c1' } as const;
const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const ROUNDS = 4;
const SELECTORS = Object.values(SEL);

/** Mostly the first of them. */
function usually<T>(first: T, ...others: T[]): fc.Arbitrary<T> {
  const rare = fc.constantFrom(...others);
  return fc.oneof({ weight: 4, arbitrary: fc.constant(first) }, { weight: 1, arbitrary: rare });
}

const start = fc.record({
  size: fc.constantFrom<16 | 32 | 64>(16, 32, 64),
  selector: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...SELECTORS) },
    { weight: 4, arbitrary: fc.constantFrom(...SELECTORS).map((each) => each | 3) },
    { weight: 1, arbitrary: fc.nat(0xffff) },
  ),
  mode: usually('kernel', 'user', 'protected'),
  flags: fc.constantFrom(0x2, 0x42, 0x8d7, 0x895, 0x40002),
  limit: usually(0xff, 0x2e, 7),
  warm: usually(true, false),
  /** Then the GDT cannot be read: its page is one of programs. */
  smap: usually(false, true),
});
type Start = typeof start extends fc.Arbitrary<infer T> ? T : never;

/** In a loop, so that it comes to be part of a region. */
function prepared(from: Start, jit: JitMode): TestComputer {
  const code = LSL[from.mode === 'protected' ? 32 : from.size];
  const back = (0x100 - code.length / 2 - 2).toString(16);
  const t = new TestComputer('', jit).load(AT.code, `${code}eb${back}`);
  if (from.mode === 'protected') t.protectedMode();
  else t.longMode();
  if (from.mode === 'user') t.userMode();
  const { record, cpu } = t;
  record.setU64(RAX, 0xfedc_ba98_7654_3210n);
  record.setPair(RCX, from.selector, 0x1111);
  record.setI32(L.GDTR + 8, from.limit);
  if (from.smap) record.setPair(L.CR4, record.lo(L.CR4) | (1 << 21), 0);
  cpu.mmu.reconfigure();
  cpu.setEflags(from.flags, 0x3f7fd5);
  record.setPair(L.RIP, AT.code, 0);
  if (from.warm) cpu.mmu.translate(AT.gdt, 0, 0, 0);
  return t;
}

describe('LSL', () => {
  it.each(['off', 'stress'] as const)('is what the function gives, --jit %s', (jit) => {
    let withoutCall = 0;
    fc.assert(
      fc.property(start, (from) => {
        const run = (slices: number): unknown => {
          const t = prepared(from, jit);
          const { record, cpu, vcpu } = t;
          let calls = 0;
          const call = cpu.callSystem.bind(cpu);
          cpu.callSystem = (fn) => {
            calls++;
            return call(fn);
          };
          let end = '';
          for (let i = 0; i < slices && end !== 'fault'; i++) {
            // Without the descriptor in the TLB the function is called.
            if (slices > 1) cpu.mmu.tlb.flushAll();
            end = vcpu.interpreter.run((ROUNDS * 2) / slices);
          }
          if (slices > 1) expect(calls).toBe(end === 'fault' ? 1 : ROUNDS);
          else if (calls === 0) withoutCall++;
          return [end, record.u64(RAX), record.eflags(), t.rip, record.i32(L.FAULT_VECTOR)];
        };
        expect(run(1)).toEqual(run(ROUNDS * 2));
      }),
      { numRuns: 80 },
    );
    expect(withoutCall).toBeGreaterThan(4);
  });
});
