/**
 * What a plugin gives an emulated processor: CPUID leaves, MSRs, instructions, a policy at TLB
 * fill, intercepts and a world switch. SEV on the emulated processor is one; TDX must be able to be
 * one.
 *
 * A vCPU with `enter` and `leave` has two worlds. Outside of them its registers are the host's (or
 * nobody's); between them they are the guest's. Everything that a guest does is told to the
 * extension by hooks, which may call the host (`ExtensionVcpu.host`) and go on without leaving.
 */
import type { ExtensionException } from './extension-exception.js';
import type { ExtensionVcpu } from './extension-vcpu.js';
import type { InterceptDetail, InterceptName, InterceptVerdict } from './intercepts.js';
import type { Snapshot } from './snapshot.js';

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

/**
 * A translation request: the GPA of a page as the guest's tables hold it, before masking. Valid
 * during the call only, as is the verdict until the next one: both may be reused objects.
 */
export interface FillRequest {
  gpaLo: number;
  gpaHi: number;
  access: 'read' | 'write' | 'execute' | 'walk';
  user: boolean;
  /** Linear address of the access that the translation is for, as unsigned halves. */
  linearLo: number;
  linearHi: number;
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
  /** Delivered in place of the access, for memory and for pages without any alike. */
  | { readonly kind: 'exception'; readonly exception: ExtensionException };

/**
 * The cipher between the processor and memory. It changes `frames` in place: 4096 bytes at
 * system-physical `spa`, or several times as many, which lie one behind the other. Each must undo
 * the other; how many bytes of plaintext one byte of ciphertext touches is the cipher's own affair,
 * within a frame.
 */
export interface FrameCipher {
  encrypt(keyTag: number, spa: number, frames: Uint8Array): void;
  decrypt(keyTag: number, spa: number, frames: Uint8Array): void;
  /**
   * Where zeros decipher alike in every piece of memory of one length, a multiple of 4096, that
   * begins at a multiple of it: what they decipher to. Memory that nobody has written is then
   * copied from it.
   */
  zeros?(keyTag: number): Uint8Array;
}

/** An emulated machine's memory, as its memory controller has it. */
export interface SystemMemory {
  /** Bytes; system-physical addresses run from 0. */
  readonly size: number;
  /** System-physical address of the page of guest-physical `gpa`, or -1 where no memory is. */
  locate(gpa: number): number;
  /**
   * As `locate`, by page number (GPA / 4096), for use at every TLB fill: one more than the address
   * where the guest may not write (ROM).
   */
  place(page: number): number;
  /**
   * Fills `target` with the bytes at `spa` as seen under `keyTag`: 0 as they stand in memory, else
   * deciphered. The range must lie in memory.
   */
  read(spa: number, target: Uint8Array, keyTag: number): void;
  /** Stores `source` at `spa`, enciphered under `keyTag`. */
  write(spa: number, source: Uint8Array, keyTag: number): void;
  /**
   * Leaves it to `store` to write the page at `spa`, kept under `keyTag`. It is called when
   * somebody is about to see what the page holds, at once if somebody may see that without asking.
   */
  defer(spa: number, keyTag: number, store: () => void): void;
  /** Whether what was deferred for the page at `spa` still is. */
  isDeferred(spa: number): boolean;
  /** Turns what is kept deciphered under `keyTag` into ciphertext: its key is about to go. */
  release(keyTag: number): void;
  /**
   * System-physical address of a page of zeros that no guest-physical address leads to: one of
   * those that `CpuExtension.systemPages` asked for. `VmmError('out-of-memory')` after the last.
   */
  reserve(): number;
}

/** Why an extension does not let a vCPU enter: the run ends with an `error` exit that says so. */
export interface EnterRefusal {
  /** Stable word, e.g. `invalid-vmsa`. */
  readonly code: string;
  readonly message: string;
}

export interface CpuExtension {
  readonly name: string;
  /** Called once, when the VM is made and before its memory is mapped. */
  attach?(memory: SystemMemory): void;
  /** Pages of system memory that it needs beside the guest's, in a VM of so many vCPUs. */
  systemPages?(cpus: number): number;
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
  /**
   * One of `msrs` that is 64 bits and no more: the processor keeps it (`ExtensionVcpu.keptMsr`),
   * and where the guest's accesses are not intercepted nobody need be called for them.
   */
  readonly keptMsr?: number;
  /**
   * Instructions that the processor gets, by their row in the instruction table: PVALIDATE, PSMASH,
   * RMPADJUST, RMPQUERY, RMPUPDATE, VMGEXIT (AMD APM vol. 3), SEAMCALL, TDCALL (Intel TDX module
   * specification). Without an extension that names them they are #UD; VMGEXIT is VMMCALL. A row is
   * one extension's alone, and one that is not in the table is refused.
   */
  readonly instructions?: readonly string[];
  /** Executes one of `instructions`, whatever the privilege and mode; see `intercept`. */
  execute?(mnemonic: string, vcpu: ExtensionVcpu, detail: InterceptDetail): InterceptVerdict;
  /**
   * Called at every TLB fill and for every table of a page walk; at most one extension of a VM has
   * it. An exception is delivered in place of the access. Registers are not settled meanwhile: only
   * `index`, `context`, `host.deliver` and `flushTlb` of the vCPU may be used.
   */
  fill?(request: FillRequest, vcpu: ExtensionVcpu): FillVerdict;
  /**
   * Whether a verdict of kind `page` depends only on the page as the tables name it, on the access
   * and on `implicit`: neither on `user` and the linear address, nor on the vCPU and its context;
   * and what it permits beside the access in question, `fill` would permit alike.
   *
   * `fill` is then not called at every TLB fill: what it said is remembered for all vCPUs, until
   * any of them is flushed (`ExtensionVcpu.flushTlb`) or a slot or page is remapped. One that
   * checks rights which may be taken away (an RMP) flushes each vCPU when they are. Other kinds of
   * verdict are asked for each time, as are all where there are several `tableBits`.
   */
  readonly lastingVerdicts?: boolean;
  /**
   * Events that `ExtensionVcpu.setIntercepts` may switch on. What is not listed costs nothing;
   * what is listed leaves translated code, switched on or not. None is on after RESET.
   */
  readonly intercepts?: readonly InterceptName[];
  /**
   * Called for an event whose intercept is on; at most one extension of a VM has it. RIP is that of
   * the instruction, and registers may be saved, changed and loaded (`ExtensionVcpu`).
   */
  intercept?(event: InterceptName, vcpu: ExtensionVcpu, detail: InterceptDetail): InterceptVerdict;
  /**
   * Whether `intercept` would let this RDMSR or WRMSR proceed, and has nothing else to do with it:
   * then it need not be called. Asked when the VM is made.
   */
  passesMsr?(direction: 'read' | 'write', index: number): boolean;

