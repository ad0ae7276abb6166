/**
 * The structs of KVM's interface that this backend uses, for x86-64.
 *
 * Source: Linux include/uapi/linux/kvm.h and arch/x86/include/uapi/asm/kvm.h; what each means is in
 * Documentation/virt/kvm/api.rst. Fields that are unions in C have the name of the member used.
 */
import { type FieldType, type Struct, struct } from './struct.js';

const GENERAL = [
  'rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp',
  'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags',
] as const; // biome-ignore format: in the kernel's order

const all = (names: readonly string[], type: FieldType): Record<string, FieldType> =>
  Object.fromEntries(names.map((name) => [name, type]));

export const REGS = struct('kvm_regs', all(GENERAL, 'u64'));

export const SEGMENT = struct('kvm_segment', {
  base: 'u64',
  limit: 'u32',
  selector: 'u16',
  ...all(['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable', 'padding'], 'u8'),
});

export const DTABLE = struct('kvm_dtable', { base: 'u64', limit: 'u16', padding: ['u16', 3] });

export const SREGS = struct('kvm_sregs', {
  ...all(['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'], SEGMENT),
  ...all(['gdt', 'idt'], DTABLE),
  ...all(['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apic_base'], 'u64'),
  interrupt_bitmap: ['u64', 4],
});

export const TRANSLATION = struct('kvm_translation', {
  ...all(['linear_address', 'physical_address'], 'u64'),
  ...all(['valid', 'writeable', 'usermode'], 'u8'),
  pad: ['u8', 5],
});

export const DEBUGREGS = struct('kvm_debugregs', {
  db: ['u64', 4],
  dr6: 'u64',
  dr7: 'u64',
  flags: 'u64',
  reserved: ['u64', 9],
});

export const XCR = struct('kvm_xcr', { xcr: 'u32', reserved: 'u32', value: 'u64' });

export const XCRS = struct('kvm_xcrs', {
  nr_xcrs: 'u32',
  flags: 'u32',
  xcrs: [XCR, 16],
  padding: ['u64', 16],
});

const EXCEPTION = struct('exception', {
  ...all(['injected', 'nr', 'has_error_code', 'pending'], 'u8'),
  error_code: 'u32',
});

export const VCPU_EVENTS = struct('kvm_vcpu_events', {
  exception: EXCEPTION,
  interrupt: struct('interrupt', all(['injected', 'nr', 'soft', 'shadow'], 'u8')),
  nmi: struct('nmi', all(['injected', 'pending', 'masked', 'pad'], 'u8')),
  sipi_vector: 'u32',
  flags: 'u32',
  smi: struct('smi', all(['smm', 'pending', 'smm_inside_nmi', 'latched_init'], 'u8')),
  triple_fault: struct('triple_fault', { pending: 'u8' }),
  reserved: ['u8', 26],
  exception_has_payload: 'u8',
  exception_payload: 'u64',
});

export const MP_STATE = struct('kvm_mp_state', { mp_state: 'u32' });
export const LAPIC_STATE = struct('kvm_lapic_state', { regs: ['u8', 0x400] });
export const XSAVE = struct('kvm_xsave', { region: ['u32', 1024] });
export const IRQCHIP = struct('kvm_irqchip', { chip_id: 'u32', pad: 'u32', chip: ['u64', 64] });

export const CLOCK_DATA = struct('kvm_clock_data', {
  clock: 'u64',
  flags: 'u32',
  pad0: 'u32',
  realtime: 'u64',
  host_tsc: 'u64',
  pad: ['u32', 4],
});

/** The head of what `entries` follow. */
export const CPUID2 = struct('kvm_cpuid2', { nent: 'u32', padding: 'u32' });

export const CPUID_ENTRY2 = struct('kvm_cpuid_entry2', {
  ...all(['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx'], 'u32'),
  padding: ['u32', 3],
});

