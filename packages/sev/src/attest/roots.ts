/**
 * The keys that everything hangs from: AMD's root keys (ARK), pinned by the SHA-256 of the DER
 * SubjectPublicKeyInfo. A certificate may be issued again, for other dates; its key stays.
 *
 * Source: the `cert_chain` answers of AMD's key server for each product; the same key signs the
 * VCEK and the VLEK branch. No root is pinned for Venice: pass one.
 */
import type { Product } from './product.js';

export const ARK_SPKI_SHA256: Readonly<Partial<Record<Product, string>>> = {
  Milan: '9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9',
  Genoa: '429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831',
  Turin: '4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08',
};
