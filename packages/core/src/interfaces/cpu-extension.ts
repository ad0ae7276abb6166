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

/** A translation request: the GPA as the guest's tables hold it, before masking. */
export interface FillRequest {
  gpaLo: number;
  gpaHi: number;
  access: 'read' | 'write' | 'execute' | 'walk';
  user: boolean;
  /** Paging off or a page walk: the guest cannot express a choice of key. */
  implicit: boolean;
  vcpu: number;
  context: number;
}

/** The answer: where the page lies, what may be done with it, and under which key it is seen. */
export type FillVerdict =
  | {
      readonly kind: 'page';
      readonly spa: number;
      /** Bit 0 read, 1 write, 2 execute. */
      readonly permissions: number;
      /** 0 plain, else an ASID's key. */
      readonly keyTag: number;
    }
  | { readonly kind: 'nested-fault'; readonly errorCode: number }
  | { readonly kind: 'exception'; readonly exception: ExtensionException };

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
  /** Physical-address bits that the extension takes away from the guest. */
  readonly physicalBitReduction?: number;
  /** Changes a CPUID leaf; called after the model's table. */
  cpuid?(leaf: number, subleaf: number, value: CpuidValue, vcpu: ExtensionVcpu): void;
  /** MSR indices that the extension answers. */
  readonly msrs?: readonly number[];
  readMsr?(index: number, value: MsrValue, vcpu: ExtensionVcpu): 'ok' | 'gp';
  writeMsr?(index: number, value: MsrValue, vcpu: ExtensionVcpu): 'ok' | 'gp';
  /** Instructions by their row in the instruction table (mnemonic), e.g. `PVALIDATE`. */
  readonly instructions?: readonly string[];
  execute?(mnemonic: string, vcpu: ExtensionVcpu): InterceptVerdict;
  /** Called at every TLB fill. */
  fill?(request: FillRequest, vcpu: ExtensionVcpu): FillVerdict;
  /** Called for an event whose intercept bit is set. */
  intercept?(event: InterceptName, vcpu: ExtensionVcpu): InterceptVerdict;
}
