/** Register windows: what is saved is what is loaded, and nothing that is loaded is an error. */
import { REGISTER_WINDOW, REGISTER_WINDOW_SIZE } from '@cloister/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, SEL } from '../cpu/test-processor.js';

const W = REGISTER_WINDOW;

function computer(): TestComputer {
  const t = new TestComputer();
  t.longMode();
  return t;
}

function saved(t: TestComputer): Uint8Array {
  const window = new Uint8Array(REGISTER_WINDOW_SIZE);
  t.cpu.extension.saveRegisters(window);
  return window;
}

describe('a register window', () => {
  it('has no two fields in one place, and all within its size', () => {
    const used = new Uint8Array(REGISTER_WINDOW_SIZE);
    for (const [name, { offset, size }] of Object.entries(W)) {
      expect(offset % Math.min(size, 8), name).toBe(0);
      const place = used.subarray(offset, offset + size);
      expect([name, place.length, place.every((byte) => byte === 0)]).toEqual([name, size, true]);
      place.fill(1);
    }
  });

  it('holds what the registers hold, where the table says', () => {
    const t = computer();
    const { record } = t.cpu;
    record.setU64(L.gprOffset(13), 0x1122334455667788n);
    record.setU64(L.LSTAR, 0xffffffff81000000n);
    record.setU64(L.XMM + 16 * 15 + 8, 0x99aabbccddeeff00n);
    record.setU16(L.FCW, 0x37f);
    const view = new DataView(saved(t).buffer);
    expect(view.getBigUint64(W.r13.offset, true)).toBe(0x1122334455667788n);
    expect(view.getBigUint64(W.rip.offset, true)).toBe(BigInt(AT.code));
    expect(view.getBigUint64(W.lstar.offset, true)).toBe(0xffffffff81000000n);
    expect(view.getBigUint64(W.xmm.offset + 248, true)).toBe(0x99aabbccddeeff00n);
    expect(view.getUint16(W.cs.offset, true)).toBe(SEL.code64);
    expect(view.getUint16(W.cs.offset + 2, true)).toBe(0xa9b);
    expect(view.getUint32(W.cs.offset + 4, true)).toBe(0xffffffff);
    expect(view.getBigUint64(W.gdtr.offset + 8, true)).toBe(BigInt(AT.gdt));
    expect(view.getUint32(W.gdtr.offset + 4, true)).toBe(0xff);
    expect(view.getBigUint64(W.cr3.offset, true)).toBe(BigInt(AT.tables));
    expect(view.getBigUint64(W.efer.offset, true)).toBe(0xd01n);
    expect(view.getUint16(W.fcw.offset, true)).toBe(0x37f);
    expect(view.getBigUint64(W.pat.offset, true)).toBe(0x0007040600070406n);
  });

  it('brings everything back after the registers were cleared', () => {
    const t = computer();
    const noise = fc.sample(fc.uint8Array({ minLength: 0x80, maxLength: 0x80 }), { seed: 5 })[0]!;
    t.cpu.record.bytes.set(noise, L.GPR);
    t.cpu.record.bytes.set(noise, L.XMM);
    t.cpu.record.bytes.set(noise.subarray(0, 10), L.ST);
    t.cpu.record.setEflags(0x8d5);
    const before = saved(t);
    t.cpu.extension.clearRegisters();
    const cleared = saved(t);
    expect(cleared.subarray(8, 0x80).filter((byte) => byte !== 0).length).toBeLessThan(5);
    expect(t.cpu.record.bytes.subarray(L.XMM, L.ST).every((byte) => byte === 0)).toBe(true);
    t.cpu.extension.loadRegisters(before);
    expect(saved(t)).toEqual(before);
  });

  it('keeps translations over a switch that changes nothing they depend on', () => {
    const t = computer().load(AT.code, 'a1 00 00 07 00 00 00 00 00 90 90');
    t.run(2);
    const fills = t.cpu.mmu.tlb.fills;
    const window = saved(t);
    t.cpu.extension.clearRegisters();
    t.cpu.extension.loadRegisters(window);
    t.record.setPair(L.RIP, AT.code, 0);
    t.run(2);
    expect(t.cpu.mmu.tlb.fills).toBe(fills);
    const other = window.slice();
    new DataView(other.buffer).setBigUint64(W.cr3.offset, BigInt(AT.tables) | 8n, true);
    t.cpu.extension.clearRegisters();
    t.cpu.extension.loadRegisters(other);
    t.record.setPair(L.RIP, AT.code, 0);
    t.run(2);
    expect(t.cpu.mmu.tlb.fills).toBeGreaterThan(fills);
  });

  it('of any bytes can be loaded and run, and what is saved then loads as the same', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: REGISTER_WINDOW_SIZE, maxLength: REGISTER_WINDOW_SIZE }),
        fc.subarray(['cr0', 'cr3', 'cr4', 'efer', 'rip', 'rflags', 'cs', 'idtr'] as const),
        (bytes, kept) => {
          const t = computer();
          const window = Uint8Array.from(bytes);
          const usual = saved(t);
          for (const name of kept) {
            const { offset, size } = W[name];
            window.set(usual.subarray(offset, offset + size), offset);
          }
          t.cpu.extension.loadRegisters(window);
          const now = saved(t);
          t.cpu.extension.loadRegisters(now);
          expect(saved(t)).toEqual(now);
          t.run(20);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('of another size is refused', () => {
    const small = new Uint8Array(8);
    expect(() => computer().cpu.extension.saveRegisters(small)).toThrow('a register window has');
  });
});
