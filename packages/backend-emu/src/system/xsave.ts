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
/** Words of the header. */
const [STATE_LO, STATE_HI, COMPACT_LO, COMPACT_HI] = [0, 1, 2, 3];
const pkru = new Uint8Array(PKRU_SIZE);
const pkruWord = new Int32Array(pkru.buffer);

/** Where the area is, and the components that the instruction is about. */
interface Area {
  readonly lo: number;
  readonly hi: number;
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
  return { lo, hi: record.hi(L.ARG0), requested, wide: record.lo(L.ARG1) !== 0 };
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

type Access = (lo: number, hi: number) => void;

/** Calls `access` with the linear address `offset` bytes into the area. */
function at(cpu: Processor, { lo, hi }: Area, offset: number, access: Access): void {
  access((lo + offset) | 0, I.highHalf(cpu, lo, hi, offset));
}

/** Makes sure that the bytes `from` to `to` of the area can be written. */
function probe(cpu: Processor, area: Area, from: number, to: number): void {
  for (let offset = from; offset < to; offset += HEADER_SIZE) {
    const size = Math.min(HEADER_SIZE, to - offset);
    at(cpu, area, offset, (lo, hi) => cpu.memory.probeWrite(lo, hi, size, cpu.cpl));
  }
}

/**
 * Stores `components`; with SSE or `mxcsr` MXCSR too. `pkruAt` is where PKRU goes. The header is
 * the caller's, who has made its new contents.
 */
function save(
  cpu: Processor,
  area: Area,
  components: number,
  mxcsr: boolean,
  pkruAt: number,
  headerBytes: number,
): Outcome {
  const end = I.XMM_AT + I.vectorBytes(cpu);
  if ((components & (X87 | SSE)) !== 0 || mxcsr) probe(cpu, area, 0, end);
  probe(cpu, area, HEADER_AT, HEADER_AT + headerBytes);
  if ((components & PKRU) !== 0) probe(cpu, area, pkruAt, pkruAt + PKRU_SIZE);
  const { lo, hi } = area;
  const { memory, cpl } = cpu;
  if ((components & X87) !== 0) {
    I.storeX87(cpu, area.wide);
    I.writeImage(cpu, lo, hi, 0, 24);
    I.writeImage(cpu, lo, hi, I.ST_AT, I.XMM_AT);
  }
  if (mxcsr) {
    I.storeMxcsr(cpu);
    I.writeImage(cpu, lo, hi, 24, I.ST_AT);
  }
  if ((components & SSE) !== 0) {
    I.storeVectors(cpu);
    I.writeImage(cpu, lo, hi, I.XMM_AT, end);
  }
  if ((components & PKRU) !== 0) {
    pkruWord[0] = cpu.record.i32(L.PKRU);
    pkruWord[1] = 0;
    at(cpu, area, pkruAt, (low, high) => memory.writeBytes(low, high, pkru, cpl));
  }
  const part = header.subarray(0, headerBytes);
  at(cpu, area, HEADER_AT, (low, high) => memory.writeBytes(low, high, part, cpl));
  return NEXT;
}

function readHeader(cpu: Processor, area: Area): void {
  at(cpu, area, HEADER_AT, (lo, hi) => cpu.memory.readBytes(lo, hi, header, cpu.cpl));
}

/** The standard format: XSTATE_BV keeps the bits that are not asked for. */
function saveStandard(cpu: Processor, optimised: boolean): Outcome {
  const area = begin(cpu);
  const { requested } = area;
  readHeader(cpu, area);
  const used = inUse(cpu) & requested;
  fields[STATE_LO] = (fields[STATE_LO] & ~requested) | used;
  const mxcsr = (requested & SSE) !== 0;
  return save(cpu, area, optimised ? used : requested, mxcsr, PKRU_OFFSET, 8);
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
  return save(cpu, area, used, (used & SSE) !== 0, COMPACTED_AT, 16);
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
  const { requested, lo, hi, wide } = area;
  readHeader(cpu, area);
  const compacted = (fields[COMPACT_HI] & COMPACTED) !== 0;
  checkHeader(cpu, compacted);
  const loaded = fields[STATE_LO] & requested;
  const mxcsr = (compacted ? loaded : requested) & SSE;
  if ((loaded & (X87 | SSE)) !== 0 || mxcsr !== 0) {
    I.readImage(cpu, lo, hi, 0, I.XMM_AT + I.vectorBytes(cpu));
  }
  if (mxcsr !== 0 && !I.mxcsrIsGood()) cpu.gp();
  if ((loaded & PKRU) !== 0) {
    const offset = compacted ? COMPACTED_AT : PKRU_OFFSET;
    at(cpu, area, offset, (low, high) => cpu.memory.readBytes(low, high, pkru, cpu.cpl));
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
