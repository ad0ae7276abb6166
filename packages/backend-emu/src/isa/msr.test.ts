/** RDMSR and WRMSR: emitted code does what the system functions do, or leaves it to them. */
import type {
  CpuExtension,
  ExtensionVcpu,
  InterceptDetail,
  InterceptName,
  InterceptVerdict,
  MsrValue,
} from '@cloister/core';
import { msr } from '@cloister/core/cpu';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import type { JitMode } from '../jit/mode.js';

const CODE = { rdmsr: '0f32', wrmsr: '0f30' } as const;
const KEPT = 0xc0010130;
const OTHER = 0xc0010131;

/** Lets the accesses in `passed` proceed, `r` and `w` before the number, and refuses the others. */
class Keeper implements CpuExtension {
  readonly name = 'keeper';
  readonly msrs = [KEPT, OTHER];
  readonly keptMsr = KEPT;
  readonly intercepts = ['msr'] as const;
  asked = 0;

  constructor(
    private readonly passed: ReadonlySet<string>,
    /** Emitted code is not told what passes. */
    private readonly silent: boolean,
  ) {}

  #passes(direction: string, index: number): boolean {
    return this.passed.has(`${direction[0]}${index}`);
  }

  passesMsr(direction: 'read' | 'write', index: number): boolean {
    return !this.silent && this.#passes(direction, index);
  }

  readMsr(index: number, value: MsrValue, vcpu: ExtensionVcpu): 'ok' {
    [value.lo, value.hi] = index === KEPT ? [vcpu.keptMsr[0]!, vcpu.keptMsr[1]!] : [7, 8];
    return 'ok';
  }

  writeMsr(index: number, { lo, hi }: MsrValue, vcpu: ExtensionVcpu): 'ok' {
    if (index === KEPT) vcpu.keptMsr.set([lo, hi]);
    return 'ok';
  }

  intercept(
    _event: InterceptName,
    _vcpu: ExtensionVcpu,
    { direction, number }: InterceptDetail,
  ): InterceptVerdict {
    this.asked++;
    if (this.#passes(direction, number)) return { kind: 'proceed' };
    return { kind: 'exception', exception: { vector: 29, errorCode: 0x7c } };
  }
}

const indices = [msr.FS_BASE, msr.GS_BASE, msr.KERNEL_GS_BASE, KEPT, OTHER];
const start = fc.record({
  name: fc.constantFrom('rdmsr' as const, 'wrmsr' as const),
  index: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(...indices, KEPT, msr.GS_BASE) },
    { weight: 1, arbitrary: fc.constantFrom(msr.FS_BASE - 1, msr.TSC_AUX, 0, 0x7fff_ffff) },
  ),
  passed: fc
    .subarray(indices.flatMap((each) => [`r${each}`, `w${each}`]))
    .map((names) => new Set(names)),
  extended: fc.boolean(),
  intercepts: fc.boolean(),
  user: fc.constantFrom(false, false, false, true),
  traced: fc.constantFrom(false, false, false, true),
  pending: fc.constantFrom(false, false, false, true),
  value: fc.tuple(fc.integer(), fc.integer()),
});
type Start = typeof start extends fc.Arbitrary<infer T> ? T : never;

interface Seen {
  readonly calls: number;
  readonly state: unknown;
}

/** Three times in a loop, so that it comes to be part of a region. */
function run(from: Start, silent: boolean, jit: JitMode): Seen {
  const keeper = new Keeper(from.passed, silent);
  const t = new TestComputer('', jit, from.extended ? [keeper] : []).longMode();
  const { record, cpu, vcpu } = t;
  t.load(AT.code, `${CODE[from.name]}ebfc`);
  if (from.user) t.userMode();
  if (!from.extended && silent) record.setI32(L.MSR_RIGHTS, 0);
  if (from.extended && from.intercepts) cpu.extension.setIntercepts(new Set(['msr'] as const));
  const [lo, hi] = from.value;
  const high = hi | 0xdead;
  for (const [register, value] of [lo, from.index | 0, hi].entries()) {
    record.setPair(L.gprOffset(register), value, high);
  }
  record.setPair(L.segmentOffset(L.SEG.fs), 0x11223344, 0x7055);
  record.setPair(L.segmentOffset(L.SEG.gs), 0x55667788, -1);
  record.setPair(L.KERNEL_GS_BASE, 0x1234, 0x5678);
  cpu.extension.keptMsr.set([0x89abcdef, 0x01234567]);
  record.setPair(L.RIP, AT.code, 0);
  cpu.setEflags(from.traced ? 0x102 : 0x202, 0x3f7fd5);
  record.setI32(L.INTERRUPT_PENDING, from.pending ? 1 : 0);
  let calls = 0;
  const call = cpu.callSystem.bind(cpu);
  cpu.callSystem = (fn) => {
    calls++;
    return call(fn);
  };
  const end = vcpu.interpreter.run(5);
  const kept = [...cpu.extension.keptMsr];
  const fault = record.i32(L.FAULT_VECTOR);
  return { calls, state: [end, cpu.readState(), kept, fault, t.rip, vcpu.executed] };
}

describe('RDMSR and WRMSR', () => {
  it.each(['off', 'stress'] as const)('are what the functions do, --jit %s', (jit) => {
    let saved = 0;
    fc.assert(
      fc.property(start, (from) => {
        const emitted = run(from, false, jit);
        const called = run(from, true, jit);
        expect(emitted.state).toEqual(called.state);
        if (emitted.calls < called.calls) saved++;
      }),
      { numRuns: 80 },
    );
    expect(saved).toBeGreaterThan(3);
  });

  it('refuses a kept MSR that is not of the one extension that has it', () => {
    const foreign = { name: 'foreign', msrs: [], keptMsr: KEPT };
    const made =
      (...extensions: CpuExtension[]) =>
      () =>
        new TestComputer('', 'off', extensions);
    expect(made(foreign)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
    const first = { name: 'first', msrs: [KEPT], keptMsr: KEPT };
    const second = { name: 'second', msrs: [OTHER], keptMsr: OTHER };
    expect(made(first, second)).toThrow(expect.objectContaining({ code: 'plugin-conflict' }));
  });
});
