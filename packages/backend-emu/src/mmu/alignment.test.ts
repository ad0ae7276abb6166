/** Alignment checks: when they are made; what they ask of each form, the native tests show. */
import { describe, expect, it } from 'vitest';
import { FLAG_AC } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';

const RAX = L.gprOffset(0);
const RSP = L.gprOffset(4);
const CR0_AM = 1 << 18;
const AC = 17;
const handler = (vector: number) => AT.handlers + vector * 16;

/** mov eax, [rdi + 1]; nop in user mode. */
function program(code = '8b 47 01 90'): TestComputer {
  const t = new TestComputer().longMode().userMode().load(AT.code, code);
  t.record.setI32(L.CR0, t.record.i32(L.CR0) | CR0_AM);
  t.record.setPair(L.gprOffset(7), 0x40000, 0);
  for (const vector of [14, AC]) {
    t.longGate(vector);
    t.load(handler(vector), 'eb fe');
  }
  t.cpu.setEflags(FLAG_AC, FLAG_AC);
  t.cpu.modeChanged();
  return t;
}

describe('a misaligned access', () => {
  it('is #AC(0) in user mode with CR0.AM and RFLAGS.AC, and RFLAGS.AC stays set', () => {
    const t = program();
    t.run(1);
    expect(t.rip).toBe(handler(AC));
    const frame = [0, 8, 24].map((at) => t.u32(t.record.u32(RSP) + at));
    expect(frame.slice(0, 2)).toEqual([0, AT.code]);
    expect(frame[2] & FLAG_AC).toBe(FLAG_AC);
  });

  it('comes before a page fault', () => {
    const t = program();
    t.setU64(t.pte(0x40000), 0n);
    t.cpu.mmu.reconfigure();
    t.run(1);
    expect(t.rip).toBe(handler(AC));
  });

  it('comes in zeros that are written over zeros which nobody has written before', () => {
    const t = program('f3 48 ab 90'); // rep stosq
    t.record.setPair(L.gprOffset(1), 16, 0);
    t.record.setPair(L.gprOffset(7), 0x40001, 0);
    t.run(16);
    expect(t.rip).toBe(handler(AC));
    expect(t.record.lo(L.gprOffset(1))).toBe(16);
  });

  it.each([
    ['without CR0.AM', (t: TestComputer) => t.record.setI32(L.CR0, 0x80010033 | 0)],
    ['without RFLAGS.AC', (t: TestComputer) => t.cpu.setEflags(0, FLAG_AC)],
    ['at CPL 0', (t: TestComputer) => t.cpu.setCpl(0)],
  ])('is allowed %s', (_name, change) => {
    const t = program();
    t.view.setUint32(0x40001, 0x12345678, true);
    change(t);
    t.cpu.modeChanged();
    t.run(2);
    expect(t.rip).toBe(AT.code + 4);
    expect(t.record.u32(RAX)).toBe(0x12345678);
  });

  it('begins with the POPF that sets the flag, in the same run', () => {
    // pushfq; or dword [rsp], AC; popfq; mov eax, [rdi + 1]
    const t = program('9c 81 0c 24 00 00 04 00 9d 8b 47 01');
    t.cpu.setEflags(0, FLAG_AC);
    t.run(1000);
    expect(t.rip).toBe(handler(AC));
    expect(t.u32(t.record.u32(RSP) + 8)).toBe(AT.code + 9);
  });

  it('does not concern SGDT and SIDT', () => {
    // sgdt [rdi + 1]; sidt [rdi + 13]
    const t = program('0f 01 47 01 0f 01 4f 0d');
    t.run(2);
    expect(t.rip).toBe(AT.code + 8);
    expect([t.view.getUint16(0x40001, true), t.u64(0x40003)]).toEqual([0xff, BigInt(AT.gdt)]);
    expect([t.view.getUint16(0x4000d, true), t.u64(0x4000f)]).toEqual([0xfff, BigInt(AT.idt)]);
  });

  it.each([
    ['OUTSB', 'f3 6e', AT.code + 2],
    ['OUTSW', '66 f3 6f', handler(AC)],
    ['INSB', 'f3 6c', AT.code + 2],
    ['INSW', '66 f3 6d', handler(AC)],
  ])('goes by one item of %s, however many are moved', (_name, code, rip) => {
    const t = program(code);
    const iopl = 3 << 12;
    t.cpu.setEflags(iopl, iopl);
    t.record.setPair(L.gprOffset(1), 4, 0);
    t.record.setPair(L.gprOffset(6), 0x40001, 0);
    t.record.setPair(L.gprOffset(7), 0x40001, 0);
    t.run(4);
    expect(t.rip).toBe(rip);
    const moved = t.exits.map((exit) => exit.kind === 'io' && exit.size * exit.count);
    expect(moved).toEqual(rip === handler(AC) ? [] : [4]);
  });
});
