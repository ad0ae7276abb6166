/**
 * The hypervisor leaves: KVM's signature and the timing leaf. The feature bits of 0x40000001 are in
 * `features.ts` with all others.
 *
 * Source: Linux Documentation/virt/kvm/x86/cpuid.rst and msr.rst; the timing leaf 0x40000010 is
 * the one that VMware defined.
 */
import type { CpuidValue } from '../interfaces/index.js';

export const KVM_BASE = 0x40000000;
export const KVM_TIMING = 0x40000010;

/** The virtual TSC and the undivided APIC timer, both 1 GHz. */
const TSC_KHZ = 1_000_000;
const BUS_KHZ = 1_000_000;

/** "KVMKVMKVM", padded with zeros, in EBX, ECX, EDX. */
const SIGNATURE = [0x4b4d564b, 0x564b4d56, 0x0000004d] as const;

/** Fills `value` for a leaf from 0x40000000 on, where it has anything but feature bits. */
export function kvmLeaf(leaf: number, value: CpuidValue): void {
  if (leaf === KVM_BASE) {
    value.eax = KVM_TIMING;
    [value.ebx, value.ecx, value.edx] = SIGNATURE;
  } else if (leaf === KVM_TIMING) {
    value.eax = TSC_KHZ;
    value.ebx = BUS_KHZ;
  }
}
