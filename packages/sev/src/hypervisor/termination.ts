/**
 * A guest that gives up says why: a set of reasons and one of it (GHCB specification 56421, 2.3.1
 * "Termination request", 4.1.13; set 1 is Linux's, arch/x86/include/asm/sev-common.h).
 */
import type { SystemEventExit } from '@cloister/core';

const SETS: Readonly<
  Record<number, { readonly name: string; readonly reasons: readonly string[] }>
> = {
  0: {
    name: 'general',
    reasons: [
      'general termination request',
      'protocol versions of guest and hypervisor do not meet',
      'SEV-SNP features that the guest does not support',
    ],
  },
  1: {
    name: 'Linux',
    reasons: [
      'GHCB could not be registered',
      'page state change failed',
      'PVALIDATE failed',
      'not at VMPL0',
      'CPUID page is unusable',
      'hypervisor did not answer CPUID',
      'secrets page is unusable',
      'no SVSM although not at VMPL0',
      'SVSM although at VMPL0',
      'calling area of the SVSM is unusable',
      'secure TSC is unusable',
    ],
  },
};

export interface Termination {
  readonly set: number;
  readonly reason: number;
}

/** Reason and its set in the MSR: set 15:12, reason 23:16. */
export function terminationOfMsr(lo: number): Termination {
  return { set: (lo >>> 12) & 0xf, reason: (lo >>> 16) & 0xff };
}

/** Reason and its set in SW_EXITINFO1: set 3:0, reason 11:4. */
export function terminationOfEvent(info1: number): Termination {
  return { set: info1 & 0xf, reason: (info1 >>> 4) & 0xff };
}

/** In words for people, e.g. `0:1 (general: protocol versions …)`. */
export function describeTermination({ set, reason }: Termination): string {
  const known = SETS[set];
  const words = known?.reasons[reason];
  if (known === undefined) return `${set}:${reason}`;
  return `${set}:${reason} (${known.name}: ${words ?? 'unnamed reason'})`;
}

/**
 * The exit, in the shape of KVM_SYSTEM_EVENT_SEV_TERM: its first word is the GHCB MSR. Where the
 * request came through a GHCB, SW_EXITINFO1 and 2 follow, in which KVM has no interest.
 */
export function terminationExit(
  vcpu: number,
  data: readonly number[],
  termination: Termination,
): SystemEventExit {
  const message = `the guest terminated itself: ${describeTermination(termination)}`;
  return { kind: 'system-event', vcpu, instructions: -1, event: 'sev-term', data, message };
}