  // The world switch. At most one extension of a VM has any of what follows.

  /**
   * Whether the registers are the guest's secret: `Vcpu.readState`, `Vcpu.writeState` and single
   * steps of the host then throw `VmmError('unsupported')`, and the processor clears its record
   * after `leave`. The extension keeps the registers, in memory under a key, say, or has them kept
   * where nobody sees them (`ExtensionVcpu.keepRegisters`). CPUID, RDMSR and WRMSR that it does not
   * intercept are then no exits, whichever handler wants them.
   */
  readonly registersHidden?: boolean;
  /** Contexts of a vCPU (`ExtensionVcpu.switchContext`): 1, the default, to 16. */
  readonly contexts?: number;
  /**
   * The vCPU is about to execute the guest: called in `Vcpu.run`, before its first instruction and
   * after a start-up IPI was seen to; also before what woke it from `halt` is looked at. Not called
   * for a vCPU that waits or is shut down.
   */
  enter?(vcpu: ExtensionVcpu): EnterRefusal | null;
  /**
   * The run ends, whatever ended it: back to the host. RIP is that of the next instruction. Called
   * once for each `enter` that did not refuse.
   */
  leave?(vcpu: ExtensionVcpu): void;
  /**
   * Registers that `leave` has had kept are cleared next, since somebody looks at the processor or
   * replaces what is in it: the extension saves them.
   */
  release?(vcpu: ExtensionVcpu): void;
  /**
   * Called between two instructions, in place of delivery, while `vcpu.pending` is not `none` and
   * the guest could take that: an interrupt with RFLAGS.IF set outside of a shadow, an NMI outside
   * of a shadow. The extension acknowledges and injects, or leaves it for the next time; that comes
   * at the end of the run's present stretch at the latest. Injection or `run` wake a halted vCPU.
   */
  interrupt?(vcpu: ExtensionVcpu): void;
  /**
   * Whether `interrupt` is also called once for every arrival, whether the guest can take it or not
   * (`interruptFlag` and `interruptShadow` tell): processors whose hosts see physical interrupts.
   */
  readonly interruptArrivals?: boolean;
  /**
   * INIT, in place of the processor's reset: called in `Vcpu.run`, in the host's world. The local
   * APIC is initialized in any case, and the vCPU waits for SIPI unless the extension lets it run.
   */
  init?(vcpu: ExtensionVcpu): void;
  /**
   * A start-up IPI with `vector`, in place of the load of CS:IP, while the vCPU waits for one:
   * called in `Vcpu.run`, in the host's world, before `enter`. The vCPU runs afterwards unless the
   * extension says otherwise.
   */
  startup?(vector: number, vcpu: ExtensionVcpu): void;

  /**
   * The extension's own state, saved with the VM under its name and restored after memory and
   * vCPUs. Both or neither.
   */
  snapshot?(): Snapshot;
  restore?(snapshot: Snapshot): void;
}
