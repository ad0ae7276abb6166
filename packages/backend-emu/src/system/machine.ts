/**
 * CPUID, MSRs, time-stamp counter, HLT, hypercalls, random numbers and
 * undefined opcodes.
 *
 * Source: AMD APM vol. 3 for each; vol. 2, 13.2 (TSC).
 */
import type { CpuidGuestState, MsrValue } from '@cloister/core';
import * as F from '../cpu/flags.js';
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { CR4_PCE, CR4_TSD, VECTOR_UD } from '../cpu/registers.js';
import { EXTENSION_INSTRUCTIONS } from '../isa/extension-instructions.js';
import { GUEST_FAULT, LEAVE, NEXT, type Outcome } from './outcome.js';

const RAX = L.gprOffset(0);
const RCX = L.gprOffset(1);
const RDX = L.gprOffset(2);
const RBX = L.gprOffset(3);
const RSI = L.gprOffset(6);

/**
 * Whether an instruction that no extension intercepts is an exit: of hidden registers the host is
 * told by the extension alone.
 */
function isExit(cpu: Processor, kind: 'cpuid' | 'msr'): boolean {
  return cpu.intercept.has(kind) && !cpu.extension.set.registersHidden;
}

/** Answers CPUID in `exits.cpuid`, for a guest with this CR4 and XCR0; `exit`: by the host. */
export function queryCpuid(
  cpu: Processor,
  leaf: number,
  subleaf: number,
  { cr4, xcr0 }: CpuidGuestState,
  exit: boolean,
): void {
  const { services, exits } = cpu;
  const value = exits.cpuid;
  const state = { cr4, xcr0, apicEnabled: services.apic.enabled };
  services.cpuid.query(leaf, subleaf, state, value, cpu.extension);
  if (!exit) return;
  value.leaf = leaf;
  value.subleaf = subleaf;
  exits.deliverCpuid();
}

/** CPUID: EAX, ECX → EAX, EBX, ECX, EDX. */
export function cpuid(cpu: Processor): Outcome {
  const { record, exits } = cpu;
  const guest = { cr4: record.i32(L.CR4), xcr0: record.i32(L.XCR0) };
  queryCpuid(cpu, record.u32(RAX), record.u32(RCX), guest, isExit(cpu, 'cpuid'));
  const value = exits.cpuid;
  record.setPair(RAX, value.eax, 0);
  record.setPair(RBX, value.ebx, 0);
  record.setPair(RCX, value.ecx, 0);
  record.setPair(RDX, value.edx, 0);
  return NEXT;
}

/** Reads an MSR into `value`; false: #GP(0). With `exit` the host is asked first. */
export function readMsr(cpu: Processor, index: number, value: MsrValue, exit: boolean): boolean {
  const { msrs } = cpu.services;
  const claimed = exit && cpu.exits.deliverMsr('read', index, 0, 0);
  if (!claimed && !msrs.read(index)) return false;
  const from = claimed ? cpu.exits.msr : msrs;
  value.lo = from.lo;
  value.hi = from.hi;
  return true;
}

/** Writes an MSR; false: #GP(0). With `exit` the host is asked first. */
export function writeMsr(
  cpu: Processor,
  index: number,
  { lo, hi }: MsrValue,
  exit: boolean,
): boolean {
  const claimed = exit && cpu.exits.deliverMsr('write', index, lo, hi);
  const done = claimed || cpu.services.msrs.write(index, lo, hi);
  if (done) cpu.updatePending();
  return done;
}

/** RDMSR: ECX → EDX:EAX. */
export function rdmsr(cpu: Processor): Outcome {
  cpu.requireCpl0();
  const { record, msrValue } = cpu;
  if (!readMsr(cpu, record.u32(RCX), msrValue, isExit(cpu, 'msr'))) cpu.gp();
  record.setPair(RAX, msrValue.lo, 0);
  record.setPair(RDX, msrValue.hi, 0);
  return NEXT;
}

/** WRMSR: ECX, EDX:EAX. */
export function wrmsr(cpu: Processor): Outcome {
  cpu.requireCpl0();
  const { words, msrValue } = cpu;
  msrValue.lo = words[RAX >> 2] >>> 0;
  msrValue.hi = words[RDX >> 2] >>> 0;
  if (!writeMsr(cpu, words[RCX >> 2] >>> 0, msrValue, isExit(cpu, 'msr'))) cpu.gp();
  cpu.completed();
  return cpu.resume();
}

/** RDTSC → EDX:EAX. */
export function rdtsc(cpu: Processor): Outcome {
  const { record } = cpu;
  if ((record.i32(L.CR4) & CR4_TSD) !== 0 && cpu.cpl !== 0) cpu.gp();
  const { tsc } = cpu.services;
  tsc.read();
  record.setPair(RAX, tsc.lo, 0);
  record.setPair(RDX, tsc.hi, 0);
  return NEXT;
}

