/**
 * CPUID for a guest whose CR4 and XCR0 the host cannot read: CR4 is what the write trap told, XCR0
 * what the guest says where an answer depends on it (leaf Dh; GHCB specification 56421, 4.1.2).
 *
 * With the profile of vmm(4) leaf 40000000h has OpenBSD's signature, and the KVM leaves follow at
 * 40000100h with the stable clock alone (sys/arch/amd64/amd64/vmm_machdep.c, vmm_handle_cpuid).
 * Without a word of the guest XCR0 is 1, x87 only.
 */
import type { CpuidValue } from '@cloister/core';
import type { HostVcpu } from './hypervisor.js';
import type { HostProfile } from './profile.js';
import type { VcpuRecord } from './records.js';

const HYPERVISOR_LEAF = 0x4000_0000;
const KVM_LEAF = 0x4000_0100;
const KVM_FEATURE_LEAF = 0x4000_0101;
const KVM_FEATURES = HYPERVISOR_LEAF + 1;
/** CLOCKSOURCE2 and CLOCKSOURCE_STABLE. */
const CLOCK_FEATURES = (1 << 3) | (1 << 24);
/** `OpenBSDVMM58`. */
const OPENBSD_SIGNATURE = { ebx: 0x6e65704f, ecx: 0x56445342, edx: 0x38354d4d } as const;

export const RESET_XCR0 = 1;

export function answerCpuid(
  vcpu: HostVcpu,
  record: VcpuRecord,
  profile: HostProfile,
  leaf: number,
  subleaf: number,
  xcr0: number,
  answer: CpuidValue,
): void {
  const guest = { cr4: record.cr4, xcr0 };
  if (!profile.openbsdCpuid || leaf < HYPERVISOR_LEAF || leaf > KVM_FEATURE_LEAF) {
    vcpu.host.cpuid(leaf, subleaf, guest, answer);
    return;
  }
  switch (leaf) {
    case HYPERVISOR_LEAF:
      Object.assign(answer, { eax: KVM_FEATURE_LEAF, ...OPENBSD_SIGNATURE });
      return;
    case KVM_LEAF:
      vcpu.host.cpuid(HYPERVISOR_LEAF, 0, guest, answer);
      answer.eax = KVM_FEATURE_LEAF;
      return;
    case KVM_FEATURE_LEAF:
      vcpu.host.cpuid(KVM_FEATURES, 0, guest, answer);
      Object.assign(answer, { eax: answer.eax & CLOCK_FEATURES, ebx: 0, ecx: 0, edx: 0 });
      return;
    default:
      Object.assign(answer, { eax: 0, ebx: 0, ecx: 0, edx: 0 });
  }
}
