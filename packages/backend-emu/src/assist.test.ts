/** The emulated processor as an assist: one instruction at a time, over memory of somebody else. */
import { type AssistedCpu, resetState, type VmExit } from '@cloister/core';
import { msr } from '@cloister/core/cpu';
import { describe, expect, it } from 'vitest';
import { emulatedAssist } from './assist.js';

const SIZE = 1 << 20;
const slot = (gpa: number, size: number, readOnly = false) => ({
  id: gpa,
  gpa,
  size,
  readOnly,
  name: 'ram',
  encryptable: false,
});

/** An assist whose guest has 64 KiB at 0, kept at 0x80000 of its memory, with `code` at 0x1000. */
function assistWith(code: readonly number[]) {
  const assist = emulatedAssist();
  const memory = assist.connect(SIZE);
  assist.place([slot(0, 0x10000)], (gpa) => (gpa < 0x10000 ? 0x80000 + gpa : -1));
  const guest = memory.subarray(0x80000, 0x90000);
  guest.set(code, 0x1000);
  const state = resetState();
  for (const name of ['cs', 'ds', 'es', 'ss'] as const) {
    state[name] = { selector: 0, base: 0n, limit: 0xffff, attributes: name === 'cs' ? 0x9b : 0x93 };
  }
  state.rip = 0x1000n;
  state.gpr.rsp = 0x8000n;
  state.cr4 = 0x200n;
  const fxsave = new Uint8Array(512);
  new DataView(fxsave.buffer).setUint16(0, 0x37f, true);
  new DataView(fxsave.buffer).setUint32(24, 0x1f80, true);
  const cpu: AssistedCpu = { state, fxsave, msrs: new Map([[msr.LSTAR, 0x1234_5678_9abcn]]) };
  const exits: VmExit[] = [];
  const step = () => assist.step(cpu, (exit) => void exits.push({ ...exit }));
  return { assist, cpu, guest, exits, step };
}

describe('an assisted instruction', () => {
  it('computes, and leaves the next one alone', () => {
    const { cpu, step } = assistWith([0xf3, 0x0f, 0xb8, 0xc1, 0x40]); // popcnt ax, cx; inc ax
    cpu.state.gpr.rcx = 0xf0f1n;
    expect(step()).toBe('done');
    expect(cpu.state.gpr.rax).toBe(9n);
    expect(cpu.state.rip).toBe(0x1004n);
    expect(cpu.msrs.get(msr.LSTAR)).toBe(0x1234_5678_9abcn);
  });

  it('has x87 and SSE state, and gives it back', () => {
    // fild word [0x2000]; movd xmm15's lower sibling: movd xmm1, eax
    const { cpu, guest, step } = assistWith([0xdf, 0x06, 0x00, 0x20, 0x66, 0x0f, 0x6e, 0xc8]);
    guest[0x2000] = 3;
    cpu.fxsave[160 + 15 * 16] = 0x5a;
    expect([step(), (cpu.state.gpr.rax = 0x01020304n) && step()]).toEqual(['done', 'done']);
    // 3.0 is 0x4000_c000…; the tag of its register says that it is there.
    expect([...cpu.fxsave.subarray(32, 42)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0x40]);
    expect(cpu.fxsave[4]).toBe(0x80);
    expect([...cpu.fxsave.subarray(176, 180)]).toEqual([4, 3, 2, 1]);
    expect(cpu.fxsave[160 + 15 * 16]).toBe(0x5a);
  });

  it('sees memory change between steps, and tells what it wrote', () => {
    const { assist, cpu, guest, step } = assistWith([0xf3, 0xa4]); // rep movsb
    guest.set([1, 2, 3], 0x3000);
    Object.assign(cpu.state.gpr, { rcx: 1n, rsi: 0x3000n, rdi: 0x5000n });
    assist.takeDirty();
    step();
    expect(guest[0x5000]).toBe(1);
    expect([...assist.takeDirty()]).toEqual([5]);
    guest.set([0x90], 0x1000);
    cpu.state.rip = 0x1000n;
    step();
    expect(cpu.state.rip).toBe(0x1001n);
  });

  it('delivers what it raises, and exits', () => {
    const { cpu, guest, exits, step } = assistWith([0xcc]);
    guest.set([0x00, 0x20, 0x00, 0x00], 3 * 4);
    step();
    expect(cpu.state.rip).toBe(0x2000n);
    expect(cpu.state.gpr.rsp).toBe(0x7ffan);
    guest.set([0xe4, 0x60], 0x2000); // in al, 0x60
    step();
    expect(exits).toMatchObject([{ kind: 'io', direction: 'in', port: 0x60 }]);
  });

  it('follows slots that move', () => {
    const { assist, cpu, guest, step } = assistWith([0xa0, 0x00, 0x40]); // mov al, [0x4000]
    assist.place([slot(0, 0x4000), slot(0x4000, 0x1000)], (gpa) =>
      gpa < 0x4000 ? 0x80000 + gpa : 0x85000 + gpa - 0x4000,
    );
    guest[0x5000] = 0x77;
    step();
    expect(cpu.state.gpr.rax & 0xffn).toBe(0x77n);
  });

  it('belongs to one VM', () => {
    const { assist } = assistWith([]);
    expect(() => assist.connect(SIZE)).toThrow('belongs to another VM');
  });
});
