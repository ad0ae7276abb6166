/**
 * Hypervisors as data: what each intercepts, which requests it knows, and what it does where they
 * differ.
 *
 * `kvm` is Linux/KVM's SEV-ES (arch/x86/kvm/svm/sev.c, svm.c). Where it keeps silent about a
 * request that only an SNP guest may make, the answer here is the one by which the GHCB
 * specification refuses. `openbsd` is vmm(4) with vmd(8) of OpenBSD 7.8: CPUID, IN and OUT of one
 * item, and MSRs by GHCB, CPUID and termination by MSR; anything else ends the VM with the errno
 * that vmm(4) returns to vmd(8).
 *
 * Inaccuracy of `openbsd`: vmm(4) injects #GP for an unknown RDMSR through EVENTINJ; here the reply
 * asks for it, as the specification wants.
 */
import { GHCB_MSR, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';

export type SevHostName = 'kvm' | 'openbsd';

export interface HostProfile {
  readonly name: SevHostName;
  /** In words for messages. */
  readonly title: string;
  /** Exit codes for which intercepts are set from the start. */
  readonly intercepts: readonly number[];
  /** Exit codes that it handles; another one ends the VM. */
  readonly exits: ReadonlySet<number>;
  /** Requests of the MSR protocol that it knows. */
  readonly msrRequests: ReadonlySet<number>;
  /** SW_EXITCODEs that it knows. */
  readonly events: ReadonlySet<number>;
  /** GHCB protocol versions; it answers requests of its highest one and below. */
  readonly protocol: { readonly min: number; readonly max: number };
  /** MSRs that the guest may read and write without an exit. */
  readonly passedReads: ReadonlySet<number>;
  readonly passedWrites: ReadonlySet<number>;
  /**
   * What follows a malformed GHCB or request: a reply that says so, or the end of the VM with
   * this errno.
   */
  readonly malformed: 'reply' | 'EINVAL';
  /** Whether the first address of a GHCB that is used must stay the only one. */
  readonly latchesGhcb: boolean;
  /** Whether CPUID leaf Dh needs XCR0 beside it. */
  readonly xcr0ForLeafD: boolean;
  /** Whether it handles INS and OUTS. */
  readonly stringIo: boolean;
  /** What an MSR access through the GHCB does to a register of the VMSA, which no host can see. */
  readonly hiddenMsrs: 'zero-and-ignored' | 'unknown';
  /** What a WRMSR of an index that nobody knows does. */
  readonly unknownWrmsr: 'gp' | 'ignored';
  /** What HLT with interrupts disabled does: sleep (an NMI may come) or end with this errno. */
  readonly haltWithoutInterrupts: 'sleep' | 'EIO';
  /** Whether CPUID shows OpenBSD's signature, with KVM's clock at 40000100h. */
  readonly openbsdCpuid: boolean;
}

const SYSTEM_MSRS = [
  // SYSENTER_CS, _ESP, _EIP
  ...[0x174, 0x175, 0x176],
  // STAR, LSTAR, CSTAR, SFMASK
  ...[0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084],
  // FS_BASE, GS_BASE, KERNEL_GS_BASE
  ...[0xc0000100, 0xc0000101, 0xc0000102],
];
const TSC = 0x10;
const FEATURE_CONTROL = 0x3a;
const SPEC_CTRL = 0x48;
const PRED_CMD = 0x49;
const DEBUG_CTL = 0x1d9;
const PAT = 0x277;
const XSS = 0xda0;
const EFER = 0xc0000080;
const TSC_AUX = 0xc0000103;
const HWCR = 0xc0010015;
const PSTATE_DEF = 0xc0010064;
const SEV_ES_GHCB = 0xc0010130;
const SEV_STATUS = 0xc0010131;

/** Registers of the VMSA with an index, the GHCB's address and SEV_STATUS. */
export const HIDDEN_MSRS: ReadonlySet<number> = new Set([
  ...SYSTEM_MSRS,
  ...[SPEC_CTRL, DEBUG_CTL, PAT, XSS, EFER, TSC_AUX, SEV_ES_GHCB, SEV_STATUS],
]);

const KVM_MSRS = new Set([...HIDDEN_MSRS, PRED_CMD]);

/** What every hypervisor intercepts. */
const COMMON = [
  ...[EXIT.INTR, EXIT.NMI, EXIT.CPUID, EXIT.HLT, EXIT.INVLPGA, EXIT.IOIO, EXIT.MSR],
  ...[EXIT.SHUTDOWN, EXIT.VMRUN, EXIT.VMMCALL, EXIT.VMLOAD, EXIT.VMSAVE, EXIT.STGI, EXIT.CLGI],
  ...[EXIT.SKINIT, EXIT.MONITOR, EXIT.MWAIT],
  ...[EXIT.EFER_WRITE_TRAP, EXIT.CR0_WRITE_TRAP, EXIT.CR4_WRITE_TRAP],
];

/** NAE codes of version 1 and 2 that a guest without SNP may use. */
const ES_EVENTS = [
  ...[EXIT.READ_DR7, EXIT.WRITE_DR7, EXIT.RDTSC, EXIT.RDPMC, EXIT.CPUID, EXIT.INVD, EXIT.IOIO],
  ...[EXIT.MSR, EXIT.VMMCALL, EXIT.RDTSCP, EXIT.WBINVD, EXIT.MONITOR, EXIT.MWAIT],
  ...[NAE.MMIO_READ, NAE.MMIO_WRITE, NAE.NMI_COMPLETE, NAE.AP_RESET_HOLD, NAE.AP_JUMP_TABLE],
  ...[NAE.HV_FEATURES, NAE.TERMINATE, NAE.UNSUPPORTED_EVENT],
];

const KVM: HostProfile = {
  name: 'kvm',
  title: 'Linux/KVM',
  intercepts: [
    ...COMMON,
    ...[EXIT.RDPMC, EXIT.INVD, EXIT.WBINVD, EXIT.PAUSE, EXIT.CR8_WRITE_TRAP],
    ...[EXIT.READ_DR7, EXIT.WRITE_DR7],
  ],
  exits: new Set([
    ...[EXIT.INTR, EXIT.NMI, EXIT.VINTR, EXIT.PAUSE, EXIT.HLT, EXIT.SHUTDOWN, EXIT.NPF],
    ...[EXIT.EFER_WRITE_TRAP, EXIT.CR0_WRITE_TRAP, EXIT.CR4_WRITE_TRAP, EXIT.CR8_WRITE_TRAP],
    ...[EXIT.VMGEXIT, EXIT.INVALID],
  ]),
  msrRequests: new Set([
    ...[GHCB_MSR.SEV_INFO_REQUEST, GHCB_MSR.CPUID_REQUEST, GHCB_MSR.AP_RESET_HOLD_REQUEST],
    ...[GHCB_MSR.PREFERRED_GPA_REQUEST, GHCB_MSR.REGISTER_GPA_REQUEST],
    ...[GHCB_MSR.PAGE_STATE_CHANGE_REQUEST, GHCB_MSR.RUN_VMPL_REQUEST],
    ...[GHCB_MSR.HV_FEATURES_REQUEST, GHCB_MSR.TERMINATE_REQUEST],
  ]),
  events: new Set(ES_EVENTS),
  protocol: { min: 1, max: 2 },
  passedReads: KVM_MSRS,
  passedWrites: KVM_MSRS,
  malformed: 'reply',
  latchesGhcb: false,
  xcr0ForLeafD: true,
  stringIo: true,
  hiddenMsrs: 'zero-and-ignored',
  unknownWrmsr: 'gp',
  haltWithoutInterrupts: 'sleep',
  openbsdCpuid: false,
};

const OPENBSD: HostProfile = {
  name: 'openbsd',
  title: 'vmm(4)',
  intercepts: [...COMMON, EXIT.RDTSCP, EXIT.ICEBP],
  exits: new Set([
    ...[EXIT.INTR, EXIT.VINTR, EXIT.HLT, EXIT.SHUTDOWN, EXIT.NPF, EXIT.VMGEXIT],
    ...[EXIT.EFER_WRITE_TRAP, EXIT.CR0_WRITE_TRAP, EXIT.CR4_WRITE_TRAP],
  ]),
  msrRequests: new Set([GHCB_MSR.CPUID_REQUEST, GHCB_MSR.TERMINATE_REQUEST]),
  events: new Set([EXIT.CPUID, EXIT.IOIO, EXIT.MSR]),
  protocol: { min: 1, max: 1 },
  passedReads: new Set([
    ...SYSTEM_MSRS,
    ...[TSC, FEATURE_CONTROL, XSS, EFER, HWCR, PSTATE_DEF, SEV_ES_GHCB, SEV_STATUS],
  ]),
  passedWrites: new Set([...SYSTEM_MSRS, FEATURE_CONTROL, EFER, SEV_ES_GHCB, SEV_STATUS]),
  malformed: 'EINVAL',
  latchesGhcb: true,
  xcr0ForLeafD: false,
  stringIo: false,
  hiddenMsrs: 'unknown',
  unknownWrmsr: 'ignored',
  haltWithoutInterrupts: 'EIO',
  openbsdCpuid: true,
};

export const SEV_HOSTS: Readonly<Record<SevHostName, HostProfile>> = {
  kvm: KVM,
  openbsd: OPENBSD,
};
