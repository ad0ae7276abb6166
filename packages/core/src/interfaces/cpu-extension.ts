/**
 * What a plugin gives an emulated processor: CPUID leaves, MSRs, instructions, a policy at TLB
 * fill, intercepts and a world switch. SEV on the emulated processor is one; TDX must be able to be
 * one.
 */
import type { VcpuState } from './vcpu-state.js';

export interface CpuidValue {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

export interface MsrValue {
  lo: number;
  hi: number;
}

/** An exception of the extension's own, e.g. #VC with its code, or #VE with an info record. */
export interface ExtensionException {
  readonly vector: number;
  readonly errorCode: number | null;
  /** Stored by the extension before delivery, where its architecture has such a record. */
  readonly info?: Readonly<Record<string, number>>;
}

/**
 * A translation request: the GPA of a page as the guest's tables hold it, before masking. Valid
 * during the call only, as is the verdict until the next one: both may be reused objects.
 */
export interface FillRequest {
  gpaLo: number;
  gpaHi: number;
  access: 'read' | 'write' | 'execute' | 'walk';
  user: boolean;
  /**
   * Paging off, a page walk, or tables without room for a choice (32-bit entries): the guest cannot
   * say under which key it means the page.
   */
  implicit: boolean;
  vcpu: number;
  context: number;
}

/**
 * The answer: where the page lies, what may be done with it, and under which key it is seen. It
 * holds until the extension flushes it (`ExtensionVcpu.flushTlb`) or a slot or page is remapped.
 */
export type FillVerdict =
  | {
      readonly kind: 'page';
      /** Guest-physical address of the page after masking: what MMIO exits show (writes to ROM). */
      readonly gpa: number;
      /** System-physical address of the frame. */
      readonly spa: number;
      /** Bit 0 read, 1 write, 2 execute: a write without its bit leaves the guest as MMIO. */
      readonly permissions: number;
      /** 0 raw, else the key of `FrameCipher` under which this access sees the frame. */
      readonly keyTag: number;
    }
  /** No memory at `gpa` (a page, after masking): the access is MMIO. */
  | { readonly kind: 'device'; readonly gpa: number }
  | { readonly kind: 'exception'; readonly exception: ExtensionException };

/**
 * The cipher between the processor and memory. It changes the 4096 bytes of `frame`, which lies at
 * system-physical `spa`, in place. Each must undo the other; how many bytes of plaintext one byte
 * of ciphertext touches is the cipher's own affair.
 */
export interface FrameCipher {
  encrypt(keyTag: number, spa: number, frame: Uint8Array): void;
  decrypt(keyTag: number, spa: number, frame: Uint8Array): void;
}

/** An emulated machine's memory, as its memory controller has it. */
export interface SystemMemory {
  /** Bytes; system-physical addresses run from 0. */
  readonly size: number;
  /** System-physical address of the page of guest-physical `gpa`, or -1 where no memory is. */
  locate(gpa: number): number;
  /** Whether the guest may write to the page of `gpa`: false for ROM, and without memory. */
  writable(gpa: number): boolean;
  /**
   * Fills `target` with the bytes at `spa` as seen under `keyTag`: 0 as they stand in memory, else
   * deciphered. The range must lie in memory.
   */
  read(spa: number, target: Uint8Array, keyTag: number): void;
  /** Stores `source` at `spa`, enciphered under `keyTag`. */
  write(spa: number, source: Uint8Array, keyTag: number): void;
  /** Turns what is kept deciphered under `keyTag` into ciphertext: its key is about to go. */
  release(keyTag: number): void;
}

/** Events that can be intercepted; a set bit makes translated code leave its region. */
export const INTERCEPTS = [
  'cpuid',
  'rdtsc',
  'rdpmc',
  'io',
  'msr',
  'cr-write-after',
  'dr',
  'hlt',
  'pause',
  'wbinvd',
  'invd',
  'monitor',
  'mwait',
  'vmmcall',
  'xsetbv',
  'iret',
  'shutdown',
] as const;

export type InterceptName = (typeof INTERCEPTS)[number];

/** What an extension may do to the vCPU that called it. */
export interface ExtensionVcpu {
  readonly index: number;
  /** Which of the record's contexts is active (e.g. a VMPL). */
  readonly context: number;
  readState(): VcpuState;
  writeState(state: VcpuState): void;
  /** Swaps the whole register record for that of another context; the run goes on there. */
  switchContext(context: number): void;
  /** Drops every cached translation of this vCPU. */
  flushTlb(): void;
  setIntercepts(names: ReadonlySet<InterceptName>): void;
}

/** What the extension decides about an intercepted event. */
export type InterceptVerdict =
  /** Do as an unprotected processor would. */
  | { readonly kind: 'proceed' }
  /** The event is answered; go on after the instruction. */
  | { readonly kind: 'resume' }
  | { readonly kind: 'exception'; readonly exception: ExtensionException }
  /** Leave to the host. */
  | { readonly kind: 'exit' };

export interface CpuExtension {
  readonly name: string;
  /** Called once, when the VM is made and before its memory is mapped. */
  attach?(memory: SystemMemory): void;
  /** The cipher of its keys; at most one extension of a VM has one, and it has `fill`. */
  readonly cipher?: FrameCipher;
  /** Physical-address bits that the extension takes away from the guest. */
  readonly physicalBitReduction?: number;
  /**
   * Bits (32 to 51) of CR3 and of page-table entries to which it gives a meaning: they are never
   * reserved.
   */
  readonly tableBits?: readonly number[];
  /** Changes a CPUID leaf; called after the model's table. */
  cpuid?(leaf: number, subleaf: number, value: CpuidValue, vcpu: ExtensionVcpu): void;
  /** MSR indices that the extension answers. */
  readonly msrs?: readonly number[];
  readMsr?(index: number, value: MsrValue, vcpu: ExtensionVcpu): 'ok' | 'gp';
  writeMsr?(index: number, value: MsrValue, vcpu: ExtensionVcpu): 'ok' | 'gp';
  /** Instructions by their row in the instruction table (mnemonic), e.g. `PVALIDATE`. */
  readonly instructions?: readonly string[];
  execute?(mnemonic: string, vcpu: ExtensionVcpu): InterceptVerdict;
  /**
   * Called at every TLB fill and for every table of a page walk; at most one extension of a VM has
   * it. An exception is delivered in place of the access.
   */
  fill?(request: FillRequest, vcpu: ExtensionVcpu): FillVerdict;
  /** Called for an event whose intercept bit is set. */
  intercept?(event: InterceptName, vcpu: ExtensionVcpu): InterceptVerdict;
}
