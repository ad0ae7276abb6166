/**
 * What floating-point and vector instructions raise before they do anything, as one word of the
 * vCPU record: the emitted code tests it and finds nothing to do. Whoever changes CR0, CR4, the x87
 * status word or its control word recomputes it.
 *
 * Sources: AMD APM vol. 2, sections 3.1.1 (CR0.MP, EM, TS, NE), 3.1.3 (CR4.OSFXSR), table 8-1.
 * Inaccuracy: with CR0.NE clear a pending x87 exception is ignored (no FERR# to interrupt 13).
 */
export const TRAP = {
  /** SSE raises #UD. */
  sseUndefined: 1,
  /** SSE raises #NM. */
  sseUnavailable: 2,
  /** x87 raises #NM. */
  x87Unavailable: 4,
  /** MMX raises #UD. */
  mmxUndefined: 8,
  /** WAIT raises #NM. */
  waitUnavailable: 16,
  /** An unmasked x87 exception is pending: waiting instructions raise #MF. */
  x87Pending: 32,
} as const;

const CR0_MP = 1 << 1;
const CR0_EM = 1 << 2;
const CR0_TS = 1 << 3;
const CR0_NE = 1 << 5;
const CR4_OSFXSR = 1 << 9;
/** Exception summary in the x87 status word. */
const FSW_ES = 1 << 7;

export function fpuTraps(cr0: number, cr4: number, fsw: number): number {
  const emulated = (cr0 & CR0_EM) !== 0;
  const switched = (cr0 & CR0_TS) !== 0;
  let traps = 0;
  if (emulated || (cr4 & CR4_OSFXSR) === 0) traps |= TRAP.sseUndefined;
  if (switched) traps |= TRAP.sseUnavailable;
  if (emulated || switched) traps |= TRAP.x87Unavailable;
  if (emulated) traps |= TRAP.mmxUndefined;
  if (switched && (cr0 & CR0_MP) !== 0) traps |= TRAP.waitUnavailable;
  if ((cr0 & CR0_NE) !== 0 && (fsw & FSW_ES) !== 0) traps |= TRAP.x87Pending;
  return traps;
}
