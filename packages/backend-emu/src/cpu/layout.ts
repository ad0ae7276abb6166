/**
 * The vCPU record: every architectural and run-time field of one vCPU as it lies in the WebAssembly
 * memory, as byte offsets from `cpuBase`. Little-endian throughout. Emitted code and TypeScript
 * share these offsets; nothing emitted holds an absolute address of a vCPU.
 *
 * Segment attributes are in VMCB form (AMD APM vol. 2, appendix B): type 3:0, S 4, DPL 6:5, P 7,
 * AVL 8, L 9, D/B 10, G 11. Limits are scaled to bytes.
 *
 * Status flags are kept lazily in three words (see `isa/flags.ts`); all other RFLAGS bits stand in
 * `EFLAGS`.
 */

/** General registers in order of encoding, 8 bytes each; the low bytes lie first. */
export const GPR = 0x000;
/** Linear-independent page base of RIP: RIP = RIP_PAGE + page offset of the op record. */
export const RIP_PAGE = 0x080;
/** Architectural RIP, valid between runs, in system functions (start of the instruction). */
export const RIP = 0x088;
/** Always zero: the "register" of an absent base or index. */
export const ZERO = 0x090;
/** Result, sign-extended from the operand size: ZF = (res == 0); SF and PF see `FLAG_ADJ`. */
export const FLAG_RES = 0x098;
/** Carry vector, left-aligned: CF = bit 63, OF = bit 63 ^ bit 62. */
export const FLAG_CV = 0x0a0;
/** Bit 4: AF. Bit 63: inverts SF. Bits 15:8: xored into the byte whose parity is PF. */
export const FLAG_ADJ = 0x0a8;
/** RFLAGS without OF, SF, ZF, AF, PF, CF; bit 1 always set. u32. */
export const EFLAGS = 0x0b0;
/** Current privilege level, 0 to 3. u32. */
export const CPL = 0x0b4;
/** Decoding mode key, see `cpu/mode.ts`. u32. */
export const MODE = 0x0b8;
/** Op record in execution, set before every call out of emitted code. u32 address. */
export const CUR_OP = 0x0bc;
/** Instructions left until the deadline, less those of the whole current block. i32. */
export const BUDGET = 0x0c0;
/** Pending exception: vector, or -1. i32. */
export const FAULT_VECTOR = 0x0c4;
/** Error code of the pending exception; -1: none is pushed. i32. */
export const FAULT_ERROR = 0x0c8;
/** Offset of the op record at which to stop (its handler is patched), 0: none. u32. */
export const STOP_OP = 0x0cc;
/** Linear address of a page fault, moved to CR2 at delivery. i64. */
export const FAULT_ADDRESS = 0x0d0;
/** Offsets from cpuBase of the TLB and the jump cache in use (`Processor.selectTlb`). u32. */
export const TLB = 0x0d8;
export const JUMP_CACHE = 0x0dc;
/** Generation of entries in the jump cache in use; another voids them. u32. */
export const GENERATION = 0x0e0;
/** 1 while a slow read-modify-write waits for its commit. u32. */
export const RMW_PENDING = 0x0e4;
/** 0 running, 1 halted, 2 waiting for SIPI, 3 shut down. u32. See `ACTIVITY_*`. */
export const ACTIVITY = 0x0e8;
/** Interrupts inhibited until this many instructions have ended (STI, MOV SS): 0 or 1. u32. */
export const SHADOW = 0x0ec;
/** 1 from NMI delivery to IRET. u32. */
export const NMI_BLOCKED = 0x0f0;
/** RIP after the instruction, valid in system functions. i64. */
export const NEXT_RIP = 0x0f8;

/** Segment registers, 32 bytes each, in order of encoding, then LDTR and TR. */
export const SEGMENTS = 0x100;
export const SEGMENT_SIZE = 32;
export const SEG = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7 } as const;
/** Offsets within a segment: base i64, limit u32, selector u16, attributes u16. */
export const SEG_BASE = 0;
export const SEG_LIMIT = 8;
export const SEG_SELECTOR = 12;
export const SEG_ATTRIBUTES = 14;

/** Descriptor tables: base i64 at 0, limit u32 at 8. */
export const GDTR = 0x200;
export const IDTR = 0x210;

/** Control and debug registers, 8 bytes each. */
export const CR0 = 0x220;
export const CR2 = 0x228;
export const CR3 = 0x230;
export const CR4 = 0x238;
export const CR8 = 0x240;
export const XCR0 = 0x248;
export const EFER = 0x250;
/** DR0, DR1, DR2, DR3, (unused), (unused), DR6, DR7. */
export const DR = 0x258;

