/** The word of traps by control registers and status word. */
import { describe, expect, it } from 'vitest';
import { fpuTraps, TRAP } from './traps.js';

describe('fpuTraps', () => {
  const OSFXSR = 1 << 9;
  const MP = 2;
  const EM = 4;
  const TS = 8;
  const NE = 32;

  it('lets everything through in the steady state', () => {
    expect(fpuTraps(NE | MP, OSFXSR, 0)).toBe(0);
  });

  it('follows CR0 and CR4', () => {
    expect(fpuTraps(NE, 0, 0)).toBe(TRAP.sseUndefined);
    expect(fpuTraps(TS, OSFXSR, 0)).toBe(TRAP.sseUnavailable | TRAP.x87Unavailable);
    expect(fpuTraps(TS | MP, OSFXSR, 0) & TRAP.waitUnavailable).toBe(TRAP.waitUnavailable);
    expect(fpuTraps(EM, OSFXSR, 0)).toBe(
      TRAP.sseUndefined | TRAP.x87Unavailable | TRAP.mmxUndefined,
    );
  });

  it('reports a pending exception only with NE', () => {
    expect(fpuTraps(NE, OSFXSR, 0x80)).toBe(TRAP.x87Pending);
    expect(fpuTraps(0, OSFXSR, 0x80)).toBe(0);
  });
});
