/**
 * Intercepts: system functions that ask an extension first, by the event that they are.
 *
 * A VM whose extension lists events gets a table of its own, in which the functions concerned are
 * wrapped; all others, and the functions themselves, know nothing of it. Each wrapper makes the
 * checks that come before the intercept (AMD APM vol. 2, 15.9 and table 15-7), which the function
 * then makes again. Two events are no system functions: PAUSE, which the decoder makes one where it
 * may be intercepted, and a triple fault (`system/exceptions.ts`).
 */
import type { InterceptDetail, InterceptName } from '@cloister/core';
import { msr } from '@cloister/core/cpu';
import { interceptBit } from '../cpu/intercept-bits.js';
import * as L from '../cpu/layout.js';
import type { Processor, SystemFunction } from '../cpu/processor.js';
import { CR4_DE, CR4_PCE, CR4_TSD, VECTOR_UD } from '../cpu/registers.js';
import * as R from '../isa/op-record.js';
import { requirePorts } from '../system/io.js';
import { FAULT, NEXT, type Outcome } from '../system/outcome.js';
import { requireXsave } from '../system/xsave.js';
import { SYSTEM_FUNCTIONS, systemNumber } from '../system-numbers.js';

const INTERCEPTED = L.INTERCEPTED >> 2;
const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);

/** Checks and fills in the detail; false: the function decides without the extension. */
type Prepare = (cpu: Processor, detail: InterceptDetail) => boolean;

interface Intercepted {
  readonly event: InterceptName;
  /** Names of system functions. */
  readonly functions: readonly string[];
  readonly prepare: Prepare;
}

const always: Prepare = () => true;

const privileged: Prepare = (cpu) => {
  cpu.requireCpl0();
  return true;
};

const timeStamp: Prepare = (cpu) => {
  if ((cpu.record.i32(L.CR4) & CR4_TSD) !== 0) cpu.requireCpl0();
  return true;
};

/** IN: ARG0 the port, ARG1 the size; OUT also has the value in ARG2. */
function port(direction: 'read' | 'write'): Prepare {
  return (cpu, detail) => {
    const { words } = cpu;
    detail.direction = direction;
    detail.number = words[L.ARG0 >> 2] & 0xffff;
    detail.size = words[L.ARG1 >> 2];
    const mask = detail.size === 4 ? -1 : (1 << (detail.size * 8)) - 1;
    detail.lo = ((direction === 'write' ? words[L.ARG2 >> 2] : -1) & mask) >>> 0;
    requirePorts(cpu, detail.number, detail.size);
    return true;
  };
}

/** INS and OUTS: ARG0 the size, ARG1 1 with REP, ARG2 the address size, ARG3 the segment. */
function portString(direction: 'read' | 'write'): Prepare {
  return (cpu, detail) => {
    const { record } = cpu;
    detail.direction = direction;
    detail.number = record.lo(RDX) & 0xffff;
    detail.size = record.lo(L.ARG0);
    detail.string = true;
    detail.repeated = record.lo(L.ARG1) !== 0;
    detail.addressSize = record.lo(L.ARG2);
    const place = direction === 'read' ? L.SEGMENTS : record.lo(L.ARG3);
    detail.segment = place === L.ZERO ? L.SEG.ds : (place - L.SEGMENTS) / L.SEGMENT_SIZE;
    requirePorts(cpu, detail.number, detail.size);
    return !detail.repeated || !isZero(cpu, RCX, detail.addressSize);
  };
}

function isZero({ record }: Processor, register: number, size: number): boolean {
  if (size === 2) return record.u16(register) === 0;
  return record.lo(register) === 0 && (size === 4 || record.hi(register) === 0);
}

function msrAccess(direction: 'read' | 'write'): Prepare {
  return (cpu, detail) => {
    cpu.requireCpl0();
    const { words } = cpu;
    detail.direction = direction;
    detail.number = words[RCX >> 2] >>> 0;
    detail.lo = direction === 'write' ? words[RAX >> 2] >>> 0 : 0;
    detail.hi = direction === 'write' ? words[RDX >> 2] >>> 0 : 0;
    return true;
  };
}

/** MOV DRn: ARG0 the number, ARG1 the value; the general register by the op record. */
function debugRegister(direction: 'read' | 'write'): Prepare {
  return (cpu, detail) => {
    const { record } = cpu;
    const number = record.lo(L.ARG0) & 15;
    const alias = number === 4 || number === 5;
    if (number > 7 || (alias && (record.i32(L.CR4) & CR4_DE) !== 0)) cpu.raise(VECTOR_UD);
    cpu.requireCpl0();
    detail.direction = direction;
    detail.number = alias ? number + 2 : number;
    if (direction === 'write') {
      detail.lo = record.u32(L.ARG1);
      detail.hi = cpu.is64 ? record.hi(L.ARG1) >>> 0 : 0;
    }
    const operand = cpu.extension.operand(direction === 'read' ? R.OP_REG[0] : R.OP_REG[1]);
    detail.register = (operand - L.GPR) >> 3;
    return true;
  };
}

