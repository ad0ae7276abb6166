/**
 * Events of the GHCB that stand for an instruction of the guest's which only looks at the processor
 * (GHCB specification 56421, table 6). SW_EXITCODE is the exit code that an unprotected guest would
 * have had.
 */
import type { CpuidValue, MsrValue } from '@cloister/core';
import { GHCB_ERROR } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { answerCpuid, RESET_XCR0 } from './cpuid-policy.js';
import { type GhcbEvent, refuse } from './exchange.js';
import { HIDDEN_MSRS } from './profile.js';
import { DR7_RESET, DR7_WRITABLE } from './records.js';

const GP = 13;
const LEAF_XSAVE = 0xd;
/** -KVM_EPERM. */
const HYPERCALL_FORBIDDEN = -1;
const HYPERCALL_ARGUMENTS = ['RBX', 'RCX', 'RDX', 'RSI'] as const;
const NOTHING = [] as const;

const cpuid: CpuidValue = { eax: 0, ebx: 0, ecx: 0, edx: 0 };
const value: MsrValue = { lo: 0, hi: 0 };
const argumentWords = new Uint32Array(8);

/** Instructions that have nothing to do for the host: caches are coherent, and MWAIT may return. */
const harmless = (required: GhcbEvent['required'] = NOTHING): GhcbEvent => ({
  since: 1,
  required,
  returns: NOTHING,
  answer({ ghcb }) {
    ghcb.done();
    return 'run';
  },
});

const readDr7: GhcbEvent = {
  since: 1,
  required: NOTHING,
  returns: ['RAX'],
  answer({ ghcb, record }) {
    ghcb.set('RAX', record.dr7);
    ghcb.done();
    return 'run';
  },
};

const writeDr7: GhcbEvent = {
  since: 1,
  required: ['RAX'],
  returns: NOTHING,
  answer({ ghcb, record }) {
    if (ghcb.hi('RAX') !== 0) ghcb.raise(GP, 0);
    else {
      record.dr7 = ((ghcb.lo('RAX') & DR7_WRITABLE) | DR7_RESET) >>> 0;
      ghcb.done();
    }
    return 'run';
  },
};

const rdtsc: GhcbEvent = {
  since: 1,
  required: NOTHING,
  returns: ['RAX', 'RDX'],
  answer({ vcpu, ghcb }) {
    vcpu.host.rdtsc(value);
    ghcb.set('RAX', value.lo);
    ghcb.set('RDX', value.hi);
    ghcb.done();
    return 'run';
  },
};

/** TSC_AUX is in the VMSA; the host, which cannot see it, answers 0. */
const rdtscp: GhcbEvent = {
  ...rdtsc,
  returns: ['RAX', 'RCX', 'RDX'],
  answer(exchange) {
    exchange.ghcb.set('RCX', 0);
    return rdtsc.answer(exchange);
  },
};

const rdpmc: GhcbEvent = {
  since: 1,
  required: ['RCX'],
  returns: ['RAX', 'RDX'],
  answer({ vcpu, ghcb }) {
    if (vcpu.host.rdpmc(ghcb.lo('RCX'), value) === 'gp') ghcb.raise(GP, 0);
    else {
      ghcb.set('RAX', value.lo);
      ghcb.set('RDX', value.hi);
      ghcb.done();
    }
    return 'run';
  },
};

const cpuidEvent: GhcbEvent = {
  since: 1,
  required: ['RAX', 'RCX'],
  requiredAlso: ({ ghcb, settings }) =>
    settings.profile.xcr0ForLeafD && ghcb.lo('RAX') === LEAF_XSAVE ? ['XCR0'] : NOTHING,
  returns: ['RAX', 'RBX', 'RCX', 'RDX'],
  answer({ vcpu, record, settings, ghcb }) {
    const xcr0 = ghcb.has('XCR0') ? ghcb.lo('XCR0') : RESET_XCR0;
    const leaf = ghcb.lo('RAX');
    answerCpuid(vcpu, record, settings.profile, leaf, ghcb.lo('RCX'), xcr0, cpuid);
    ghcb.set('RAX', cpuid.eax);
    ghcb.set('RBX', cpuid.ebx);
    ghcb.set('RCX', cpuid.ecx);
    ghcb.set('RDX', cpuid.edx);
    ghcb.done();
    return 'run';
  },
};

