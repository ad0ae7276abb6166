/**
 * INVPCID.
 *
 * Source: AMD APM vol. 2, 5.5.1-5.5.2 (PCID, invalidation); vol. 3, INVPCID.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR4_PCIDE } from '../cpu/registers.js';
import { NEXT, type Outcome } from './outcome.js';

const PCID_MASK = 0xfff;
/** Types of INVPCID. */
const ADDRESS = 0;
const CONTEXT = 1;
const ALL = 2;
const ALL_NOT_GLOBAL = 3;

/**
 * INVPCID: ARG0 the linear address of the descriptor, ARG1 the type. The TLBs hold translations of
 * the current PCID and global ones, so there is nothing to drop of another.
 */
export function invpcid(cpu: Processor): Outcome {
  const { record, memory, mmu } = cpu;
  cpu.requireCpl0();
  const type = record.lo(L.ARG1);
  if (record.hi(L.ARG1) !== 0 || type < ADDRESS || type > ALL_NOT_GLOBAL) cpu.gp();
  const descriptor = new Uint8Array(16);
  memory.readBytes(record.lo(L.ARG0), record.hi(L.ARG0), descriptor, cpu.cpl);
  const [pcid, reserved, lo, hi] = new Int32Array(descriptor.buffer);
  if ((pcid & ~PCID_MASK) !== 0 || reserved !== 0) cpu.gp();
  const enabled = (record.i32(L.CR4) & CR4_PCIDE) !== 0;
  if ((type === ADDRESS || type === CONTEXT) && !enabled && pcid !== 0) cpu.gp();
  const current = enabled ? record.lo(L.CR3) & PCID_MASK : 0;
  switch (type) {
    case ADDRESS:
      if (cpu.is64 && !mmu.walker.isCanonicalBase(hi)) cpu.gp();
      if (pcid === current) mmu.tlb.flushPage(lo, cpu.is64 ? hi : 0);
      return NEXT;
    case CONTEXT:
      if (pcid === current) mmu.flushNonGlobal();
      return NEXT;
    case ALL:
      mmu.tlb.flushAll();
      return NEXT;
    default:
      mmu.flushNonGlobal();
      return NEXT;
  }
}
