/**
 * Which parts of the address space hold something, coarsely: by the GiB, the size of the largest
 * page, so that INVLPG of one address reaches no other member. It may say yes for no, never no for
 * yes: a guest can touch more regions than are worth remembering.
 */

const REGIONS_MAX = 64;

export class RegionSet {
  private readonly regions = new Set<number>();
  private last = -1;

  get isEmpty(): boolean {
    return this.regions.size === 0;
  }

  add(lo: number, hi: number): void {
    const region = regionOf(lo, hi);
    if (region === this.last) return;
    this.last = region;
    if (this.regions.size < REGIONS_MAX) this.regions.add(region);
  }

  has(lo: number, hi: number): boolean {
    return this.regions.size === REGIONS_MAX || this.regions.has(regionOf(lo, hi));
  }

  clear(): void {
    this.regions.clear();
    this.last = -1;
  }
}

function regionOf(lo: number, hi: number): number {
  return (hi >>> 0) * 4 + (lo >>> 30);
}
