/**
 * Which ASID is whose, and when its caches are clean.
 *
 * A processor keeps lines of a guest in its caches under the guest's ASID. When a guest has run on
 * a core complex and leaves, its ASID is dirty there, until every core of the complex has executed
 * WBINVD and the firmware has flushed the data fabric: only then may another guest's key take its
 * place. After INIT every ASID is dirty.
 *
 * Source: SEV API 55766, 6.2 "ACTIVATE", 6.4 "DEACTIVATE", 5.11 "DF_FLUSH"; ranges: AMD64 APM
 * 24594, CPUID Fn8000_001F (ECX the last ASID, EDX the first one of guests without SEV-ES).
 */
import { VmmError } from '@cloister/core';
import { STATUS, type Status } from '../abi/status.js';

/** A set of them is bits of a number below 2^31; the biggest EPYC has 16 to 24. */
const COMPLEXES_MAX = 31;

export interface AsidLimits {
  /** The last ASID. */
  readonly max: number;
  /** The first ASID of guests without SEV-ES; those below are for SEV-ES. */
  readonly minNoEs: number;
}

export interface CoreLayout {
  readonly cores: number;
  /** Cores that share a last-level cache. */
  readonly coresPerComplex: number;
}

/** The state of one ASID, as sets of core complexes (bit n for complex n). */
interface Asid {
  dirty: number;
  clean: number;
  /** Given to a guest that doesn't run yet. */
  allocated: number;
  inUse: number;
}

export class AsidTable {
  readonly #asids: Asid[];
  readonly #written: Uint8Array;
  /** Every core complex. */
  readonly all: number;

  constructor(
    readonly limits: AsidLimits,
    readonly layout: CoreLayout,
  ) {
    const complexes = Math.ceil(layout.cores / layout.coresPerComplex);
    if (complexes < 1 || complexes > COMPLEXES_MAX) {
      throw new VmmError('invalid-argument', `${complexes} core complexes are too many or few`, {
        remedy: `give a processor of 1 to ${COMPLEXES_MAX}`,
      });
    }
    this.all = 2 ** complexes - 1;
    this.#written = new Uint8Array(layout.cores);
    this.#asids = Array.from({ length: limits.max + 1 }, () => ({
      dirty: 0,
      clean: 0,
      allocated: 0,
      inUse: 0,
    }));
  }

  /** As INIT leaves them. */
  reset(): void {
    this.#written.fill(0);
    for (const asid of this.#asids) {
      Object.assign(asid, { dirty: this.all, clean: 0, allocated: 0, inUse: 0 });
    }
  }

  /** Core `core` has executed WBINVD; without a number, every core. */
  wbinvd(core?: number): void {
    if (core === undefined) this.#written.fill(1);
    else this.#written[core] = 1;
  }

  /** DF_FLUSH: what is written back becomes clean. */
  flush(): Status {
    const done = this.#complexes((core) => this.#written[core] === 1);
    for (const asid of this.#asids) {
      asid.clean |= asid.dirty & done;
      asid.dirty &= ~done;
    }
    return done === this.all ? STATUS.SUCCESS : STATUS.WBINVD_REQUIRED;
  }

  /** Whether a guest with or without SEV-ES may have this ASID at all. */
  inRange(asid: number, es: boolean): boolean {
    const { max, minNoEs } = this.limits;
    return es ? asid >= 1 && asid < minNoEs : asid >= minNoEs && asid <= max;
  }

  isTaken(asid: number): boolean {
    const { allocated, inUse } = this.#asids[asid]!;
    return (allocated | inUse) !== 0;
  }

  /** Whether a guest without an ASID may get this one, SUCCESS, or why not. */
  mayGive(asid: number): Status {
    if (this.#asids[asid]!.dirty !== 0) return STATUS.DFFLUSH_REQUIRED;
    return this.#asids[asid]!.clean === this.all ? STATUS.SUCCESS : STATUS.ASID_OWNED;
  }

  isDirty(asid: number, complexes: number): boolean {
    return (this.#asids[asid]!.dirty & complexes) !== 0;
  }

  /** A guest got it on these complexes; `running` says whether it may run there at once. */
  give(asid: number, complexes: number, running: boolean): void {
    const entry = this.#asids[asid]!;
    entry.clean &= ~complexes;
    if (running) {
      entry.inUse |= complexes;
      entry.allocated &= ~complexes;
    } else {
      entry.allocated |= complexes;
    }
  }

  /** Its guest left. Where it has run, the caches hold what it wrote. */
  take(asid: number): void {
    const entry = this.#asids[asid]!;
    entry.clean |= entry.allocated;
    entry.dirty |= entry.inUse;
    for (let core = 0; core < this.layout.cores; core++) {
      if ((entry.inUse & this.#complexOf(core)) !== 0) this.#written[core] = 0;
    }
    entry.allocated = 0;
    entry.inUse = 0;
  }

  /** The complexes of these APIC identifiers; null if one is of no core. */
  complexesOf(apicIds: readonly number[]): number | null {
    let complexes = 0;
    for (const id of apicIds) {
      if (id >= this.layout.cores) return null;
      complexes |= this.#complexOf(id);
    }
    return complexes;
  }

  #complexOf(core: number): number {
    return 2 ** Math.floor(core / this.layout.coresPerComplex);
  }

  /** The complexes all of whose cores have this property. */
  #complexes(property: (core: number) => boolean): number {
    let complexes = this.all;
    for (let core = 0; core < this.layout.cores; core++) {
      if (!property(core)) complexes &= ~this.#complexOf(core);
    }
    return complexes;
  }
}
