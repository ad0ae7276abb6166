/**
 * How VMMs differ in the first state of a vCPU and in the order of measured pages. Each is what
 * was seen in digests of that VMM: QEMU, EC2 and GCE on machines or in their own tools, KRUN only
 * in sources (unconfirmed).
 */
import { resetState, type VcpuState, VmmError } from '@cloister/core';
import { RESET_PAT, vmsaPage } from './vmsa-page.js';

/** EIP of the first vCPU. */
export const RESET_VECTOR = 0xfffffff0;

export interface VmmProfile {
  /** A sentence for help and listings. */
  readonly what: string;
  /** EDX of a starting vCPU: the CPU's signature, or this. */
  readonly rdx: 'signature' | number;
  readonly gPat: bigint;
  readonly mxcsr: number;
  readonly fcw: number;
  /** The CPUID page comes after all other sections. */
  readonly cpuidLast: boolean;
  /** How plain firmware memory is given to the guest. */
  readonly secMem: 'zero' | 'unmeasured';
  /** Segment attributes that differ from a reset CPU's, for the first vCPU and for the others. */
  readonly attributes: (first: boolean) => { cs: number; ss: number; tr: number };
  /** What else is different. */
  readonly adjust?: (state: VcpuState, first: boolean) => void;
}

const PLAIN = () => ({ cs: 0x9b, ss: 0x93, tr: 0x8b });
/** A hypervisor that hands over segments without their accessed and busy bits. */
const UNTOUCHED = { cs: 0x9a, ss: 0x92, tr: 0x83 };

const QEMU: VmmProfile = {
  what: 'QEMU on a kernel with KVM_SEV_INIT2 (Linux 6.10 and later)',
  rdx: 'signature',
  gPat: RESET_PAT,
  mxcsr: 0x1f80,
  fcw: 0x37f,
  cpuidLast: false,
  secMem: 'zero',
  attributes: PLAIN,
};

const EC2: VmmProfile = {
  what: 'Amazon EC2, since about 2026',
  rdx: 0x600,
  gPat: RESET_PAT,
  mxcsr: 0,
  fcw: 0,
  cpuidLast: true,
  secMem: 'zero',
  attributes: (first) => (first ? UNTOUCHED : { ...UNTOUCHED, cs: 0x9b }),
};

export const VMM_PROFILES = {
  qemu: QEMU,
  'qemu-legacy': { ...QEMU, what: 'QEMU on a kernel before KVM_SEV_INIT2', mxcsr: 0, fcw: 0 },
  ec2: EC2,
  'ec2-rdx0': { ...EC2, what: 'Amazon EC2, until about 2026', rdx: 0 },
  gce: {
    ...QEMU,
    what: 'Google Compute Engine',
    rdx: 0x600,
    gPat: 0x0007_0106n,
    mxcsr: 0,
    fcw: 0,
    secMem: 'unmeasured',
  },
  krun: {
    ...QEMU,
    what: 'libkrun (unconfirmed: no digest of a machine is known)',
    rdx: 0,
    mxcsr: 0,
    fcw: 0,
    attributes: () => UNTOUCHED,
    adjust: adjustKrun,
  },
} as const satisfies Record<string, VmmProfile>;

export type VmmName = keyof typeof VMM_PROFILES;

/** The profile of a name, in any case. */
export function vmmProfile(name: string): VmmProfile {
  const profile = (VMM_PROFILES as Record<string, VmmProfile>)[name.toLowerCase()];
  if (profile !== undefined && Object.hasOwn(VMM_PROFILES, name.toLowerCase())) return profile;
  throw new VmmError('invalid-argument', `VMM ${JSON.stringify(name)} is not known`, {
    remedy: `one of ${Object.keys(VMM_PROFILES).join(', ')}`,
  });
}

/** libkrun starts Linux itself: the first vCPU has a stack, the others begin in a trampoline. */
function adjustKrun(state: VcpuState, first: boolean): void {
  if (first) {
    state.gpr.rsi = 0x7000n;
    state.gpr.rbp = 0x8ff0n;
    state.gpr.rsp = 0x8ff0n;
    return;
  }
  state.cs.selector = 0x9100;
  state.cs.base = 0x91000n;
  state.rip = 0n;
}

/** KVM turns these on for every guest with encrypted state. */
const EFER_SVME = 0x1000n;
const CR4_MCE = 0x40n;

/** The VMSA of a vCPU that starts in firmware at `eip`. */
export function firmwareVmsa(vcpu: {
  readonly profile: VmmProfile;
  readonly first: boolean;
  readonly eip: number;
  readonly signature: number;
  readonly features: bigint;
}): Uint8Array {
  const { profile, first, eip } = vcpu;
  const state = resetState(profile.rdx === 'signature' ? vcpu.signature : profile.rdx);
  const attributes = profile.attributes(first);
  state.cs.attributes = attributes.cs;
  state.ss.attributes = attributes.ss;
  state.tr.attributes = attributes.tr;
  state.cs.base = BigInt((eip & 0xffff0000) >>> 0);
  state.rip = BigInt(eip & 0xffff);
  setControl(state, 0x10n);
  profile.adjust?.(state, first);
  return vmsaPage(state, { ...profile, features: vcpu.features });
}

/** The VMSA of a vCPU that starts in a Coconut SVSM: flat 32-bit protected mode, no paging. */
export function svsmVmsa(vcpu: {
  readonly profile: VmmProfile;
  /** Physical address of the entry point. */
  readonly entry: number;
  readonly signature: number;
  readonly features: bigint;
}): Uint8Array {
  const { profile } = vcpu;
  const state = resetState(profile.rdx === 'signature' ? vcpu.signature : profile.rdx);
  const data = () => ({ selector: 0x10, attributes: 0xc93, limit: 0xffffffff, base: 0n });
  state.cs = { selector: 8, attributes: 0xc9b, limit: 0xffffffff, base: 0n };
  for (const name of ['es', 'ss', 'ds', 'fs'] as const) state[name] = data();
  state.rip = BigInt(vcpu.entry);
  setControl(state, 0x11n);
  return vmsaPage(state, { ...profile, features: vcpu.features });
}

function setControl(state: VcpuState, cr0: bigint): void {
  state.cr0 = cr0;
  state.cr4 = CR4_MCE;
  state.efer = EFER_SVME;
}

/** CR0.CD and CR0.NW, which KVM takes away. */
const CR0_CACHE = 0x60000000n;

/** The VMSA of a vCPU that starts in the given state under KVM. */
export function stateVmsa(
  state: VcpuState,
  options: { readonly features: bigint; readonly profile?: VmmProfile },
): Uint8Array {
  const seen = {
    ...state,
    cr0: state.cr0 & ~CR0_CACHE,
    cr4: state.cr4 | CR4_MCE,
    efer: state.efer | EFER_SVME,
  };
  return vmsaPage(seen, { ...(options.profile ?? QEMU), features: options.features });
}