export const MSR_LIST = struct('kvm_msr_list', { nmsrs: 'u32' });
export const MSRS = struct('kvm_msrs', { nmsrs: 'u32', pad: 'u32' }, { size: 8 });
export const MSR_ENTRY = struct('kvm_msr_entry', { index: 'u32', reserved: 'u32', data: 'u64' });

export const USERSPACE_MEMORY_REGION = struct('kvm_userspace_memory_region', {
  slot: 'u32',
  flags: 'u32',
  ...all(['guest_phys_addr', 'memory_size', 'userspace_addr'], 'u64'),
});

export const DIRTY_LOG = struct('kvm_dirty_log', {
  slot: 'u32',
  padding1: 'u32',
  dirty_bitmap: 'u64',
});

export const DIRTY_GFN = struct('kvm_dirty_gfn', { flags: 'u32', slot: 'u32', offset: 'u64' });

export const ENABLE_CAP = struct('kvm_enable_cap', {
  cap: 'u32',
  flags: 'u32',
  args: ['u64', 4],
  pad: ['u8', 64],
});

export const IRQ_LEVEL = struct('kvm_irq_level', { irq: 'u32', level: 'u32' });
export const INTERRUPT = struct('kvm_interrupt', { irq: 'u32' });

export const MSI = struct('kvm_msi', {
  ...all(['address_lo', 'address_hi', 'data', 'flags', 'devid'], 'u32'),
  pad: ['u8', 12],
});

export const IRQ_ROUTING = struct('kvm_irq_routing', { nr: 'u32', flags: 'u32' });

/** An entry of type MSI or irqchip: both begin with three words. */
export const IRQ_ROUTING_ENTRY = struct('kvm_irq_routing_entry', {
  ...all(['gsi', 'type', 'flags', 'pad'], 'u32'),
  u: ['u32', 8],
});

export const IRQFD = struct('kvm_irqfd', {
  ...all(['fd', 'gsi', 'flags', 'resamplefd'], 'u32'),
  pad: ['u8', 16],
});

export const IOEVENTFD = struct('kvm_ioeventfd', {
  datamatch: 'u64',
  addr: 'u64',
  len: 'u32',
  fd: 's32',
  flags: 'u32',
  pad: ['u8', 36],
});

export const GUEST_DEBUG = struct('kvm_guest_debug', {
  control: 'u32',
  pad: 'u32',
  debugreg: ['u64', 8],
});

/** The head of what `sigset` follows: 8 bytes here. */
export const SIGNAL_MASK = struct('kvm_signal_mask', { len: 'u32' });

export const ENC_REGION = struct('kvm_enc_region', { addr: 'u64', size: 'u64' });

export const SEV_CMD = struct('kvm_sev_cmd', {
  id: 'u32',
  data: 'u64',
  error: 'u32',
  sev_fd: 'u32',
});

/** Linux 6.8 and later, as the next two. */
export const USERSPACE_MEMORY_REGION2 = struct(
  'kvm_userspace_memory_region2',
  {
    slot: 'u32',
    flags: 'u32',
    ...all(['guest_phys_addr', 'memory_size', 'userspace_addr', 'guest_memfd_offset'], 'u64'),
    guest_memfd: 'u32',
  },
  { size: 160 },
);

export const CREATE_GUEST_MEMFD = struct('kvm_create_guest_memfd', {
  size: 'u64',
  flags: 'u64',
  reserved: ['u64', 6],
});

export const MEMORY_ATTRIBUTES = struct('kvm_memory_attributes', {
  ...all(['address', 'size', 'attributes', 'flags'], 'u64'),
});

/** `struct kvm_sync_regs`: what KVM keeps in the run page on request. */
export const SYNC_REGS = struct('kvm_sync_regs', {
  regs: REGS,
  sregs: SREGS,
  events: VCPU_EVENTS,
});

