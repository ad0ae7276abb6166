/**
 * RDPKRU and WRPKRU.
 *
 * Source: AMD APM vol. 2, 5.6.7 (memory protection keys); vol. 3, RDPKRU, WRPKRU.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR4_PKE, VECTOR_UD } from '../cpu/registers.js';
import { NEXT, type Outcome } from './outcome.js';

const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);

function requireKeys(cpu: Processor): void {
  if ((cpu.record.i32(L.CR4) & CR4_PKE) === 0) cpu.raise(VECTOR_UD);
  if (cpu.record.i32(RCX) !== 0) cpu.gp();
}

/** RDPKRU: ECX 0 → EAX, EDX 0. */
export function rdpkru(cpu: Processor): Outcome {
  requireKeys(cpu);
  const { record } = cpu;
  record.setPair(RAX, record.i32(L.PKRU), 0);
  record.setPair(RDX, 0, 0);
  return NEXT;
}

/** WRPKRU: ECX 0, EDX 0, EAX the value. */
export function wrpkru(cpu: Processor): Outcome {
  requireKeys(cpu);
  if (cpu.record.i32(RDX) !== 0) cpu.gp();
  cpu.setPkru(cpu.record.i32(RAX));
  return NEXT;
}
