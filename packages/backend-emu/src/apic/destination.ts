/**
 * Which destinations of interrupt messages name a local APIC.
 *
 * Source: AMD APM vol. 2, 16.6.1; Intel SDM vol. 3, 11.6.2 and 11.12.10.
 */

/** Logical ID in x2APIC mode: cluster in bits 31:16, one bit for the member. */
export function logicalIdX2(id: number): number {
  return (((id >>> 4) << 16) | (1 << (id & 15))) >>> 0;
}

/** In x2APIC mode: 32-bit destinations, logical ones always of the cluster model. */
export function matchesX2(id: number, destination: number, logical: boolean): boolean {
  if (destination === 0xffffffff) return true;
  if (!logical) return destination === id;
  const own = logicalIdX2(id);
  return destination >>> 16 === own >>> 16 && (destination & own & 0xffff) !== 0;
}

/** In xAPIC mode: 8-bit destinations, logical ones of the model in DFR. */
export function matchesX(
  { xapicId, ldr, dfr }: { readonly xapicId: number; readonly ldr: number; readonly dfr: number },
  destination: number,
  logical: boolean,
): boolean {
  if (destination === 0xff || destination === 0xffffffff) return true;
  if (!logical) return destination === xapicId;
  const own = ldr >>> 24;
  if (dfr >>> 28 === 15) return (destination & own & 0xff) !== 0;
  return (destination & 0xf0) === (own & 0xf0) && (destination & own & 0x0f) !== 0;
}