/** MSRs that emitted code or hot paths read, 8 bytes each; the rest is in `msr/`. */
export const STAR = 0x298;
export const LSTAR = 0x2a0;
export const CSTAR = 0x2a8;
export const SFMASK = 0x2b0;
export const KERNEL_GS_BASE = 0x2b8;
export const SYSENTER_CS = 0x2c0;
export const SYSENTER_ESP = 0x2c8;
export const SYSENTER_EIP = 0x2d0;
export const TSC_AUX = 0x2d8;
/** TSC = clock + TSC_OFFSET (nanoseconds at 1 GHz nominal). i64. */
export const TSC_OFFSET = 0x2e0;

/**
 * RIP of the instruction after the last STI or MOV SS executed by emitted code, -1: none. While
 * RIP equals it, interrupts are inhibited. i64.
 */
export const SHADOW_RIP = 0x2e8;
/** 1 when an interrupt waits that IF would let through: STI and POPF then leave. u32. */
export const INTERRUPT_PENDING = 0x2f0;

/** What x87, MMX and SSE instructions raise at once, see `fpu/traps.ts`. u32. */
export const FPU_TRAPS = 0x2f4;

/** Protection-key rights (AMD APM vol. 2, 5.6.7); written by `Processor.setPkru`. u32. */
export const PKRU = 0x2f8;

/** XMM0 to XMM15, 16 bytes each. */
export const XMM = 0x300;
/** x87 registers by physical number, 16 bytes each, 10 used (80-bit extended, little-endian). */
export const ST = 0x400;
/** u16 control word, u16 status word (TOP in bits 13:11), u16 tag word (2 bits a register). */
export const FCW = 0x480;
export const FSW = 0x482;
export const FTW = 0x484;
/** u16 last opcode (11 bits), i64 last instruction and data pointers, u16 selectors. */
export const FOP = 0x486;
export const FIP = 0x488;
export const FDP = 0x490;
export const FCS = 0x498;
export const FDS = 0x49a;
/** u32. */
export const MXCSR = 0x49c;
/** Arguments of system functions and of slow paths, i64 each: four. Results go to ARG0, ARG1. */
export const ARG0 = 0x4a0;
export const ARG1 = 0x4a8;
export const ARG2 = 0x4b0;
export const ARG3 = 0x4b8;
/** Bounce buffer of slow memory accesses (page-crossing, MMIO), 64 bytes. */
export const BOUNCE = 0x4c0;
/** Small emitted-code temporaries. */
export const TEMP = 0x500;

/** The four page-directory-pointer entries of legacy PAE paging, loaded with CR3; i64 each. */
export const PDPTE = 0x5e0;

/** Bytes of the architectural record: what a snapshot copies and a world switch swaps. */
export const RECORD_SIZE = 0x600;

/**
 * What the summary counts of translated regions, no state of the vCPU: instructions executed in
 * them, and how often they were left, by reason (`jit/region-function.ts`). i64 each.
 */
export const REGION_INSTRUCTIONS = 0x600;
export const REGION_EXITS = 0x608;

/**
 * Status flags on the way from one region to the next, no state of the vCPU either: their kind
 * (`jit/region-flags.ts`), u32, and CF of before INC and DEC at bit 63, i64. The values that they
 * follow from are in `FLAG_RES`, `FLAG_CV` and `FLAG_ADJ`.
 */
export const REGION_KIND = 0x650;
export const REGION_CARRY = 0x658;

/**
 * Where jumps and calls through a register or memory led last that were interpreted in 64-bit mode:
 * a ring of pairs, address of the op record and distance of the target from RIP_PAGE, u32 and i32;
 * and the place of the next pair in the ring, in bytes, u32. No state of the vCPU.
 */
export const INDIRECT_NEXT = 0x660;
export const INDIRECT = 0x800;
export const INDIRECT_PAIRS = 128;
export const INDIRECT_PAIR_SIZE = 8;

/**
 * Of the jump caches of supervisor and user code, u32 each: the generation of their valid entries;
 * the mode that these were made for, -1: none.
 */
export const CODE_GENERATIONS = 0x640;
export const CODE_MODES = 0x648;

/** Instructions that the vCPU will have executed when BUDGET is zero. i64. */
export const COUNT_END = 0x680;
/** Whether time follows the instructions: their count and TIME_EPOCH, in ns. u32, i64. */
export const TIME_COUNTED = 0x688;
export const TIME_EPOCH = 0x690;
/** Events that an extension intercepts now, as bits in the order of core's `INTERCEPTS`. u32. */
export const INTERCEPTED = 0x68c;
/** `cpu/debug-state.ts`: the instruction count at which RFLAGS.RF is set, -1: none. i64. */
export const RESUME_AT = 0x698;
/** The same: causes, as DR6 has them, of the debug trap that is due. u32. */
export const DEBUG_PENDING = 0x6a0;
/**
 * Set where an access that is about to write found a page of zeros which nobody had written yet,
 * which the host need not provide with memory for another zero. u32.
 */
export const FOUND_BLANK = 0x6a4;
/**
 * What emitted code may do with MSRs by itself (`extension/msr-rights.ts`), no state of the vCPU;
 * the number of the MSR that an extension has kept here, u32; and its value, i64.
 */
