/**
 * Constants of KVM's interface: capabilities, exit reasons, flags. Each table's names are those of
 * the header, without the prefix that its comment gives.
 *
 * Source: Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h.
 */

/** `KVM_CAP_…` */
export const CAP = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  NR_VCPUS: 9,
  NR_MEMSLOTS: 10,
  MP_STATE: 14,
  IRQFD: 32,
  IOEVENTFD: 36,
  ADJUST_CLOCK: 39,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  GET_TSC_KHZ: 61,
  MAX_VCPUS: 66,
  SIGNAL_MSI: 77,
  READONLY_MEM: 81,
  SYNC_REGS: 74,
  SPLIT_IRQCHIP: 121,
  IOEVENTFD_ANY_LENGTH: 122,
  IMMEDIATE_EXIT: 136,
  X86_USER_SPACE_MSR: 188,
  DIRTY_LOG_RING: 192,
  EXIT_ON_EMULATION_FAILURE: 204,
  X86_TRIPLE_FAULT_EVENT: 218,
  MEMORY_ATTRIBUTES: 233,
  GUEST_MEMFD: 234,
  VM_TYPES: 235,
} as const;

/** `KVM_EXIT_…` */
export const EXIT = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  SET_TPR: 11,
  TPR_ACCESS: 12,
  NMI: 16,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  IOAPIC_EOI: 26,
  X86_RDMSR: 29,
  X86_WRMSR: 30,
  DIRTY_RING_FULL: 31,
  MEMORY_FAULT: 39,
} as const;

/** `KVM_EXIT_IO_OUT` */
export const IO_OUT = 1;

/** `KVM_INTERNAL_ERROR_…` */
export const INTERNAL_ERROR = {
  EMULATION: 1,
  SIMUL_EX: 2,
  DELIVERY_EV: 3,
  UNEXPECTED_EXIT_REASON: 4,
} as const;

/** `KVM_VCPUEVENT_VALID_SHADOW` */
export const VCPU_EVENT_VALID_SHADOW = 4;

/** `KVM_MP_STATE_…` */
export const MP = {
  RUNNABLE: 0,
  UNINITIALIZED: 1,
  INIT_RECEIVED: 2,
  HALTED: 3,
  SIPI_RECEIVED: 4,
} as const;

/** `KVM_MEM_…` */
export const MEM = { LOG_DIRTY_PAGES: 1, READONLY: 2, GUEST_MEMFD: 4 } as const;

/** `KVM_MSR_EXIT_REASON_…` */
export const MSR_EXIT_REASON = { INVAL: 1, UNKNOWN: 2, FILTER: 4 } as const;

/** `KVM_GUESTDBG_…` */
export const GUESTDBG = { ENABLE: 1, SINGLESTEP: 2, USE_HW_BP: 0x20000 } as const;

/** `KVM_SYNC_X86_…` */
export const SYNC = { REGS: 1, SREGS: 2, EVENTS: 4 } as const;

/** `KVM_IRQ_ROUTING_…` */
export const ROUTING = { IRQCHIP: 1, MSI: 2 } as const;

/** `KVM_IRQFD_FLAG_…` */
export const IRQFD_FLAG = { DEASSIGN: 1, RESAMPLE: 2 } as const;

/** `KVM_IOEVENTFD_FLAG_…` */
export const IOEVENTFD_FLAG = { DATAMATCH: 1, PIO: 2, DEASSIGN: 4 } as const;

/** `KVM_SYSTEM_EVENT_…` */
export const SYSTEM_EVENT = {
  SHUTDOWN: 1,
  RESET: 2,
  CRASH: 3,
  WAKEUP: 4,
  SUSPEND: 5,
  SEV_TERM: 6,
} as const;

/** `KVM_IRQCHIP_…` */
export const CHIP = { PIC_MASTER: 0, PIC_SLAVE: 1, IOAPIC: 2 } as const;

/** `KVM_CPUID_FLAG_…` */
export const CPUID_FLAG = { SIGNIFCANT_INDEX: 1 } as const;

/** `KVM_DIRTY_GFN_F_…` */
export const DIRTY_GFN_F = { DIRTY: 1, RESET: 2 } as const;

/** `KVM_MEMORY_ATTRIBUTE_…`; Linux 6.8 and later. */
export const MEMORY_ATTRIBUTE = { PRIVATE: 8 } as const;

/** `KVM_X86_…`: VM types; Linux 6.7 (SW_PROTECTED), 6.11 (SEV, SNP), 6.16 (TDX) and later. */
export const VM_TYPE = {
  DEFAULT_VM: 0,
  SW_PROTECTED_VM: 1,
  SEV_VM: 2,
  SEV_ES_VM: 3,
  SNP_VM: 4,
  TDX_VM: 5,
} as const;

/** `KVM_…` without a table of its own. */
export const LIMITS = {
  API_VERSION: 12,
  DIRTY_LOG_PAGE_OFFSET: 64,
} as const;

/** Each table with the prefix of its names, for comparison with the headers. */
export const TABLES: readonly (readonly [string, Readonly<Record<string, number>>])[] = [
  ['KVM_CAP_', CAP],
  ['KVM_EXIT_', EXIT],
  ['KVM_EXIT_IO_', { OUT: IO_OUT }],
  ['KVM_INTERNAL_ERROR_', INTERNAL_ERROR],
  ['KVM_MP_STATE_', MP],
  ['KVM_MEM_', MEM],
  ['KVM_MSR_EXIT_REASON_', MSR_EXIT_REASON],
  ['KVM_GUESTDBG_', GUESTDBG],
  ['KVM_SYNC_X86_', SYNC],
  ['KVM_IRQ_ROUTING_', ROUTING],
  ['KVM_IRQFD_FLAG_', IRQFD_FLAG],
  ['KVM_IOEVENTFD_FLAG_', IOEVENTFD_FLAG],
  ['KVM_SYSTEM_EVENT_', SYSTEM_EVENT],
  ['KVM_IRQCHIP_', CHIP],
  ['KVM_CPUID_FLAG_', CPUID_FLAG],
  ['KVM_DIRTY_GFN_F_', DIRTY_GFN_F],
  ['KVM_MEMORY_ATTRIBUTE_', MEMORY_ATTRIBUTE],
  ['KVM_X86_', VM_TYPE],
  ['KVM_', LIMITS],
];
