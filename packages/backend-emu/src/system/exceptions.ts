/**
 * Delivery of exceptions, interrupts and INT n: which event comes when one fails to be delivered,
 * and what all modes share.
 *
 * Source: AMD APM vol. 2, 8.2 (vectors, error codes), 8.2.9 (double fault), 8.2.24 and table 8-6.
 */
import { FLAG_RF } from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { VECTOR_DF, VECTOR_GP, VECTOR_NMI, VECTOR_PF } from '../cpu/registers.js';
import { deliverLong } from './deliver-long.js';
import { deliverProtected } from './deliver-protected.js';
import { deliverReal } from './deliver-real.js';
import { EVENT_EXTERNAL, EVENT_FAULT, EVENT_SOFTWARE } from './event.js';
import { GUEST_FAULT, LEAVE, type Outcome } from './outcome.js';

const NO_ERROR = -1;
/** Exceptions in the delivery of one another that none of the manual's classes add up to. */
const ATTEMPTS = 8;

/**
 * Delivers an event; `ripLo`/`ripHi` is the RIP that its frame shows. RIP of the record must be
 * that of the current instruction: faults on the way are reported there.
 */
export function deliver(
  cpu: Processor,
  vector: number,
  error: number,
  event: number,
  ripLo: number,
  ripHi: number,
): Outcome {
  if (event !== EVENT_SOFTWARE && deliversUsual(cpu, vector, error, event)) return delivered(cpu);
  let currentVector = vector;
  let currentError = error;
  let currentEvent = event;
  let lo = ripLo;
  let hi = ripHi;
  // What makes a double fault is an exception, not an interrupt.
  let exception = event === EVENT_FAULT;
  for (let attempts = 1; ; attempts++) {
    if (tryDeliver(cpu, currentVector, currentError, currentEvent, lo, hi)) {
      return delivered(cpu);
    }
    const second = cpu.words[L.FAULT_VECTOR >> 2];
    // CR2 is that of the last page fault, whatever comes of it.
    if (second === VECTOR_PF) cpu.record.copyPair(L.CR2, L.FAULT_ADDRESS);
    if (currentVector === VECTOR_DF && exception) return shutDown(cpu);
    // Benign ones of an extension's could go on for ever.
    const makes = attempts > ATTEMPTS || cpu.classes.makesDoubleFault(currentVector, second);
    if (exception && makes) {
      currentVector = VECTOR_DF;
      currentError = 0;
    } else {
      currentVector = second;
      currentError = cpu.words[L.FAULT_ERROR >> 2];
    }
    exception = true;
    currentEvent = EVENT_FAULT;
    lo = cpu.record.lo(L.RIP);
    hi = cpu.record.hi(L.RIP);
  }
}

function delivered(cpu: Processor): Outcome {
  cpu.words[L.FAULT_VECTOR >> 2] = -1;
  return cpu.resume();
}

/** Has emitted code deliver an event whose frame shows RIP; false if it leaves that to others. */
function deliversUsual(cpu: Processor, vector: number, error: number, event: number): boolean {
  if (event === EVENT_EXTERNAL) {
    return cpu.deliverUsual(vector, error, cpu.debug.resumeFlag) !== 0;
  }
  if (vector === VECTOR_PF) cpu.record.copyPair(L.CR2, L.FAULT_ADDRESS);
  return cpu.deliverUsual(vector, error, FLAG_RF) !== 0;
}

/** One attempt; false if a fault is pending. */
function tryDeliver(
  cpu: Processor,
  vector: number,
  error: number,
  event: number,
  ripLo: number,
  ripHi: number,
): boolean {
  cpu.ext = event === EVENT_SOFTWARE ? 0 : 1;
  cpu.mmu.canonicalVector = VECTOR_GP;
  if (vector === VECTOR_PF && event === EVENT_FAULT) {
    cpu.record.copyPair(L.CR2, L.FAULT_ADDRESS);
  }
  try {
    if (cpu.isLong) deliverLong(cpu, vector, error, event, ripLo, ripHi);
    else if ((cpu.words[L.CR0 >> 2] & 1) !== 0) {
      deliverProtected(cpu, vector, error, event, ripLo);
    } else deliverReal(cpu, vector, ripLo);
    return true;
  } catch (fault) {
    if (fault !== GUEST_FAULT) throw fault;
    return false;
  } finally {
    cpu.ext = 0;
  }
}

/** Delivers the pending fault (FAULT_VECTOR, FAULT_ERROR) of the instruction at RIP. */
export function deliverFault(cpu: Processor): Outcome {
  cpu.words[L.RMW_PENDING >> 2] = 0;
  const { record } = cpu;
  return deliver(
    cpu,
    record.i32(L.FAULT_VECTOR),
    record.i32(L.FAULT_ERROR),
    EVENT_FAULT,
    record.lo(L.RIP),
    record.hi(L.RIP),
  );
}

/** Delivers an interrupt or trap between two instructions: RIP is the next one's. */
export function deliverExternal(cpu: Processor, vector: number): Outcome {
  const { record } = cpu;
  return deliver(cpu, vector, NO_ERROR, EVENT_EXTERNAL, record.lo(L.RIP), record.hi(L.RIP));
}

/** Delivers INT n, INT3 or INTO: the frame shows NEXT_RIP. */
export function deliverSoftware(cpu: Processor, vector: number): Outcome {
  const { record } = cpu;
  cpu.debug.untraced = true;
  return deliver(
    cpu,
    vector,
    NO_ERROR,
    EVENT_SOFTWARE,
    record.lo(L.NEXT_RIP),
    record.hi(L.NEXT_RIP),
  );
}

/**
 * Takes the most important event that may be taken before the instruction at RIP: NMI, then an
 * interrupt. False if there is none. Wakes the processor from HLT.
 */
export function takeInterrupt(cpu: Processor): boolean {
  const { words } = cpu;
  const { events } = cpu.extension;
  if (events.active) {
    events.take();
    if (events.offers) return false;
  } else cpu.applyInit();
  if (!cpu.updatePending()) return false;
  const halted = words[L.ACTIVITY >> 2] === L.ACTIVITY_HALTED;
  if (!halted && words[L.ACTIVITY >> 2] !== L.ACTIVITY_RUNNING) return false;
  if (!halted && cpu.shadow.covers()) return false;
  if (!cpu.wakes) return false;
  words[L.ACTIVITY >> 2] = L.ACTIVITY_RUNNING;
  events.forgetHalt();
  if (cpu.nmiPending && words[L.NMI_BLOCKED >> 2] === 0) {
    cpu.nmiPending = false;
    words[L.NMI_BLOCKED >> 2] = 1;
    deliverExternal(cpu, VECTOR_NMI);
  } else {
    deliverExternal(cpu, cpu.services.apic.acknowledge());
  }
  cpu.updatePending();
  return true;
}

/** Triple fault: the processor stops until RESET or INIT. */
export function shutDown(cpu: Processor): Outcome {
  cpu.words[L.FAULT_VECTOR >> 2] = -1;
  if (cpu.extension.shutDown()) return LEAVE;
  cpu.words[L.ACTIVITY >> 2] = L.ACTIVITY_SHUTDOWN;
  cpu.exits.deliverShutdown('triple-fault');
  return LEAVE;
}