/** What every `kvm_run` has in common; the union of exits begins at `EXIT_UNION`. */
export const RUN = struct(
  'kvm_run',
  {
    request_interrupt_window: 'u8',
    immediate_exit: 'u8',
    padding1: ['u8', 6],
    exit_reason: 'u32',
    ready_for_interrupt_injection: 'u8',
    if_flag: 'u8',
    flags: 'u16',
    cr8: 'u64',
    apic_base: 'u64',
    padding: ['u8', 256],
    kvm_valid_regs: 'u64',
    kvm_dirty_regs: 'u64',
    s: SYNC_REGS,
  },
  { size: 2352 },
);

export const EXIT_UNION = 32;

/** The members of the union, offsets from its start; C has no names for their types. */
export const EXIT_IO = struct('io', {
  direction: 'u8',
  size: 'u8',
  port: 'u16',
  count: 'u32',
  data_offset: 'u64',
});
export const EXIT_MMIO = struct('mmio', {
  phys_addr: 'u64',
  data: ['u8', 8],
  len: 'u32',
  is_write: 'u8',
});
export const EXIT_DEBUG = struct('debug.arch', {
  exception: 'u32',
  pad: 'u32',
  pc: 'u64',
  dr6: 'u64',
  dr7: 'u64',
});
export const EXIT_HYPERCALL = struct('hypercall', { nr: 'u64', args: ['u64', 6], ret: 'u64' });
export const EXIT_FAIL_ENTRY = struct('fail_entry', {
  hardware_entry_failure_reason: 'u64',
  cpu: 'u32',
});
export const EXIT_INTERNAL = struct('internal', {
  suberror: 'u32',
  ndata: 'u32',
  data: ['u64', 16],
});
export const EXIT_EMULATION_FAILURE = struct('emulation_failure', {
  suberror: 'u32',
  ndata: 'u32',
  flags: 'u64',
  insn_size: 'u8',
  insn_bytes: ['u8', 15],
});
export const EXIT_SYSTEM_EVENT = struct('system_event', {
  type: 'u32',
  ndata: 'u32',
  data: ['u64', 16],
});
export const EXIT_EOI = struct('eoi', { vector: 'u8' });
export const EXIT_MSR = struct('msr', {
  error: 'u8',
  pad: ['u8', 7],
  reason: 'u32',
  index: 'u32',
  data: 'u64',
});
/** Linux 6.8 and later. */
export const EXIT_MEMORY_FAULT = struct('memory_fault', { flags: 'u64', gpa: 'u64', size: 'u64' });

/** Structs that a C compiler knows by name. */
export const NAMED: readonly Struct[] = [
  REGS, SEGMENT, DTABLE, SREGS, DEBUGREGS, XCR, XCRS, VCPU_EVENTS, MP_STATE, LAPIC_STATE, XSAVE,
  CLOCK_DATA, CPUID2, CPUID_ENTRY2, MSR_LIST, MSRS, MSR_ENTRY, USERSPACE_MEMORY_REGION,
  DIRTY_GFN, ENABLE_CAP, MSI, IRQ_ROUTING, IRQ_ROUTING_ENTRY, IRQFD, IOEVENTFD, SIGNAL_MASK,
  INTERRUPT, DIRTY_LOG, SYNC_REGS, RUN, ENC_REGION, SEV_CMD, USERSPACE_MEMORY_REGION2,
  CREATE_GUEST_MEMFD, MEMORY_ATTRIBUTES,
]; // biome-ignore format: a list

/** Members of `kvm_run`'s union. */
export const EXITS: readonly Struct[] = [
  EXIT_IO, EXIT_MMIO, EXIT_DEBUG, EXIT_HYPERCALL, EXIT_FAIL_ENTRY, EXIT_INTERNAL,
  EXIT_EMULATION_FAILURE, EXIT_SYSTEM_EVENT, EXIT_EOI, EXIT_MSR, EXIT_MEMORY_FAULT,
]; // biome-ignore format: a list
