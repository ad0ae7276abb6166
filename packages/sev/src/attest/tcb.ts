/**
 * TCB_VERSION: the security levels of a platform's firmware, in both layouts.
 *
 * Source: SEV-SNP ABI (AMD 56860), TCB_VERSION structure; the Turin layout from revision 1.58.
 */
import { toHex } from './bytes.js';
import { hasFmc, type Product } from './product.js';

/** The security levels by name; `fmc` exists from Turin on. */
export interface Tcb {
  readonly fmc?: number;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

export type TcbPart = keyof Tcb;

export const TCB_PARTS: readonly TcbPart[] = ['fmc', 'bootloader', 'tee', 'snp', 'microcode'];

/** Where in the 8 bytes each level is. */
const EARLY = { bootloader: 0, tee: 1, snp: 6, microcode: 7 } as const;
const TURIN = { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 } as const;

const layoutOf = (product: Product): Partial<Record<TcbPart, number>> =>
  hasFmc(product) ? TURIN : EARLY;

/** Reads the 8 bytes as `product` lays them out. */
export function decodeTcb(raw: Uint8Array, product: Product): Tcb {
  const levels: Partial<Record<TcbPart, number>> = {};
  for (const [part, at] of Object.entries(layoutOf(product))) levels[part as TcbPart] = raw[at]!;
  return levels as Tcb;
}

/** The bytes that the layout gives no meaning and that are not zero, as text; or undefined. */
export function unknownTcbBytes(raw: Uint8Array, product: Product): string | undefined {
  const known = new Set(Object.values(layoutOf(product)));
  return raw.some((byte, at) => byte !== 0 && !known.has(at)) ? toHex(raw) : undefined;
}

export function encodeTcb(tcb: Tcb, product: Product): Uint8Array {
  const raw = new Uint8Array(8);
  for (const [part, at] of Object.entries(layoutOf(product))) raw[at] = tcb[part as TcbPart] ?? 0;
  return raw;
}

/** Whether every level named in `minimum` is reached. A level the platform lacks is not. */
export function reaches(tcb: Tcb, minimum: Partial<Tcb>): boolean {
  return TCB_PARTS.every((part) => {
    const least = minimum[part];
    return least === undefined || (tcb[part] ?? -1) >= least;
  });
}

export const sameTcb = (a: Tcb, b: Tcb): boolean => TCB_PARTS.every((part) => a[part] === b[part]);

/** `bootloader 4, tee 0, snp 24, microcode 217` */
export function tcbText(tcb: Partial<Tcb>): string {
  return TCB_PARTS.filter((part) => tcb[part] !== undefined)
    .map((part) => `${part} ${tcb[part]}`)
    .join(', ');
}