/** RDTSCP → EDX:EAX, ECX. */
export function rdtscp(cpu: Processor): Outcome {
  rdtsc(cpu);
  cpu.record.setPair(RCX, cpu.record.lo(L.TSC_AUX), 0);
  return NEXT;
}

/** RDPMC: there is no counter, so every index is #GP(0). */
export function rdpmc(cpu: Processor): Outcome {
  const allowed = (cpu.record.i32(L.CR4) & CR4_PCE) !== 0 || cpu.cpl === 0;
  if (!allowed) cpu.gp();
  return cpu.gp();
}

/** HLT. */
export function hlt(cpu: Processor): Outcome {
  cpu.requireCpl0();
  cpu.completed();
  cpu.words[L.ACTIVITY >> 2] = L.ACTIVITY_HALTED;
  cpu.extension.events.forgetHalt();
  if (!cpu.wakes) cpu.exits.deliverHlt((cpu.record.i32(L.EFLAGS) & F.FLAG_IF) !== 0);
  return LEAVE;
}

/** VMMCALL and VMCALL: RAX the number, RBX, RCX, RDX, RSI → RAX. At CPL 0 only, as KVM has it. */
export function vmmcall(cpu: Processor): Outcome {
  const { record, exits } = cpu;
  const { args } = exits.hypercall;
  [RBX, RCX, RDX, RSI].forEach((offset, index) => {
    args[index * 2] = record.lo(offset);
    args[index * 2 + 1] = record.hi(offset);
  });
  if (cpu.cpl !== 0) {
    // -EPERM
    record.setPair(RAX, -1, cpu.is64 ? -1 : 0);
    return NEXT;
  }
  exits.deliverHypercall(record.u32(RAX));
  const { resultLo, resultHi } = exits.hypercall;
  record.setPair(RAX, resultLo, cpu.is64 ? resultHi : 0);
  return NEXT;
}

/** MONITOR: not in the CPU model. */
export function monitor(cpu: Processor): Outcome {
  return ud(cpu);
}

/** MWAIT: not in the CPU model. */
export function mwait(cpu: Processor): Outcome {
  return ud(cpu);
}

/** PAUSE, where an extension may intercept it. */
export function pause(): Outcome {
  return NEXT;
}

/** An instruction of an extension's: ARG0 its place in `EXTENSION_INSTRUCTIONS`. */
export function extension(cpu: Processor): Outcome {
  return cpu.extension.execute(EXTENSION_INSTRUCTIONS[cpu.record.lo(L.ARG0)] ?? '');
}

function randomNumber(cpu: Processor, feature: string): Outcome {
  if (!cpu.cpu.has(feature)) return ud(cpu);
  const { record, random } = cpu;
  const size = record.lo(L.ARG0);
  const lo = random.u32();
  const hi = size === 8 ? random.u32() : 0;
  record.setPair(L.ARG0, size === 2 ? lo & 0xffff : lo, hi);
  record.setEflags(F.FLAG_CF, F.FLAGS_STATUS);
  return NEXT;
}

/** RDRAND: ARG0 the operand size in bytes → ARG0; CF set. */
export function rdrand(cpu: Processor): Outcome {
  return randomNumber(cpu, 'rdrand');
}

/** RDSEED: ARG0 the operand size in bytes → ARG0; CF set. */
export function rdseed(cpu: Processor): Outcome {
  return randomNumber(cpu, 'rdseed');
}

/**
 * An opcode that this processor does not have: #UD, counted by its first bytes. Under keys those
 * are the guest's own: what is counted is shown to the host.
 */
export function ud(cpu: Processor): Outcome {
  const hidden = cpu.physical.keys.cipher !== null;
  cpu.undefinedOpcodes.count(`opcode ${hidden ? 'of private memory' : opcodeBytes(cpu)}`);
  return cpu.raise(VECTOR_UD);
}

/** The first bytes at RIP, in hexadecimal; as many as can be read, at most four. */
function opcodeBytes(cpu: Processor): string {
  const { record, memory } = cpu;
  const base = cpu.is64 ? 0 : record.lo(L.segmentOffset(L.SEG.cs));
  const bytes: string[] = [];
  const fault = record.i32(L.FAULT_VECTOR);
  try {
    for (let i = 0; i < 4; i++) {
      const lo = (base + record.lo(L.RIP) + i) | 0;
      const hi = cpu.is64 ? record.hi(L.RIP) : 0;
      bytes.push(memory.read8(lo, hi, cpu.cpl).toString(16).padStart(2, '0'));
    }
  } catch (error) {
    if (error !== GUEST_FAULT) throw error;
    record.setI32(L.FAULT_VECTOR, fault);
  }
  return bytes.join(' ');
}
