/**
 * Which pages a guest shares, as it reports them: what a hypervisor must know to send the others
 * away. Page tables are private, so that it cannot look.
 *
 * A guest learns from CPUID that it may report, tells every change of a range by a hypercall, and
 * says by an MSR when the reports are complete. Until then nobody knows what it shares.
 *
 * Source: Linux Documentation/virt/kvm/x86/hypercalls.rst (KVM_HC_MAP_GPA_RANGE), msr.rst
 * (MSR_KVM_MIGRATION_CONTROL), cpuid.rst; arch/x86/kvm/x86.c for what is refused.
 */
import type {
  CpuExtension,
  CpuidValue,
  ExitHandler,
  GuestMemory,
  HypercallExit,
  MsrValue,
  SnapshotValue,
} from '@cloister/core';
import { VmmError } from '@cloister/core';
import { type PageRun, PageRuns } from './page-runs.js';

export const MSR_KVM_MIGRATION_CONTROL = 0x4b564d08;
export const KVM_HC_MAP_GPA_RANGE = 12;

const CPUID_KVM_FEATURES = 0x40000001;
const KVM_FEATURE_MIGRATION_CONTROL = 1 << 17;
/** The MSR's only bit. */
const READY = 1;
/** Bit 4 of the hypercall's attributes; those below are a hint at the size of pages. */
const ENCRYPTED = 1 << 4;
const PAGE_SIZE = 4096;
/** -KVM_EINVAL, -22, as 64 bits. */
const INVALID = [-22 >>> 0, -1 >>> 0] as const;

export class MigrationControl implements CpuExtension {
  readonly name = 'kvm-migration-control';
  readonly msrs = [MSR_KVM_MIGRATION_CONTROL];
  /** Whether the guest says that its reports are complete. */
  ready = false;
  /** Page numbers (GPA / 4096); all others are private. */
  readonly #shared = new PageRuns();

  cpuid(leaf: number, _subleaf: number, value: CpuidValue): void {
    if (leaf === CPUID_KVM_FEATURES) value.eax |= KVM_FEATURE_MIGRATION_CONTROL;
  }

  readMsr(_index: number, value: MsrValue): 'ok' {
    value.lo = this.ready ? READY : 0;
    value.hi = 0;
    return 'ok';
  }

  writeMsr(_index: number, { lo, hi }: MsrValue): 'ok' | 'gp' {
    if ((lo & ~READY) !== 0 || hi !== 0) return 'gp';
    this.ready = lo === READY;
    return 'ok';
  }

  /** Whether the guest shares the page of `gpa`. */
  shares(gpa: number): boolean {
    return this.#shared.has(Math.floor(gpa / PAGE_SIZE));
  }

  /** Answers the hypercall. */
  handler(memory: () => GuestMemory): ExitHandler<'hypercall'> {
    return {
      name: this.name,
      filter: { kind: 'hypercall', numbers: { base: KVM_HC_MAP_GPA_RANGE, length: 1 } },
      handle: (exit) => {
        const done = this.#report(exit, memory());
        [exit.resultLo, exit.resultHi] = done ? [0, 0] : INVALID;
        return 'handled';
      },
    };
  }

  /** RBX the address, RCX the number of pages, RDX the attributes. */
  #report({ args }: HypercallExit, memory: GuestMemory): boolean {
    const [gpa, count] = [0, 2].map((at) => args[at]! + args[at + 1]! * 2 ** 32) as [
      number,
      number,
    ];
    const length = count * PAGE_SIZE;
    // Of memory that there is, there is an end.
    if (gpa % PAGE_SIZE !== 0 || count === 0 || !memory.covers(gpa, length)) return false;
    const run: PageRun = [gpa / PAGE_SIZE, count];
    if ((args[4]! & ENCRYPTED) === 0) this.#shared.add(run);
    else this.#shared.remove(run);
    return true;
  }

  /** For a saved guest. */
  reports(): SnapshotValue {
    return { ready: this.ready, shared: this.#shared.runs() };
  }

  /** Takes over what `reports` gave; `VmmError('snapshot-mismatch')` for anything else. */
  takeOver(saved: unknown, memory: GuestMemory): void {
    const { ready, shared } = (saved ?? {}) as { ready?: unknown; shared?: unknown };
    const isRun = (run: unknown): run is PageRun =>
      Array.isArray(run) &&
      run.length === 2 &&
      run.every((value) => Number.isSafeInteger(value) && value >= 0) &&
      run[1] > 0 &&
      memory.covers(run[0] * PAGE_SIZE, run[1] * PAGE_SIZE);
    // In order and apart, as `reports` has them: repeats would say nothing, at some length.
    const isList = (list: unknown): list is PageRun[] =>
      Array.isArray(list) &&
      list.every(isRun) &&
      list.every(([first], at) => at === 0 || first > list[at - 1]![0] + list[at - 1]![1]);
    if (typeof ready !== 'boolean' || !isList(shared)) {
      throw new VmmError('snapshot-mismatch', 'what the saved guest shares is damaged');
    }
    this.ready = ready;
    this.#shared.clear();
    for (const run of shared) this.#shared.add(run);
  }
}
