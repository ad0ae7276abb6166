/**
 * Exits that an SEV-ES guest leaves by itself, without #VC (AMD64 APM vol. 2, 15.35.4 "Types of
 * exits"): the host needs no register for them.
 */
import type { HltExit, MemoryFaultExit, ShutdownExit } from '@cloister/core';
import { EXIT, VMCB } from '../abi/vmcb.js';
import { endWith, hex } from './exchange.js';
import type { HostVcpu, Next } from './hypervisor.js';
import type { HostProfile } from './profile.js';
import type { VcpuRecord } from './records.js';
import { exitName } from './statistics.js';

/** EXITINFO1 of a nested page fault: bits of a page fault's error code. */
const NPF = { WRITE: 1 << 1, FETCH: 1 << 4 } as const;

type Answer = (vcpu: HostVcpu, record: VcpuRecord, profile: HostProfile) => Next;

/** Nothing to do but what happens before VMRUN anyway. */
const goOn: Answer = () => 'run';

/** The guest takes interrupts now: `prepare` has one. */
const window: Answer = ({ vmcb }) => {
  vmcb.interruptWindow = false;
  return 'run';
};

const halt: Answer = (vcpu, _record, profile) => {
  const interruptible = vcpu.vmcb.guestInterruptFlag;
  if (!interruptible && profile.haltWithoutInterrupts !== 'sleep') {
    const why = `${profile.title}: HLT with interrupts disabled (${profile.haltWithoutInterrupts})`;
    return endWith(vcpu, 'halt', why);
  }
  const exit: HltExit = { kind: 'hlt', vcpu: vcpu.index, instructions: -1, interruptible };
  vcpu.host.deliver(exit);
  return 'halt';
};

/** A triple fault; the VMCB says nothing more. */
const shutdown: Answer = (vcpu) => {
  const exit: ShutdownExit = {
    kind: 'shutdown',
    vcpu: vcpu.index,
    instructions: -1,
    reason: 'triple-fault',
  };
  vcpu.host.deliver(exit);
  return 'terminated';
};

/** After the write: the host's only word of a control register. */
const written =
  (register: 'cr0' | 'cr4' | 'cr8' | 'efer'): Answer =>
  ({ vmcb }, record) => {
    record[register] = vmcb.get(VMCB.EXITINFO1);
    return 'run';
  };

/**
 * Memory that the host has not mapped, or not so. All memory is mapped here: what is left is a
 * write to ROM, which nobody can carry out who does not see the instruction.
 */
const nestedPageFault: Answer = (vcpu) => {
  const { vmcb } = vcpu;
  const info = vmcb.get(VMCB.EXITINFO1);
  const gpa = vmcb.getAddress(VMCB.EXITINFO2);
  const access = (info & NPF.FETCH) !== 0 ? 'execute' : (info & NPF.WRITE) !== 0 ? 'write' : 'read';
  const exit: MemoryFaultExit = {
    kind: 'memory-fault',
    vcpu: vcpu.index,
    instructions: -1,
    gpa,
    size: 1,
    access,
    private: false,
  };
  vcpu.host.deliver(exit);
  return endWith(vcpu, 'emulation-failure', `the guest's ${access} at ${hex(gpa)} is not allowed`);
};

const invalid: Answer = (vcpu) =>
  endWith(vcpu, 'fail-entry', 'VMRUN refused the VMCB or the VMSA (VMEXIT_INVALID)');

const ANSWERS: ReadonlyMap<number, Answer> = new Map([
  [EXIT.INTR, goOn],
  [EXIT.NMI, goOn],
  [EXIT.VINTR, window],
  [EXIT.PAUSE, goOn],
  [EXIT.HLT, halt],
  [EXIT.SHUTDOWN, shutdown],
  [EXIT.EFER_WRITE_TRAP, written('efer')],
  [EXIT.CR0_WRITE_TRAP, written('cr0')],
  [EXIT.CR4_WRITE_TRAP, written('cr4')],
  [EXIT.CR8_WRITE_TRAP, written('cr8')],
  [EXIT.NPF, nestedPageFault],
  [EXIT.INVALID, invalid],
]);

/** Answers every exit but VMGEXIT. */
export function answerExit(vcpu: HostVcpu, record: VcpuRecord, profile: HostProfile): Next {
  const code = vcpu.vmcb.exitCode;
  // A VMRUN that fails is no exit of the guest's: nobody can but give up.
  const known = profile.exits.has(code) || code === EXIT.INVALID;
  const answer = known ? ANSWERS.get(code) : undefined;
  if (answer !== undefined) return answer(vcpu, record, profile);
  const message = `${profile.title} has no answer to exit ${exitName(code)}`;
  return endWith(vcpu, 'unexpected-exit', message);
}
