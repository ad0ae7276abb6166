/**
 * XSAVE, XSAVEOPT, XSAVEC, XRSTOR, XGETBV and XSETBV: x87, SSE and PKRU state.
 *
 * Source: AMD APM vol. 2, 11.5; vol. 3, the instructions. Where they leave room, as processors of
 * family 19h do: a component is in use when it differs from its initial configuration; XSAVE stores
 * all that is asked for, XSAVEOPT and XSAVEC what is in use; MXCSR counts as SSE state with XSAVEC,
 * the compacted XRSTOR and XGETBV, and with nothing else.
 * There is no modified optimisation: XSAVEOPT stores what did not change since XRSTOR too.
 */
import { PKRU_COMPONENT, PKRU_OFFSET, PKRU_SIZE, xcr0Mask } from '@cloister/core/cpu';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR0_TS, CR4_OSXSAVE, VECTOR_NM, VECTOR_UD } from '../cpu/registers.js';
import * as I from './fpu-image.js';
import { requireCanonical } from './operand-address.js';
import { NEXT, type Outcome } from './outcome.js';

const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);

const X87 = 1;
const SSE = 2;
const PKRU = 1 << PKRU_COMPONENT;
const HEADER_AT = 512;
const HEADER_SIZE = 64;
/** Of PKRU, the only component that lies behind the header, in the compacted format. */
const COMPACTED_AT = HEADER_AT + HEADER_SIZE;
/** XCOMP_BV bit 63, as the top bit of its upper half. */
const COMPACTED = 1 << 31;

const header = new Uint8Array(HEADER_SIZE);
const fields = new Int32Array(header.buffer);
/** What of the header is stored in either format. */
const standardPart = header.subarray(0, 8);
const compactedPart = header.subarray(0, 16);
/** Words of the header. */
const [STATE_LO, STATE_HI, COMPACT_LO, COMPACT_HI] = [0, 1, 2, 3];
const pkru = new Uint8Array(PKRU_SIZE);
const pkruWord = new Int32Array(pkru.buffer);

/** Where the area is, and the components that the instruction is about. */
interface Area extends I.Place {
  /** Requested components that XCR0 has. */
  readonly requested: number;
  readonly wide: boolean;
}

/** #UD unless CR4.OSXSAVE. */
export function requireXsave(cpu: Processor): void {
  if ((cpu.record.i32(L.CR4) & CR4_OSXSAVE) === 0) cpu.raise(VECTOR_UD);
}

function begin(cpu: Processor): Area {
  const { record } = cpu;
  requireXsave(cpu);
  if ((record.i32(L.CR0) & CR0_TS) !== 0) cpu.raise(VECTOR_NM);
  const lo = record.lo(L.ARG0);
  if ((lo & (HEADER_SIZE - 1)) !== 0) cpu.gp();
  requireCanonical(cpu);
  const requested = record.lo(L.XCR0) & record.lo(RAX);
  return { lo, hi: record.hi(L.ARG0), host: -1, requested, wide: record.lo(L.ARG1) !== 0 };
}

/** What comes before the rest of the segment's limit; ARG0 the linear address. */
export function xsaveOrder(cpu: Processor): Outcome {
  begin(cpu);
  return NEXT;
}

/** Components that differ from their initial configuration, MXCSR apart. */
function inUse(cpu: Processor): number {
  return (
    (I.x87InUse(cpu) ? X87 : 0) |
    (I.vectorsInUse(cpu) ? SSE : 0) |
    (cpu.record.i32(L.PKRU) !== 0 ? PKRU : 0)
  );
}

/** MXCSR with them. */
function inUseWithMxcsr(cpu: Processor): number {
  return inUse(cpu) | (cpu.record.i32(L.MXCSR) !== I.MXCSR_DEFAULT ? SSE : 0);
}

/** Makes sure that the bytes `from` to `to` of the area can be written. */
function probe(cpu: Processor, area: Area, from: number, to: number): void {
  for (let offset = from; offset < to; offset += HEADER_SIZE) {
    I.probe(cpu, area, offset, Math.min(HEADER_SIZE, to - offset));
  }
}

/**
 * Stores `components`; with SSE or `mxcsr` MXCSR too. `pkruAt` is where PKRU goes, `part` what of
 * the header is stored, which the caller has made.
 */
function save(
  cpu: Processor,
  area: Area,
  components: number,
  mxcsr: boolean,
  pkruAt: number,
  part: Uint8Array,
): Outcome {
  const end = I.XMM_AT + I.vectorBytes(cpu);
  const headerEnd = HEADER_AT + part.length;
  const hasPkru = (components & PKRU) !== 0;
  const hasImage = (components & (X87 | SSE)) !== 0 || mxcsr;
  I.beginWriting(cpu, area, hasPkru ? pkruAt + PKRU_SIZE : headerEnd, hasImage ? 0 : HEADER_AT);
  if (area.host < 0) {
    if (hasImage) probe(cpu, area, 0, end);
    probe(cpu, area, HEADER_AT, headerEnd);
    if (hasPkru) probe(cpu, area, pkruAt, pkruAt + PKRU_SIZE);
  }
  if ((components & X87) !== 0) {
    I.storeX87(cpu, area.wide);
    I.writeImage(cpu, area, 0, 24);
    I.writeImage(cpu, area, I.ST_AT, I.XMM_AT);
  }
  if (mxcsr) {
    I.storeMxcsr(cpu);
    I.writeImage(cpu, area, 24, I.ST_AT);
  }
  if ((components & SSE) !== 0) {
    I.storeVectors(cpu);
    I.writeImage(cpu, area, I.XMM_AT, end);
  }
  if (hasPkru) {
    pkruWord[0] = cpu.record.i32(L.PKRU);
    pkruWord[1] = 0;
    I.write(cpu, area, pkruAt, pkru);
  }
  I.write(cpu, area, HEADER_AT, part);
  return NEXT;
}