export const MSR_RIGHTS = 0x6a8;
export const KEPT_MSR = 0x6ac;
export const KEPT_MSR_VALUE = 0x6b0;

/**
 * What the page walk in emitted code goes by (`mmu/fast-walk.ts`), no state of the vCPU: GPA of the
 * root table and bits of an entry that must be zero, i64; levels (0: paging is not long mode's),
 * `WALK_RULE`, whether everything is left to TypeScript, and the page of the local APIC, u32.
 */
export const WALK_ROOT = 0x700;
export const WALK_RESERVED = 0x708;
export const WALK_LEVELS = 0x710;
export const WALK_RULES = 0x714;
export const WALK_REFUSED = 0x718;
export const WALK_APIC = 0x71c;
export const WALK_RULE = { protect: 1, smep: 2, smap: 4, keys: 8, gigabyte: 16 } as const;
/** Where `mmu/frame-tables.ts` and system-physical address 0 lie in the memory. u32. */
export const WALK_MAP = 0x720;
export const WALK_MAP_PAGES = 0x724;
export const WALK_FLAGS = 0x728;
export const WALK_LINES = 0x72c;
export const WALK_RAM = 0x730;
/** With an extension whose verdicts last: its bit of table entries, i64, and its tables. u32. */
export const WALK_MARK = 0x738;
export const WALK_VERDICTS = 0x740;
export const WALK_KEY_TAGS = 0x744;
export const WALK_CACHED = 0x748;

/** How many translations were entered since the start. u32. */
export const TLB_FILLS = 0x734;
/** Bits by a hash of the GiB: where large pages may have been entered. */
export const TLB_LARGE = 0x780;
export const TLB_LARGE_BITS = 1024;

export const ACTIVITY_RUNNING = 0;
export const ACTIVITY_HALTED = 1;
export const ACTIVITY_WAIT_SIPI = 2;
export const ACTIVITY_SHUTDOWN = 3;

/** TLB: 1024 entries of 32 bytes {tagR i64, tagW i64, tagX i64, addend i32, spare i32}. */
export const TLB_ENTRIES = 1024;
export const TLB_ENTRY_SIZE = 32;
export const TLB_TAG_READ = 0;
export const TLB_TAG_WRITE = 8;
export const TLB_TAG_EXECUTE = 16;
export const TLB_ADDEND = 24;
/** Supervisor (CPL 0-2) and user (CPL 3) translations are kept apart. */
export const TLB_SUPERVISOR = 0x1000;
export const TLB_USER = TLB_SUPERVISOR + TLB_ENTRIES * TLB_ENTRY_SIZE;

/**
 * Jump cache: 32768 entries of 16 bytes {rip i64, generation u32, op record u32}, two likewise.
 * What another target has taken the place of may be in the entry beside it (offset ^ 16).
 */
export const JUMP_ENTRIES = 32768;
export const JUMP_ENTRY_SIZE = 16;
/**
 * An entry's offset is the upper half of the address's lower 32 bits times a number (2^32 by the
 * golden ratio): neighbouring pages of straight code are entered at nearly the same offset.
 */
export const JUMP_FACTOR = 0x9e3779b1 | 0;
export const JUMP_SHIFT = 13;
export const JUMP_MASK = (JUMP_ENTRIES - 1) * JUMP_ENTRY_SIZE;
export const JUMP_SUPERVISOR = TLB_USER + TLB_ENTRIES * TLB_ENTRY_SIZE;
export const JUMP_USER = JUMP_SUPERVISOR + JUMP_ENTRIES * JUMP_ENTRY_SIZE;

/** Translations of CPL 0-2 while EFLAGS.AC overrides SMAP, laid out like the other two TLBs. */
export const TLB_OVERRIDE = JUMP_USER + JUMP_ENTRIES * JUMP_ENTRY_SIZE;

/** One without any translation, laid out alike: what user accesses go by while #AC is on. */
export const TLB_EMPTY = TLB_OVERRIDE + TLB_ENTRIES * TLB_ENTRY_SIZE;

/**
 * Which entries of the TLBs may be in use: a bit each, by (offset - TLB_SUPERVISOR) /
 * TLB_ENTRY_SIZE, for what lies between TLBs too. Entries that are not global, and global ones.
 */
export const TLB_NOTES = TLB_EMPTY + TLB_ENTRIES * TLB_ENTRY_SIZE;
export const TLB_NOTES_SIZE = (TLB_EMPTY - TLB_SUPERVISOR) / TLB_ENTRY_SIZE / 8;
export const TLB_NOTES_GLOBAL = TLB_NOTES + TLB_NOTES_SIZE;

/** Bytes from one vCPU's base to the next. */
export const CPU_STRIDE = 0x128000;

/** Offset of general register `index`. */
export function gprOffset(index: number): number {
  return GPR + index * 8;
}

/** Offset of segment register `index` (see `SEG`). */
export function segmentOffset(index: number): number {
  return SEGMENTS + index * SEGMENT_SIZE;
}
