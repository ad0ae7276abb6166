/**
 * The XSAVE area as CPUID leaf 0xd describes it.
 *
 * Source: AMD APM vol. 2, 11.5.2 and vol. 3, E.3.8. Components: 0 x87, 1 SSE (both in the legacy
 * area), 9 PKRU. PKRU keeps the offset that AMD's processors give it, AVX state or not.
 */
export const XSAVE_HEADER_END = 576;
export const PKRU_COMPONENT = 9;
export const PKRU_OFFSET = 2432;
export const PKRU_SIZE = 8;

const PKRU_BIT = 1 << PKRU_COMPONENT;

/** Bits that XCR0 may have. */
export function xcr0Mask(has: (feature: string) => boolean): number {
  return has('xsave') ? 3 | (has('pku') ? PKRU_BIT : 0) : 0;
}

/** Bytes of the standard-format area for the components in `mask`. */
export function standardSize(mask: number): number {
  return (mask & PKRU_BIT) !== 0 ? PKRU_OFFSET + PKRU_SIZE : XSAVE_HEADER_END;
}

/** Bytes of the compacted-format area for the components in `mask`. */
export function compactedSize(mask: number): number {
  return XSAVE_HEADER_END + ((mask & PKRU_BIT) !== 0 ? PKRU_SIZE : 0);
}