/** The standard format: XSTATE_BV keeps the bits that are not asked for. */
function saveStandard(cpu: Processor, optimised: boolean): Outcome {
  const area = begin(cpu);
  const { requested } = area;
  I.read(cpu, area, HEADER_AT, header);
  const used = inUse(cpu) & requested;
  fields[STATE_LO] = (fields[STATE_LO] & ~requested) | used;
  const mxcsr = (requested & SSE) !== 0;
  return save(cpu, area, optimised ? used : requested, mxcsr, PKRU_OFFSET, standardPart);
}

/** XSAVE: ARG0 the linear address, ARG1 1 with REX.W; EDX:EAX the components. */
export function xsave(cpu: Processor): Outcome {
  return saveStandard(cpu, false);
}

/** XSAVEOPT. */
export function xsaveopt(cpu: Processor): Outcome {
  return saveStandard(cpu, true);
}

/** XSAVEC: the compacted format. */
export function xsavec(cpu: Processor): Outcome {
  const area = begin(cpu);
  const { requested } = area;
  const used = inUseWithMxcsr(cpu) & requested;
  fields[STATE_LO] = used;
  fields[STATE_HI] = 0;
  fields[COMPACT_LO] = requested;
  fields[COMPACT_HI] = COMPACTED;
  return save(cpu, area, used, (used & SSE) !== 0, COMPACTED_AT, compactedPart);
}

/** Whether the words of the header from `first` to `last` are zero. */
function areZero(first: number, last: number): boolean {
  for (let i = first; i <= last; i++) if (fields[i] !== 0) return false;
  return true;
}

/** Checks the header; #GP(0) where it is not one that XRSTOR takes. */
function checkHeader(cpu: Processor, compacted: boolean): void {
  const enabled = cpu.record.lo(L.XCR0);
  const state = fields[STATE_LO];
  const known = (state & ~enabled) === 0 && fields[STATE_HI] === 0;
  if (!compacted) {
    // XCOMP_BV and the eight bytes behind it.
    if (!known || !areZero(2, 5)) cpu.gp();
    return;
  }
  const format = fields[COMPACT_LO];
  const allowed = cpu.cpu.has('xsavec') && fields[COMPACT_HI] === COMPACTED;
  const fits = (format & ~enabled) === 0 && (state & ~format) === 0;
  if (!known || !allowed || !fits || !areZero(4, 15)) cpu.gp();
}

/** XRSTOR: ARG0 the linear address, ARG1 1 with REX.W; EDX:EAX the components. */
export function xrstor(cpu: Processor): Outcome {
  const area = begin(cpu);
  const { requested, wide } = area;
  I.beginReading(cpu, area, COMPACTED_AT + PKRU_SIZE);
  I.read(cpu, area, HEADER_AT, header);
  // The TLB may know the page now.
  if (area.host < 0) I.beginReading(cpu, area, COMPACTED_AT + PKRU_SIZE);
  const compacted = (fields[COMPACT_HI] & COMPACTED) !== 0;
  checkHeader(cpu, compacted);
  const loaded = fields[STATE_LO] & requested;
  const mxcsr = (compacted ? loaded : requested) & SSE;
  if ((loaded & (X87 | SSE)) !== 0 || mxcsr !== 0) {
    I.readImage(cpu, area, 0, I.XMM_AT + I.vectorBytes(cpu));
  }
  if (mxcsr !== 0 && !I.mxcsrIsGood()) cpu.gp();
  if ((loaded & PKRU) !== 0) {
    // In the standard format it may lie in another page.
    if (!compacted) area.host = -1;
    I.read(cpu, area, compacted ? COMPACTED_AT : PKRU_OFFSET, pkru);
  }
  if ((loaded & X87) !== 0) I.loadX87(cpu, wide);
  else if ((requested & X87) !== 0) I.initialiseX87(cpu);
  if ((loaded & SSE) !== 0) I.loadVectors(cpu);
  else if ((requested & SSE) !== 0) I.initialiseVectors(cpu);
  if (mxcsr !== 0) I.loadMxcsr(cpu);
  else if ((requested & SSE) !== 0) cpu.record.setI32(L.MXCSR, I.MXCSR_DEFAULT);
  if ((requested & PKRU) !== 0) cpu.setPkru((loaded & PKRU) !== 0 ? pkruWord[0] : 0);
  return NEXT;
}

/** XGETBV: ECX 0 XCR0, 1 what of it is in use → EDX:EAX. */
export function xgetbv(cpu: Processor): Outcome {
  requireXsave(cpu);
  const { record } = cpu;
  const number = record.i32(RCX);
  if (number !== 0 && (number !== 1 || !cpu.cpu.has('xgetbv1'))) cpu.gp();
  const lo = record.lo(L.XCR0);
  record.setPair(RAX, number === 0 ? lo : lo & inUseWithMxcsr(cpu), 0);
  record.setPair(RDX, number === 0 ? record.hi(L.XCR0) : 0, 0);
  return NEXT;
}

/** XSETBV: ECX 0, EDX:EAX the new XCR0. */
export function xsetbv(cpu: Processor): Outcome {
  requireXsave(cpu);
  cpu.requireCpl0();
  const { record } = cpu;
  const lo = record.i32(RAX);
  const known = (lo & ~xcr0Mask(cpu.cpu.has)) === 0 && record.i32(RDX) === 0;
  if (record.i32(RCX) !== 0 || !known || (lo & X87) === 0) cpu.gp();
  record.setPair(L.XCR0, lo, 0);
  return NEXT;
}