const BEFORE: readonly Intercepted[] = [
  { event: 'cpuid', functions: ['cpuid'], prepare: always },
  { event: 'rdtsc', functions: ['rdtsc'], prepare: timeStamp },
  { event: 'rdtscp', functions: ['rdtscp'], prepare: timeStamp },
  {
    event: 'rdpmc',
    functions: ['rdpmc'],
    prepare: (cpu) => {
      if ((cpu.record.i32(L.CR4) & CR4_PCE) === 0) cpu.requireCpl0();
      return true;
    },
  },
  { event: 'io', functions: ['in'], prepare: port('read') },
  { event: 'io', functions: ['out'], prepare: port('write') },
  { event: 'io', functions: ['ins'], prepare: portString('read') },
  { event: 'io', functions: ['outs'], prepare: portString('write') },
  { event: 'msr', functions: ['rdmsr'], prepare: msrAccess('read') },
  { event: 'msr', functions: ['wrmsr'], prepare: msrAccess('write') },
  { event: 'dr', functions: ['movFromDr'], prepare: debugRegister('read') },
  { event: 'dr', functions: ['movToDr'], prepare: debugRegister('write') },
  { event: 'hlt', functions: ['hlt'], prepare: privileged },
  { event: 'pause', functions: ['pause'], prepare: always },
  { event: 'wbinvd', functions: ['wbinvd'], prepare: privileged },
  { event: 'invd', functions: ['invd'], prepare: privileged },
  { event: 'monitor', functions: ['monitor'], prepare: (cpu) => cpu.cpl === 0 },
  { event: 'mwait', functions: ['mwait'], prepare: (cpu) => cpu.cpl === 0 },
  { event: 'vmmcall', functions: ['vmmcall'], prepare: always },
  {
    event: 'xsetbv',
    functions: ['xsetbv'],
    prepare: (cpu) => {
      requireXsave(cpu);
      cpu.requireCpl0();
      return true;
    },
  },
  { event: 'iret', functions: ['iret'], prepare: always },
];

function asksBefore(fn: SystemFunction, event: InterceptName, prepare: Prepare): SystemFunction {
  const bit = interceptBit(event);
  return (cpu) => {
    const { extension } = cpu;
    if ((cpu.words[INTERCEPTED] & bit) === 0) return fn(cpu);
    const detail = extension.beginDetail();
    if (!prepare(cpu, detail)) return fn(cpu);
    // Reads put their result where the instruction takes it from.
    const isRead = detail.direction === 'read' && !detail.string;
    const answered = extension.ask(event);
    if (answered === null) return fn(cpu);
    if (answered === FAULT) return FAULT;
    if (!isRead || (event !== 'io' && event !== 'dr') || extension.settled) return answered;
    cpu.record.setPair(L.ARG0, detail.lo, event === 'dr' && cpu.is64 ? detail.hi : 0);
    return NEXT;
  };
}

/** The register that a function has written: its number, place and upper half, or null. */
type Written = (cpu: Processor) => number | null;

const CONTROL_PLACES: Readonly<Record<number, number>> = {
  0: L.CR0,
  4: L.CR4,
  8: L.CR8,
  [msr.EFER]: L.EFER,
};

const WRITTEN: Readonly<Record<string, Written>> = {
  movToCr: ({ record }) => (record.lo(L.ARG0) in CONTROL_PLACES ? record.lo(L.ARG0) : null),
  lmsw: () => 0,
  clts: () => 0,
  wrmsr: ({ record }) => (record.u32(RCX) === msr.EFER ? msr.EFER : null),
};

function asksAfter(fn: SystemFunction, written: Written): SystemFunction {
  const bit = interceptBit('cr-write-after');
  return (cpu): Outcome => {
    const { extension, record } = cpu;
    if ((cpu.words[INTERCEPTED] & bit) === 0) return fn(cpu);
    const number = written(cpu);
    if (number === null) return fn(cpu);
    const length = record.lo(L.NEXT_RIP) - record.lo(L.RIP);
    const outcome = fn(cpu);
    if (outcome === NEXT) cpu.completed();
    const detail = extension.beginDetail();
    const place = CONTROL_PLACES[number]!;
    detail.length = length;
    detail.direction = 'write';
    detail.number = number;
    detail.lo = record.u32(place);
    detail.hi = record.hi(place) >>> 0;
    return extension.tell('cr-write-after');
  };
}

/** The system functions by number, as an extension that may intercept `events` has them. */
export function interceptedFunctions(
  events: ReadonlySet<InterceptName>,
): readonly SystemFunction[] {
  if (events.size === 0) return SYSTEM_FUNCTIONS;
  const table = [...SYSTEM_FUNCTIONS];
  const wrap = (name: string, by: (fn: SystemFunction) => SystemFunction) => {
    const number = systemNumber(name);
    table[number] = by(table[number]!);
  };
  if (events.has('cr-write-after')) {
    for (const [name, written] of Object.entries(WRITTEN)) {
      wrap(name, (fn) => asksAfter(fn, written));
    }
  }
  for (const { event, functions, prepare } of BEFORE) {
    if (!events.has(event)) continue;
    for (const name of functions) wrap(name, (fn) => asksBefore(fn, event, prepare));
  }
  return table;
}
