/**
 * The addresses of AMD's key distribution service.
 *
 * Source: AMD KDS specification (57230), "VCEK Certificate", "VLEK Certificate", "CRL". The VLEK
 * itself is not to be had there without a client certificate: the provider hands it out.
 */
import { toHex } from './bytes.js';
import { chipIdLength, type Product } from './product.js';
import { TCB_PARTS, type Tcb, type TcbPart } from './tcb.js';

export const KDS_BASE = 'https://kdsintf.amd.com';

/** Which of the two branches below a root. */
export type KeyKind = 'vcek' | 'vlek';

const NAMES: Readonly<Record<TcbPart, string>> = {
  fmc: 'fmcSPL',
  bootloader: 'blSPL',
  tee: 'teeSPL',
  snp: 'snpSPL',
  microcode: 'ucodeSPL',
};

export const kdsUrl = {
  /** PEM: the intermediate, then the root. */
  chain: (product: Product, kind: KeyKind, base = KDS_BASE): string =>
    `${base}/${kind}/v1/${product}/cert_chain`,
  /** DER. */
  crl: (product: Product, kind: KeyKind, base = KDS_BASE): string =>
    `${base}/${kind}/v1/${product}/crl`,
  /** DER. The levels are those of REPORTED_TCB: the key was derived from them. */
  vcek: (product: Product, chipId: Uint8Array, tcb: Tcb, base = KDS_BASE): string => {
    const chip = toHex(chipId.subarray(0, chipIdLength(product)));
    const levels = TCB_PARTS.filter((part) => tcb[part] !== undefined);
    const query = levels.map((part) => `${NAMES[part]}=${tcb[part]}`).join('&');
    return `${base}/vcek/v1/${product}/${chip}?${query}`;
  },
};
