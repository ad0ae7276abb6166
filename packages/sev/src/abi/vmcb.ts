/**
 * The VMCB's control area: what a hypervisor tells the processor before VMRUN and what the
 * processor answers at #VMEXIT (AMD64 APM vol. 2 (24593), appendix B, table B-1 "VMCB layout,
 * control area"; exit codes: appendix C). Little-endian.
 *
 * Only the fields that the guests here use have a name. With SEV-ES the save area that follows in
 * the page means nothing: the registers are in the VMSA.
 */

/** Bytes from the start of the page. */
export const VMCB = {
  /** Six words; exit code n below C0h has bit n, bit 0 of the first word being 0. */
  INTERCEPTS: 0x000,
  IOPM_BASE_PA: 0x040,
  MSRPM_BASE_PA: 0x048,
  TSC_OFFSET: 0x050,
  GUEST_ASID: 0x058,
  TLB_CONTROL: 0x05c,
  /** V_TPR 7:0, V_IRQ 8, V_INTR_PRIO 19:16, V_IGN_TPR 20, V_INTR_MASKING 24. */
  V_INTR: 0x060,
  V_INTR_VECTOR: 0x064,
  /** Bit 0 interrupt shadow, bit 1 GUEST_INTERRUPT_MASK: RFLAGS.IF of an SEV-ES guest. */
  INTERRUPT_SHADOW: 0x068,
  EXITCODE: 0x070,
  EXITINFO1: 0x078,
  EXITINFO2: 0x080,
  EXITINTINFO: 0x088,
  /** Bit 0 nested paging, bit 1 SEV, bit 2 SEV-ES. */
  NP_CONTROL: 0x090,
  /** The GHCB MSR, C001_0130. */
  GHCB_GPA: 0x0a0,
  EVENTINJ: 0x0a8,
  N_CR3: 0x0b0,
  /** Bit 0: virtualization of the last-branch records; SEV-ES needs it. */
  LBR_CONTROL: 0x0b8,
  CLEAN_BITS: 0x0c0,
  NRIP: 0x0c8,
  VMSA_PA: 0x108,
} as const;

export const VMCB_SIZE = 0x1000;
/** 32 bits each. */
export const INTERCEPT_WORDS = 6;

/** NP_CONTROL. */
export const NP_CONTROL = { NP_ENABLE: 1 << 0, SEV: 1 << 1, SEV_ES: 1 << 2 } as const;

/** INTERRUPT_SHADOW. */
export const INTERRUPT_STATE = { SHADOW: 1 << 0, GUEST_IF: 1 << 1 } as const;

/** V_INTR: a virtual interrupt waits; with the VINTR intercept the exit says when it could come. */
export const V_IRQ = 1 << 8;
export const V_IGN_TPR = 1 << 20;

/** Exit codes by name. EXITCODE is 64 bits; only INVALID (all ones) uses the upper 32. */
export const EXIT = {
  READ_CR0: 0x00,
  WRITE_CR0: 0x10,
  READ_DR0: 0x20,
  READ_DR7: 0x27,
  WRITE_DR0: 0x30,
  WRITE_DR7: 0x37,
  EXCP_DE: 0x40,
  EXCP_DB: 0x41,
  EXCP_UD: 0x46,
  EXCP_AC: 0x51,
  EXCP_MC: 0x52,
  INTR: 0x60,
  NMI: 0x61,
  SMI: 0x62,
  INIT: 0x63,
  VINTR: 0x64,
  RDTSC: 0x6e,
  RDPMC: 0x6f,
  CPUID: 0x72,
  IRET: 0x74,
  INVD: 0x76,
  PAUSE: 0x77,
  HLT: 0x78,
  INVLPGA: 0x7a,
  IOIO: 0x7b,
  MSR: 0x7c,
  SHUTDOWN: 0x7f,
  VMRUN: 0x80,
  VMMCALL: 0x81,
  VMLOAD: 0x82,
  VMSAVE: 0x83,
  STGI: 0x84,
  CLGI: 0x85,
  SKINIT: 0x86,
  RDTSCP: 0x87,
  ICEBP: 0x88,
  WBINVD: 0x89,
  MONITOR: 0x8a,
  MWAIT: 0x8b,
  MWAIT_CONDITIONAL: 0x8c,
  XSETBV: 0x8d,
  RDPRU: 0x8e,
  /** The write traps come after the write; EXITINFO1 is the new value. */
  EFER_WRITE_TRAP: 0x8f,
  CR0_WRITE_TRAP: 0x90,
  CR4_WRITE_TRAP: 0x94,
  CR8_WRITE_TRAP: 0x98,
  CR15_WRITE_TRAP: 0x9f,
  NPF: 0x400,
  VMGEXIT: 0x403,
  PAGE_NOT_VALIDATED: 0x404,
  INVALID: 0xffff_ffff,
} as const;

/** EVENTINJ's and EXITINTINFO's type, bits 10:8. */
export const EVENT_TYPE = { INTERRUPT: 0, NMI: 2, EXCEPTION: 3, SOFTWARE: 4 } as const;

