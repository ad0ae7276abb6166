/**
 * VMGEXIT before there is a GHCB: request and response in the GHCB MSR itself (GHCB specification
 * 56421, 2.3.1 "GHCB MSR protocol").
 *
 * What only an SNP guest may ask for is refused in the words of the protocol: no preferred GHCB, no
 * registration, no page state change, no other VMPL, no features. (Linux/KVM ends a guest without
 * SNP at the first three.)
 */
import type { CpuidValue } from '@cloister/core';
import { GHCB_MSR } from '../abi/ghcb.js';
import { VMCB, type Vmcb } from '../abi/vmcb.js';
import { answerCpuid, RESET_XCR0 } from './cpuid-policy.js';
import { type Exchange, endWith, type HypervisorSettings, hex } from './exchange.js';
import type { HostVcpu, Next } from './hypervisor.js';
import { tellRequest } from './request-text.js';
import { terminationExit, terminationOfMsr } from './termination.js';

interface Request {
  /** Version of the protocol that it came with. */
  readonly since: 1 | 2;
  /** Sets the response; `lo` and `hi` are the MSR with its request. */
  answer(exchange: Exchange, lo: number, hi: number): Next;
}

/** Bits of the MSR that are a request, or 0 beside an address. */
export const REQUEST_BITS = 0xfff;
/** Bits 31:12 of the lower half, all ones: no frame. */
const NO_FRAME_LO = 0xffff_f000;
/** ERROR_CODE of a response that says no; any but 0 does. */
const REFUSED = 1;
const CPUID_REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const;

const cpuid: CpuidValue = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

export const MSR_REQUESTS: ReadonlyMap<number, Request> = new Map<number, Request>([
  [
    GHCB_MSR.SEV_INFO_REQUEST,
    {
      since: 1,
      answer: ({ vcpu, settings }) =>
        respond(vcpu.vmcb, sevInfo(settings.cBit), versions(settings.profile.protocol)),
    },
  ],
  [
    GHCB_MSR.CPUID_REQUEST,
    {
      since: 1,
      answer({ vcpu, record, settings }, lo, hi) {
        answerCpuid(vcpu, record, settings.profile, hi, 0, RESET_XCR0, cpuid);
        const register = lo >>> 30;
        const value = cpuid[CPUID_REGISTERS[register]!];
        return respond(vcpu.vmcb, (register << 30) | GHCB_MSR.CPUID_RESPONSE, value);
      },
    },
  ],
  [
    GHCB_MSR.AP_RESET_HOLD_REQUEST,
    {
      since: 1,
      answer({ vcpu, record }) {
        respond(vcpu.vmcb, GHCB_MSR.AP_RESET_HOLD_RESPONSE, 0);
        record.hold = 'msr';
        return 'reset-hold';
      },
    },
  ],
  [
    GHCB_MSR.PREFERRED_GPA_REQUEST,
    {
      since: 2,
      answer: ({ vcpu }) =>
        respond(vcpu.vmcb, NO_FRAME_LO | GHCB_MSR.PREFERRED_GPA_RESPONSE, 0xffff_ffff),
    },
  ],
  [
    GHCB_MSR.REGISTER_GPA_REQUEST,
    {
      since: 2,
      answer: ({ vcpu }) =>
        respond(vcpu.vmcb, NO_FRAME_LO | GHCB_MSR.REGISTER_GPA_RESPONSE, 0xffff_ffff),
    },
  ],
  [
    GHCB_MSR.PAGE_STATE_CHANGE_REQUEST,
    {
      since: 2,
      answer: ({ vcpu }) => respond(vcpu.vmcb, GHCB_MSR.PAGE_STATE_CHANGE_RESPONSE, REFUSED),
    },
  ],
  [
    GHCB_MSR.RUN_VMPL_REQUEST,
    {
      since: 2,
      answer: ({ vcpu }) => respond(vcpu.vmcb, GHCB_MSR.RUN_VMPL_RESPONSE, REFUSED),
    },
  ],
  [
    GHCB_MSR.HV_FEATURES_REQUEST,
    { since: 2, answer: ({ vcpu }) => respond(vcpu.vmcb, GHCB_MSR.HV_FEATURES_RESPONSE, 0) },
  ],
  [
    GHCB_MSR.TERMINATE_REQUEST,
    {
      since: 1,
      answer(exchange, lo, hi) {
        const { vcpu } = exchange;
        exchange.terminated = terminationOfMsr(lo);
        vcpu.host.deliver(terminationExit(vcpu.index, [lo + hi * 2 ** 32], exchange.terminated));
        return 'terminated';
      },
    },
  ],
]);

/** Answers the request in the VMCB's GHCB MSR; the VM ends at one that is unknown. */
export function answerMsr(exchange: Exchange): Next {
  const { vcpu, settings, statistics } = exchange;
  const { profile } = settings;
  const lo = vcpu.vmcb.get(VMCB.GHCB_GPA);
  const hi = vcpu.vmcb.get(VMCB.GHCB_GPA + 4);
  const number = lo & REQUEST_BITS;
  statistics.requests.count(number);
  tellRequest(exchange, number, hi);
  const request = MSR_REQUESTS.get(number);
  const known = profile.msrRequests.has(number) && request !== undefined;
  if (known && request.since <= profile.protocol.max) return request.answer(exchange, lo, hi);
  const errno = profile.malformed === 'reply' ? '' : ` (${profile.malformed})`;
  const message = `${profile.title} has no answer to GHCB MSR request ${hex(number)}${errno}`;
  return endWith(vcpu, 'ghcb-msr-request', message);
}

/** What the MSR holds after RESET, and the response to its request. */
function sevInfo(cBit: number): number {
  return (cBit << 24) | GHCB_MSR.SEV_INFO_RESPONSE;
}

function versions({ min, max }: { readonly min: number; readonly max: number }): number {
  return (max << 16) | min;
}

function respond(vmcb: Vmcb, lo: number, hi: number): Next {
  vmcb.setPair(VMCB.GHCB_GPA, lo, hi);
  return 'run';
}

/** The response to AP reset hold tells that a SIPI came. */
export function endMsrHold({ vmcb }: HostVcpu): void {
  vmcb.setPair(VMCB.GHCB_GPA, GHCB_MSR.AP_RESET_HOLD_RESPONSE | (1 << 12), 0);
}

/** The MSR's value after RESET: KVM presets it, vmm(4) leaves it 0. */
export function resetGhcbMsr({ vmcb }: HostVcpu, settings: HypervisorSettings): void {
  const { profile, cBit } = settings;
  if (!profile.msrRequests.has(GHCB_MSR.SEV_INFO_REQUEST)) respond(vmcb, 0, 0);
  else respond(vmcb, sevInfo(cBit), versions(profile.protocol));
}
