/**
 * An extension's say in where pages lie: the request and the verdict of `CpuExtension.fill`, for
 * one vCPU, without an allocation for each.
 */
import type {
  CpuExtension,
  ExtensionException,
  ExtensionVcpu,
  FillRequest,
  FillVerdict,
} from '@cloister/core';
import type { PhysicalMemory } from './physical.js';
import { fieldOf, TABLE, VERDICT_KEYED, VERDICT_RIGHTS, VERDICT_TAG } from './verdicts.js';

/** What `ask` answers where an exception is due in place of the access. */
export const POLICY_EXCEPTION = -3;

const ACCESS_NAMES = ['read', 'write', 'execute', 'walk'] as const;
const PAGE_SIZE = 4096;
/** No key has it, nor any above. */
const TAGS_END = 0xffff;

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

export class FillPolicy {
  // The last verdict.
  gpa = 0;
  permissions = 0;
  keyTag = 0;
  exception: ExtensionException | null = null;
  private readonly fill: NonNullable<CpuExtension['fill']>;
  private readonly request: Writable<FillRequest>;

  /** `markHi` is the bit of table entries, in bits 51:32, that the extension may have. */
  constructor(
    extension: CpuExtension,
    private readonly vcpu: ExtensionVcpu,
    private readonly physical: PhysicalMemory,
    private readonly markHi: number,
    /** Whether verdicts are remembered. */
    private readonly lasting: boolean,
  ) {
    this.fill = extension.fill!.bind(extension);
    this.request = {
      gpaLo: 0,
      gpaHi: 0,
      access: 'read',
      user: false,
      linearLo: 0,
      linearHi: 0,
      implicit: false,
      vcpu: vcpu.index,
      context: vcpu.context,
    };
  }

  /** The linear address that what is asked next is for. */
  at(lo: number, hi: number): void {
    this.request.linearLo = lo >>> 0;
    this.request.linearHi = hi >>> 0;
  }

  /**
   * System-physical address of a page, -1 (no memory at `gpa`) or POLICY_EXCEPTION. `access` is
   * READ, WRITE, EXECUTE or TABLE.
   */
  ask(gpaLo: number, gpaHi: number, access: number, user: boolean, implicit: boolean): number {
    // Implicit are accesses to tables; others are where the guest has no choice of key (paging off,
    // 32-bit tables), and what is said then holds for nothing else.
    const lasts = this.lasting && implicit === (access === TABLE);
    if (lasts) {
      const spa = this.recall(gpaLo, gpaHi, access);
      if (spa >= 0) return spa;
    }
    const { request } = this;
    request.gpaLo = gpaLo >>> 0;
    request.gpaHi = gpaHi >>> 0;
    request.access = ACCESS_NAMES[access]!;
    request.user = user;
    request.implicit = implicit;
    request.context = this.vcpu.context;
    const verdict = this.fill(request, this.vcpu);
    switch (verdict.kind) {
      case 'page':
        this.gpa = verdict.gpa;
        this.permissions = verdict.permissions;
        this.keyTag = verdict.keyTag;
        if (lasts) this.remember(gpaLo, gpaHi, access, verdict);
        return verdict.spa;
      case 'device':
        this.gpa = verdict.gpa;
        return -1;
      case 'exception':
        this.exception = verdict.exception;
        return POLICY_EXCEPTION;
    }
  }

  /** Takes over the verdict that lasts; -1: there is none. */
  private recall(gpaLo: number, gpaHi: number, access: number): number {
    const { markHi, physical } = this;
    const page = (gpaHi & ~markHi) * 0x100000 + (gpaLo >>> 12);
    const word = physical.verdicts.of(page, (gpaHi & markHi) !== 0);
    const field = fieldOf(word, access);
    if (field === 0) return -1;
    this.gpa = page * PAGE_SIZE;
    this.permissions = field & VERDICT_RIGHTS;
    this.keyTag = (field & VERDICT_KEYED) === 0 ? 0 : word & VERDICT_TAG;
    return physical.locate(this.gpa);
  }

  /** Emitted code looks up the frame itself: a verdict for another one is asked for each time. */
  private remember(
    gpaLo: number,
    gpaHi: number,
    access: number,
    verdict: Extract<FillVerdict, { kind: 'page' }>,
  ): void {
    const { markHi, physical } = this;
    const page = (gpaHi & ~markHi) * 0x100000 + (gpaLo >>> 12);
    const { gpa, spa, keyTag } = verdict;
    if (gpa !== page * PAGE_SIZE || spa !== physical.locate(gpa) || keyTag >= TAGS_END) return;
    physical.verdicts.remember(page, (gpaHi & markHi) !== 0, access, verdict);
  }
}