/** An event as EVENTINJ says it; `errorCode` null: the event has none. */
export interface InjectedEvent {
  readonly vector: number;
  readonly type: number;
  readonly errorCode: number | null;
}

const EV = 1 << 11;
const VALID = 0x8000_0000;

/** The lower 32 bits of EVENTINJ; the upper are the error code. */
export function encodeEvent({ vector, type, errorCode }: InjectedEvent): number {
  return (vector | (type << 8) | (errorCode === null ? 0 : EV) | VALID) >>> 0;
}

/** The event of EVENTINJ, or null where its valid bit is clear. */
export function decodeEvent(lo: number, hi: number): InjectedEvent | null {
  if ((lo & VALID) === 0) return null;
  const errorCode = (lo & EV) === 0 ? null : hi >>> 0;
  return { vector: lo & 0xff, type: (lo >>> 8) & 7, errorCode };
}

/** One VMCB. */
export class Vmcb {
  readonly #words = new Uint32Array(VMCB_SIZE / 4);

  /** The 32 bits at `offset`; those of a 64-bit field's upper half are at `offset + 4`. */
  get(offset: number): number {
    return this.#words[offset >>> 2]!;
  }

  set(offset: number, value: number): void {
    this.#words[offset >>> 2] = value;
  }

  setPair(offset: number, lo: number, hi: number): void {
    this.#words[offset >>> 2] = lo;
    this.#words[(offset >>> 2) + 1] = hi;
  }

  /** A 64-bit field as a number: exact below 2^53, as addresses are. */
  getAddress(offset: number): number {
    return this.#words[offset >>> 2]! + this.#words[(offset >>> 2) + 1]! * 2 ** 32;
  }

  setAddress(offset: number, value: number): void {
    this.setPair(offset, value % 2 ** 32, Math.floor(value / 2 ** 32));
  }

  /** The lower 32 bits of EXITCODE. */
  get exitCode(): number {
    return this.#words[VMCB.EXITCODE / 4]!;
  }

  /** As #VMEXIT leaves it. */
  setExit(code: number, info1Lo = 0, info1Hi = 0, info2Lo = 0, info2Hi = 0): void {
    this.setPair(VMCB.EXITCODE, code, code === EXIT.INVALID ? 0xffff_ffff : 0);
    this.setPair(VMCB.EXITINFO1, info1Lo, info1Hi);
    this.setPair(VMCB.EXITINFO2, info2Lo, info2Hi);
  }

  /** Whether the guest takes interrupts: IF set, no shadow of MOV SS or STI. */
  get interruptible(): boolean {
    return this.get(VMCB.INTERRUPT_SHADOW) === INTERRUPT_STATE.GUEST_IF;
  }

  /** RFLAGS.IF of the guest. */
  get guestInterruptFlag(): boolean {
    return (this.get(VMCB.INTERRUPT_SHADOW) & INTERRUPT_STATE.GUEST_IF) !== 0;
  }

  get shadow(): boolean {
    return (this.get(VMCB.INTERRUPT_SHADOW) & INTERRUPT_STATE.SHADOW) !== 0;
  }

  /** The event that the next VMRUN delivers; the processor clears it. */
  get event(): InjectedEvent | null {
    return this.#eventAt(VMCB.EVENTINJ);
  }

  set event(event: InjectedEvent | null) {
    if (event === null) this.setPair(VMCB.EVENTINJ, 0, 0);
    else this.setPair(VMCB.EVENTINJ, encodeEvent(event), event.errorCode ?? 0);
  }

  /** The event whose delivery the exit interrupted. */
  get interruptedEvent(): InjectedEvent | null {
    return this.#eventAt(VMCB.EXITINTINFO);
  }

  #eventAt(offset: number): InjectedEvent | null {
    const lo = this.#words[offset >>> 2]!;
    return (lo & VALID) === 0 ? null : decodeEvent(lo, this.#words[(offset >>> 2) + 1]!);
  }

  /** Whether the event of exit code `code` is intercepted; the codes above BFh always are. */
  intercepts(code: number): boolean {
    if (code >= INTERCEPT_BITS) return true;
    return (this.get(VMCB.INTERCEPTS + (code >>> 5) * 4) & (1 << (code & 31))) !== 0;
  }

  setIntercept(code: number, on: boolean): void {
    if (code >= INTERCEPT_BITS) return;
    const word = VMCB.INTERCEPTS + (code >>> 5) * 4;
    const bit = 1 << (code & 31);
    this.set(word, on ? this.get(word) | bit : this.get(word) & ~bit);
  }

  /** Whether an exit with VINTR is asked for as soon as the guest takes interrupts. */
  get interruptWindow(): boolean {
    return this.intercepts(EXIT.VINTR) && (this.get(VMCB.V_INTR) & V_IRQ) !== 0;
  }

  set interruptWindow(wanted: boolean) {
    const virtual = this.get(VMCB.V_INTR);
    const asked = V_IRQ | V_IGN_TPR;
    this.setIntercept(EXIT.VINTR, wanted);
    this.set(VMCB.V_INTR, wanted ? virtual | asked : virtual & ~asked);
  }
}

const INTERCEPT_BITS = INTERCEPT_WORDS * 32;