const msr: GhcbEvent = {
  since: 1,
  required: ['RCX'],
  requiredAlso: ({ ghcb }) => (ghcb.number('SW_EXITINFO1') === 1 ? ['RAX', 'RDX'] : NOTHING),
  returns: ['RAX', 'RDX'],
  answer(exchange) {
    const { ghcb } = exchange;
    const direction = ghcb.number('SW_EXITINFO1');
    if (direction > 1) return refuse(exchange, GHCB_ERROR.INVALID_INPUT);
    const outcome = direction === 0 ? readMsr(exchange) : writeMsr(exchange);
    if (outcome === 'gp') ghcb.raise(GP, 0);
    else {
      if (direction === 0) {
        ghcb.set('RAX', value.lo);
        ghcb.set('RDX', value.hi);
      }
      ghcb.done();
    }
    return 'run';
  },
};

type MsrAccess = (exchange: Parameters<GhcbEvent['answer']>[0]) => 'ok' | 'gp';

/** Into `value`. */
const readMsr: MsrAccess = ({ vcpu, ghcb, settings }) => {
  const index = ghcb.lo('RCX');
  if (!HIDDEN_MSRS.has(index)) return vcpu.host.readMsr(index, value);
  value.lo = 0;
  value.hi = 0;
  return settings.profile.hiddenMsrs === 'unknown' ? 'gp' : 'ok';
};

const writeMsr: MsrAccess = ({ vcpu, ghcb, settings }) => {
  const { hiddenMsrs, unknownWrmsr } = settings.profile;
  const index = ghcb.lo('RCX');
  value.lo = ghcb.lo('RAX');
  value.hi = ghcb.lo('RDX');
  const hidden = HIDDEN_MSRS.has(index);
  if (hidden && hiddenMsrs === 'zero-and-ignored') return 'ok';
  const outcome = hidden ? 'gp' : vcpu.host.writeMsr(index, value);
  return unknownWrmsr === 'ignored' ? 'ok' : outcome;
};

const vmmcall: GhcbEvent = {
  since: 1,
  required: ['RAX', 'CPL'],
  returns: ['RAX'],
  answer({ vcpu, ghcb }) {
    value.lo = HYPERCALL_FORBIDDEN >>> 0;
    value.hi = value.lo;
    if (ghcb.cpl === 0) {
      HYPERCALL_ARGUMENTS.forEach((field, at) => {
        argumentWords[2 * at] = ghcb.lo(field);
        argumentWords[2 * at + 1] = ghcb.hi(field);
      });
      vcpu.host.hypercall(ghcb.lo('RAX'), argumentWords, value);
    }
    ghcb.set('RAX', value.lo, value.hi);
    ghcb.done();
    return 'run';
  },
};

export const PROCESSOR_EVENTS: readonly (readonly [number, GhcbEvent])[] = [
  [EXIT.READ_DR7, readDr7],
  [EXIT.WRITE_DR7, writeDr7],
  [EXIT.RDTSC, rdtsc],
  [EXIT.RDPMC, rdpmc],
  [EXIT.CPUID, cpuidEvent],
  [EXIT.INVD, harmless()],
  [EXIT.MSR, msr],
  [EXIT.VMMCALL, vmmcall],
  [EXIT.RDTSCP, rdtscp],
  [EXIT.WBINVD, harmless()],
  [EXIT.MONITOR, harmless(['RAX', 'RCX', 'RDX'])],
  [EXIT.MWAIT, harmless(['RAX', 'RCX'])],
];
