/** RDPKRU: emitted code reads the rights by itself, and leaves every refusal to the function. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import type { JitMode } from '../jit/mode.js';
import { systemFunctions } from '../system/functions.js';
import { FAULT } from '../system/outcome.js';

const [RAX, RCX, RDX] = [0, 1, 2].map(L.gprOffset);
const PKE = 1 << 22;
const { rdpkru } = systemFunctions;

const start = fc.record({
  enabled: fc.constantFrom(true, true, true, false),
  user: fc.boolean(),
  legacy: fc.boolean(),
  pkru: fc.integer(),
  ecx: fc.constantFrom(0, 0, 0, 1, -1),
  high: fc.integer(),
});
type Start = typeof start extends fc.Arbitrary<infer T> ? T : never;

interface Prepared {
  readonly t: TestComputer;
  /** Calls of the system function. */
  readonly calls: () => number;
}

/** The instruction in a loop, so that it comes to be part of a region. */
function prepared(from: Start, jit: JitMode): Prepared {
  const t = new TestComputer('', jit);
  if (from.legacy) t.protectedMode();
  else t.longMode();
  t.load(AT.code, '0f01ee ebfb');
  t.call('movToCr', 4, from.enabled ? t.record.i32(L.CR4) | PKE : t.record.i32(L.CR4));
  if (from.user) t.userMode();
  const { record, cpu } = t;
  for (const [index, value] of [0x11, from.ecx, 0x22].entries()) {
    record.setPair(L.gprOffset(index), value, from.legacy ? 0 : from.high);
  }
  cpu.setPkru(from.pkru);
  record.setPair(L.RIP, AT.code, 0);
  let calls = 0;
  const call = cpu.callSystem.bind(cpu);
  cpu.callSystem = (fn) => {
    if (fn === rdpkru) calls++;
    return call(fn);
  };
  return { t, calls: () => calls };
}

describe('RDPKRU', () => {
  it.each(['off', 'stress'] as const)('is what the function gives, --jit %s', (jit) => {
    fc.assert(
      fc.property(start, (from) => {
        const { t, calls } = prepared(from, jit);
        const { t: called } = prepared(from, 'off');
        const refused = called.cpu.callSystem(rdpkru) === FAULT;
        expect(refused).toBe(!from.enabled || from.ecx !== 0);
        // Three turns.
        expect(t.vcpu.interpreter.run(6)).toBe(refused ? 'fault' : 'deadline');
        expect(calls()).toBe(refused ? 1 : 0);
        expect(t.vcpu.executed).toBe(refused ? 0 : 6);
        for (const register of [RAX, RCX, RDX]) {
          expect(t.record.u64(register)).toBe(called.record.u64(register));
        }
        if (refused) expect(t.fault).toEqual(called.fault);
      }),
      { numRuns: 60 },
    );
  });
});
