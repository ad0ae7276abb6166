/**
 * Events of a guest that a CPU extension may be asked about, and what it may answer.
 *
 * Source of the order of checks: AMD APM vol. 2, 15.9 and table 15-7. An event is intercepted after
 * the instruction's own privilege checks and before it has any effect, `cr-write-after` excepted.
 */
import type { ExtensionException } from './extension-exception.js';

export const INTERCEPTS = [
  /** CPUID. */
  'cpuid',
  /** RDTSC; after the check of CR4.TSD. */
  'rdtsc',
  /** RDTSCP; likewise. */
  'rdtscp',
  /** RDPMC; after the check of CR4.PCE. */
  'rdpmc',
  /** IN, OUT, INS, OUTS; after the check of IOPL and the permission bitmap. */
  'io',
  /** RDMSR, WRMSR; at CPL 0, before anything looks at the index or the value. */
  'msr',
  /**
   * After CR0 (MOV, LMSW, CLTS), CR4, CR8 or EFER was written and RIP has moved on: the write was
   * allowed and stands.
   */
  'cr-write-after',
  /** MOV from and to debug registers; at CPL 0, before DR7.GD is looked at. */
  'dr',
  /** HLT; at CPL 0. */
  'hlt',
  'pause',
  /** WBINVD; at CPL 0. */
  'wbinvd',
  /** INVD; at CPL 0. */
  'invd',
  /** MONITOR; at CPL 0, whether or not the CPU model has it. */
  'monitor',
  /** MWAIT; likewise. */
  'mwait',
  /** VMMCALL and VMCALL, at any privilege. */
  'vmmcall',
  /** XSETBV; at CPL 0 with CR4.OSXSAVE. */
  'xsetbv',
  /** IRET. */
  'iret',
  /** A triple fault. */
  'shutdown',
] as const;

export type InterceptName = (typeof INTERCEPTS)[number];

/**
 * What is known of an intercepted event; one reused record, valid during the call. Fields that the
 * event gives no meaning are 0 or false.
 */
export interface InterceptDetail {
  /** Bytes of the instruction; 0 for `shutdown`. */
  length: number;
  /**
   * `io`: `read` is IN and INS. `msr`: RDMSR is `read`. `dr`: `read` is MOV from a debug register.
   * `cr-write-after`: `write`.
   */
  direction: 'read' | 'write';
  /**
   * `io`: the port. `msr`: the index. `dr`: the register (4 and 5 already stand for 6 and 7).
   * `cr-write-after`: 0, 4 or 8, or for EFER its MSR index, 0xc0000080.
   */
  number: number;
  /**
   * The value, as unsigned halves: of OUT (not OUTS), of WRMSR, of MOV to a debug register, of the
   * register written (`cr-write-after`). A read of `io` (not INS) or `dr` that the extension
   * answers with `resume` takes its result from here; it starts as all ones (`io`) or 0 (`dr`).
   */
  lo: number;
  hi: number;
  /** `io`: bytes of one item, 1, 2 or 4. */
  size: number;
  /** `io`: INS or OUTS. */
  string: boolean;
  /** `io`: with a REP prefix. */
  repeated: boolean;
  /** `io`, string: address size in bytes, 2, 4 or 8. */
  addressSize: number;
  /** `io`, string: segment of the memory operand by its encoding (ES 0, CS 1, SS, DS, FS, GS). */
  segment: number;
  /** `dr`: general register that is the other operand, by its encoding, 0 to 15. */
  register: number;
}

/** What the extension decides about an intercepted event, or about one of its instructions. */
export type InterceptVerdict =
  /** Do as an unprotected processor would; for an instruction of the extension's, #UD. */
  | { readonly kind: 'proceed' }
  /**
   * The event is answered: go on after the instruction, or at the RIP of registers that the
   * extension has loaded meanwhile. The same as `proceed` for `cr-write-after`. A `shutdown` that
   * is resumed without other registers and without `stop` happens at once again and is then final.
   */
  | { readonly kind: 'resume' }
  /** An exception with the state of before the instruction: RIP is its own. */
  | { readonly kind: 'exception'; readonly exception: ExtensionException };
