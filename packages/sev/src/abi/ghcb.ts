/**
 * The GHCB: the shared page through which a guest with encrypted registers shows its hypervisor
 * what an exit needs (GHCB specification 56421, chapter 2.6 "GHCB layout", table 3; chapter 4.1,
 * table 6 "list of supported non-automatic events"). Little-endian.
 *
 * Its first 1 KiB has registers where the VMSA has them, and a bitmap of the valid ones: bit n
 * stands for the 8 bytes at 8n.
 */

/** Bytes from the start of the page. */
export const GHCB = {
  CPL: 0x0cb,
  XSS: 0x140,
  DR7: 0x160,
  RAX: 0x1f8,
  RCX: 0x308,
  RDX: 0x310,
  RBX: 0x318,
  RBP: 0x328,
  RSI: 0x330,
  RDI: 0x338,
  R8: 0x340,
  R9: 0x348,
  R10: 0x350,
  R11: 0x358,
  R12: 0x360,
  R13: 0x368,
  R14: 0x370,
  R15: 0x378,
  SW_EXITCODE: 0x390,
  SW_EXITINFO1: 0x398,
  SW_EXITINFO2: 0x3a0,
  SW_SCRATCH: 0x3a8,
  XCR0: 0x3e8,
  /** 16 bytes. */
  VALID_BITMAP: 0x3f0,
  X87_STATE_GPA: 0x400,
  SHARED_BUFFER: 0x800,
  /** 16 bits. */
  PROTOCOL_VERSION: 0xffa,
  /** 32 bits; 0 means this layout. */
  USAGE: 0xffc,
} as const;

export const GHCB_SIZE = 0x1000;
/** Where the fields with a bit in the bitmap end. */
export const GHCB_SAVE_SIZE = 0x400;
/** Bytes. */
export const SHARED_BUFFER_SIZE = 0x7f0;

/** The fields with a bit in the bitmap, by the name that tests and tables use. */
export type GhcbField = Exclude<
  keyof typeof GHCB,
  'VALID_BITMAP' | 'X87_STATE_GPA' | 'SHARED_BUFFER' | 'PROTOCOL_VERSION' | 'USAGE'
>;

/** The bit of a field in the bitmap, 0 to 127. */
export function validBit(field: GhcbField): number {
  return GHCB[field] >>> 3;
}

/** SW_EXITCODEs from here on are the specification's own, below it the processor's exit codes. */
export const NAE = {
  MMIO_READ: 0x8000_0001,
  MMIO_WRITE: 0x8000_0002,
  NMI_COMPLETE: 0x8000_0003,
  AP_RESET_HOLD: 0x8000_0004,
  AP_JUMP_TABLE: 0x8000_0005,
  PAGE_STATE_CHANGE: 0x8000_0010,
  GUEST_REQUEST: 0x8000_0011,
  EXTENDED_GUEST_REQUEST: 0x8000_0012,
  AP_CREATION: 0x8000_0013,
  HV_DOORBELL_PAGE: 0x8000_0014,
  HV_IPI: 0x8000_0015,
  HV_TIMER: 0x8000_0016,
  APIC_ID_LIST: 0x8000_0017,
  RUN_VMPL: 0x8000_0018,
  HV_FEATURES: 0x8000_fffd,
  TERMINATE: 0x8000_fffe,
  UNSUPPORTED_EVENT: 0x8000_ffff,
} as const;

/** SW_EXITINFO1[31:0] of the reply. */
export const REPLY = {
  /** SW_EXITINFO2 belongs to the event. */
  OK: 0,
  /** SW_EXITINFO2 is an event to raise, as EVENTINJ. */
  RAISE: 1,
  /** SW_EXITINFO2 is one of `GHCB_ERROR`. */
  ERROR: 2,
} as const;

/** Why the hypervisor refuses a GHCB: SW_EXITINFO2 with `REPLY.ERROR`. */
export const GHCB_ERROR = {
  NOT_REGISTERED: 1,
  INVALID_USAGE: 2,
  INVALID_SCRATCH_AREA: 3,
  MISSING_INPUT: 4,
  INVALID_INPUT: 5,
  INVALID_EVENT: 6,
} as const;

export type GhcbError = (typeof GHCB_ERROR)[keyof typeof GHCB_ERROR];

/** SW_EXITINFO1 of IOIO: as the processor's EXITINFO1 (APM vol. 2, 15.10.2). */
export const IOIO = {
  IN: 1 << 0,
  STRING: 1 << 2,
  REP: 1 << 3,
  SIZE_8: 1 << 4,
  SIZE_16: 1 << 5,
  SIZE_32: 1 << 6,
} as const;

/** Bits 11:0 of the GHCB MSR where it is no address: requests of the guest, replies of the host. */
export const GHCB_MSR = {
  SEV_INFO_RESPONSE: 0x001,
  SEV_INFO_REQUEST: 0x002,
  CPUID_REQUEST: 0x004,
  CPUID_RESPONSE: 0x005,
  AP_RESET_HOLD_REQUEST: 0x006,
  AP_RESET_HOLD_RESPONSE: 0x007,
  PREFERRED_GPA_REQUEST: 0x010,
  PREFERRED_GPA_RESPONSE: 0x011,
  REGISTER_GPA_REQUEST: 0x012,
  REGISTER_GPA_RESPONSE: 0x013,
  PAGE_STATE_CHANGE_REQUEST: 0x014,
  PAGE_STATE_CHANGE_RESPONSE: 0x015,
  RUN_VMPL_REQUEST: 0x016,
  RUN_VMPL_RESPONSE: 0x017,
  HV_FEATURES_REQUEST: 0x080,
  HV_FEATURES_RESPONSE: 0x081,
  TERMINATE_REQUEST: 0x100,
} as const;

/** The MSR, C001_0130. */
export const MSR_GHCB = 0xc001_0130;
