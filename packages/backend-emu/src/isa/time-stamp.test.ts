/** RDTSC and RDTSCP: emitted code tells the time that the system functions tell. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { interceptBit } from '../cpu/intercept-bits.js';
import * as L from '../cpu/layout.js';
import { TestComputer, type TestTime } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);

/** Pieces of a loop's body: both instructions, and what may stand between them. */
const PIECES = [
  // rdtsc; shl rdx,32; or rax,rdx; add r8,rax
  '0f31 48c1e220 4809d0 4901c0',
  // rdtscp; xor r9,rax; ror r9,7; add r9,rdx; add r10,rcx
  '0f01f9 4931c1 49c1c907 4901d1 4901ca',
  // rdtsc; test al,1; jz +3; inc r11
  '0f31 a801 7403 49ffc3',
  // call +0; pop rax
  'e800000000 58',
  // rdtsc; mov [rsp-64],rax
  '0f31 48894424c0',
  // cpuid changes rbx
  '0fa2',
  '90',
];

interface Program {
  readonly body: readonly string[];
  readonly rounds: number;
  readonly slices: readonly number[];
  readonly offset: bigint;
  readonly start: number;
  readonly aux: number;
}

const program: fc.Arbitrary<Program> = fc.record({
  body: fc.array(fc.constantFrom(...PIECES), { minLength: 1, maxLength: 8 }),
  rounds: fc.integer({ min: 1, max: 30 }),
  slices: fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1, maxLength: 8 }),
  offset: fc.bigInt(0n, 2n ** 64n - 1n),
  start: fc.oneof(fc.nat(1000), fc.constantFrom(2 ** 32 - 50, 2 ** 45)),
  aux: fc.nat(0xffff),
});

/** The state after each slice. */
function states(from: Program, jit: 'off' | 'stress', time: TestTime): unknown[] {
  const body = from.body.join('').replaceAll(' ', '');
  // dec r15; jnz to the beginning; jmp to itself
  const back = -(body.length / 2 + 9);
  const displacement = Buffer.from(Int32Array.of(back).buffer).toString('hex');
  const code = `${body}49ffcf0f85${displacement}ebfe`;
  const t = new TestComputer('', jit, [], time).longMode().load(AT.code, code);
  t.time.now = from.start;
  t.record.setU64(L.TSC_OFFSET, from.offset);
  t.record.setPair(L.TSC_AUX, from.aux, 0);
  t.record.setPair(L.gprOffset(15), from.rounds, 0);
  return from.slices.map((slice) => {
    t.run(slice);
    return [t.vcpu.executed, t.cpu.readState(), t.u64(AT.stack - 64)];
  });
}

describe('the time-stamp counter', () => {
  it.each(['off', 'stress'] as const)('is what a call would give, --jit %s', (jit) => {
    fc.assert(
      fc.property(program, (from) => {
        expect(states(from, jit, 'counted')).toEqual(states(from, 'off', 'asked'));
      }),
      { numRuns: 20 },
    );
  });

  it('is the count of the instruction, without a call', () => {
    const t = new TestComputer('', 'off', [], 'counted').longMode();
    t.load(AT.code, '90 90 0f31 90 0f01f9');
    t.record.setPair(L.TSC_OFFSET, 1000, 5);
    t.record.setPair(L.TSC_AUX, 77, 0);
    t.cpu.services.tsc.read = () => {
      throw new Error('the clock was asked');
    };
    t.run(3);
    expect([t.record.lo(RAX), t.record.lo(RDX)]).toEqual([1002, 5]);
    t.run(2);
    expect([t.record.lo(RAX), t.record.lo(RCX), t.record.lo(RDX)]).toEqual([1004, 77, 5]);
  });

  it.each([
    ['rdtsc', '0f31'],
    ['rdtscp', '0f01f9'],
  ] as const)('is left to an extension that intercepts %s', (event, code) => {
    const calls = (intercepted: number): number => {
      const t = new TestComputer('', 'off', [], 'counted').longMode().load(AT.code, code);
      t.record.setI32(L.INTERCEPTED, intercepted);
      let count = 0;
      t.cpu.callSystem = () => {
        count++;
        return 0;
      };
      t.run(1);
      return count;
    };
    expect(calls(interceptBit(event))).toBe(1);
    expect(calls(~interceptBit(event))).toBe(0);
  });

  it('asks for the privilege while CR4.TSD is set', () => {
    const t = new TestComputer('', 'off', [], 'counted').longMode().load(AT.code, '0f31');
    t.record.setPair(L.CR4, t.record.lo(L.CR4) | 4, 0);
    t.userMode();
    t.longGate(13);
    t.run(1);
    expect(t.rip).toBe(AT.handlers + 13 * 16);
    expect(t.record.lo(RAX)).toBe(0);
  });

  it('is not there without its feature', () => {
    const t = new TestComputer(',-rdtscp', 'off', [], 'counted').longMode().load(AT.code, '0f01f9');
    t.longGate(6);
    t.run(1);
    expect(t.rip).toBe(AT.handlers + 6 * 16);
  });
});
