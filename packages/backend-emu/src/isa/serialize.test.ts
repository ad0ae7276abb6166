/** SERIALIZE: where it is an instruction, and what is executed behind it. */
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

const SERIALIZE = '0f01e8';
const VECTOR_UD = 6;
const undefinedAt = AT.handlers + VECTOR_UD * 16;

function long(code: string, features = ''): TestComputer {
  const t = new TestComputer(features, 'off').longMode().load(AT.code, code);
  t.longGate(VECTOR_UD);
  return t;
}

describe('SERIALIZE', () => {
  it.each(['', '48', '67', '2e', '65'])('is allowed behind "%s"', (prefix) => {
    const t = long(prefix + SERIALIZE);
    t.run(1);
    expect(t.rip).toBe(AT.code + prefix.length / 2 + 3);
  });

  // Intel SDM vol. 2: LOCK is #UD, and 66, F2 and F3 belong to other instructions.
  it.each(['66', 'f2', 'f3', 'f0'])('is none behind %s', (prefix) => {
    const t = long(prefix + SERIALIZE);
    t.run(1);
    expect(t.rip).toBe(undefinedAt);
  });

  it('is none without its feature', () => {
    const t = long(SERIALIZE, ',-serialize');
    t.run(1);
    expect(t.rip).toBe(undefinedAt);
  });

  it('needs no privilege', () => {
    const t = long(SERIALIZE).userMode();
    t.run(1);
    expect(t.rip).toBe(AT.code + 3);
  });

  it('is there in 32-bit and in real mode', () => {
    const t = new TestComputer('', 'off').protectedMode().load(AT.code, SERIALIZE);
    t.run(1);
    expect(t.rip).toBe(AT.code + 3);
    const real = new TestComputer('', 'off').load(AT.code, SERIALIZE);
    real.record.setPair(L.segmentOffset(L.SEG.cs), 0, 0);
    real.record.setPair(L.RIP, AT.code, 0);
    real.cpu.modeChanged();
    real.run(1);
    expect(real.rip).toBe(AT.code + 3);
  });

  it('is followed by its single-step trap', () => {
    const t = long(`${SERIALIZE}90`);
    t.longGate(1);
    t.cpu.setEflags(0x100, 0x100);
    t.run(1);
    expect(t.rip).toBe(AT.handlers + 16);
    // The frame shows what comes next.
    expect(t.u64(t.record.lo(L.gprOffset(4)))).toBe(BigInt(AT.code + 3));
  });

  it.each(['off', 'on', 'stress'] as const)('is followed by code as it is now, --jit %s', (jit) => {
    // Each round stores AL to the next instruction's immediate, and adds that up.
    const store = '880506000000';
    const added = '4883c300';
    const code = `${store}${SERIALIZE}${added}fec0ffc975edebfe`;
    const t = new TestComputer('', jit).longMode().load(AT.code, code);
    t.record.setPair(L.gprOffset(0), 1, 0);
    t.record.setPair(L.gprOffset(1), 100, 0);
    t.run(700);
    expect(t.record.u64(L.gprOffset(3))).toBe(5050n);
  });
});
