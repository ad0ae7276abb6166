/**
 * Model-specific registers by index, named as the manuals name them.
 *
 * Source: AMD APM vol. 2, appendix A; PPR for family 19h model 01h, 2.1.14;
 * Linux Documentation/virt/kvm/x86/msr.rst (KVM_*).
 */
export const TSC = 0x10;
export const KVM_WALL_CLOCK_OLD = 0x11;
export const KVM_SYSTEM_TIME_OLD = 0x12;
export const APIC_BASE = 0x1b;
export const TSC_ADJUST = 0x3b;
export const SPEC_CTRL = 0x48;
export const PRED_CMD = 0x49;
export const PATCH_LEVEL = 0x8b;
export const MTRR_CAP = 0xfe;
export const SYSENTER_CS = 0x174;
export const SYSENTER_ESP = 0x175;
export const SYSENTER_EIP = 0x176;
export const DEBUG_CTL = 0x1d9;
export const MTRR_PHYS_BASE = 0x200;
export const MTRR_FIX_64K = 0x250;
export const MTRR_FIX_16K = 0x258;
export const MTRR_FIX_4K = 0x268;
export const PAT = 0x277;
export const MTRR_DEF_TYPE = 0x2ff;
export const TSC_DEADLINE = 0x6e0;
export const X2APIC_FIRST = 0x800;
export const X2APIC_LAST = 0x8ff;
export const KVM_WALL_CLOCK = 0x4b564d00;
export const KVM_SYSTEM_TIME = 0x4b564d01;
export const KVM_PV_EOI = 0x4b564d04;
export const EFER = 0xc0000080;
export const STAR = 0xc0000081;
export const LSTAR = 0xc0000082;
export const CSTAR = 0xc0000083;
export const SFMASK = 0xc0000084;
export const FS_BASE = 0xc0000100;
export const GS_BASE = 0xc0000101;
export const KERNEL_GS_BASE = 0xc0000102;
export const TSC_AUX = 0xc0000103;
export const SYSCFG = 0xc0010010;
export const HWCR = 0xc0010015;
export const NB_CFG = 0xc001001f;
export const VM_CR = 0xc0010114;
export const DE_CFG = 0xc0011029;
