/**
 * Which ASIDs a host has given out. One that comes back is used again only after a flush, which a
 * host puts off until it has no other left: it costs every CPU its caches.
 *
 * Source: Linux arch/x86/kvm/svm/sev.c (sev_asid_new, sev_flush_asids); OpenBSD vmm_alloc_vpid.
 */
import { VmmError } from '@cloister/core';
import type { AsidLimits } from '../firmware/asids.js';

export class AsidPool {
  readonly #used = new Set<number>();
  readonly #returned = new Set<number>();

  /** `flush` makes the ASIDs that came back usable: WBINVD on every CPU, then DF_FLUSH. */
  constructor(
    readonly limits: AsidLimits,
    private readonly flush: () => void,
  ) {}

  /** An ASID for a guest. `VmmError('unavailable')` when every one is in use. */
  take(es: boolean): number {
    const { max, minNoEs } = this.limits;
    const [first, last] = es ? [1, minNoEs - 1] : [minNoEs, max];
    const asid = this.#find(first, last) ?? this.#reclaim(first, last);
    if (asid === undefined) {
      const kind = es ? 'SEV-ES' : 'SEV';
      throw new VmmError('unavailable', `every ASID for ${kind} guests is in use`, {
        remedy: `stop one of the ${last - first + 1} protected guests of this host`,
      });
    }
    this.#used.add(asid);
    return asid;
  }

  give(asid: number): void {
    if (this.#used.delete(asid)) this.#returned.add(asid);
  }

  #find(first: number, last: number): number | undefined {
    for (let asid = first; asid <= last; asid++) {
      if (!this.#used.has(asid) && !this.#returned.has(asid)) return asid;
    }
    return undefined;
  }

  #reclaim(first: number, last: number): number | undefined {
    if (this.#returned.size === 0) return undefined;
    this.flush();
    this.#returned.clear();
    return this.#find(first, last);
  }
}
