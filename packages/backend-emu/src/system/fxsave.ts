/**
 * FXSAVE and FXRSTOR: the 512-byte image of x87, MMX and SSE state.
 *
 * Source: AMD APM vol. 2, 11.4.4; vol. 3, FXSAVE, FXRSTOR.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR0_EM, CR0_TS, VECTOR_AC, VECTOR_NM } from '../cpu/registers.js';
import * as I from './fpu-image.js';
import { requireCanonical } from './operand-address.js';
import { NEXT, type Outcome } from './outcome.js';

/**
 * What comes first: #NM, then the canonical address, then the alignment: #AC where that is asked
 * for and the address is no multiple of 4, else #GP. APM vol. 3, FXSAVE, lists both; which of them
 * was found on processors.
 */
function begin(cpu: Processor): void {
  const { record, mmu } = cpu;
  if ((record.i32(L.CR0) & (CR0_EM | CR0_TS)) !== 0) cpu.raise(VECTOR_NM);
  requireCanonical(cpu);
  if ((record.lo(L.ARG0) & 15) === 0) return;
  if ((record.lo(L.ARG0) & 3) !== 0 && cpu.cpl === 3 && mmu.aligned) cpu.raise(VECTOR_AC, 0);
  cpu.gp();
}

/** What comes before the rest of the segment's limit; ARG0 the linear address. */
export function fxsaveOrder(cpu: Processor): Outcome {
  begin(cpu);
  return NEXT;
}

function placeOf({ record }: Processor): I.Place {
  return { lo: record.lo(L.ARG0), hi: record.hi(L.ARG0), host: -1 };
}

/** FXSAVE: ARG0 the linear address, ARG1 1 with REX.W. */
export function fxsave(cpu: Processor): Outcome {
  begin(cpu);
  const { record } = cpu;
  const place = placeOf(cpu);
  const length = I.XMM_AT + I.vectorBytes(cpu);
  I.storeX87(cpu, record.lo(L.ARG1) !== 0);
  I.storeMxcsr(cpu);
  I.storeVectors(cpu);
  I.beginWriting(cpu, place, length);
  if (place.host < 0) {
    I.probe(cpu, place, 0, 16);
    I.probe(cpu, place, length - 16, 16);
  }
  I.writeImage(cpu, place, 0, length);
  return NEXT;
}

/** FXRSTOR: ARG0 the linear address, ARG1 1 with REX.W. */
export function fxrstor(cpu: Processor): Outcome {
  begin(cpu);
  const { record } = cpu;
  const place = placeOf(cpu);
  const length = I.XMM_AT + I.vectorBytes(cpu);
  I.beginReading(cpu, place, length);
  I.readImage(cpu, place, 0, length);
  if (!I.mxcsrIsGood()) cpu.gp();
  I.loadX87(cpu, record.lo(L.ARG1) !== 0);
  I.loadMxcsr(cpu);
  I.loadVectors(cpu);
  return NEXT;
}
