/**
 * Which processor a report or a certificate is from, by the names that AMD's key server uses.
 *
 * Source: SEV-SNP ABI (AMD 56860), ATTESTATION_REPORT, CPUID_FAM_ID and CPUID_MOD_ID; AMD's KDS
 * specification (57230) for the names. Siena and Bergamo use Genoa's keys.
 */

export type Product = 'Milan' | 'Genoa' | 'Turin' | 'Venice';

export const PRODUCTS: readonly Product[] = ['Milan', 'Genoa', 'Turin', 'Venice'];

interface Models {
  readonly product: Product;
  readonly family: number;
  readonly first: number;
  readonly last: number;
}

const MODELS: readonly Models[] = [
  { product: 'Milan', family: 0x19, first: 0x00, last: 0x0f },
  { product: 'Genoa', family: 0x19, first: 0x10, last: 0x1f },
  { product: 'Genoa', family: 0x19, first: 0xa0, last: 0xaf },
  { product: 'Turin', family: 0x1a, first: 0x00, last: 0x11 },
  { product: 'Venice', family: 0x1a, first: 0x50, last: 0x57 },
  { product: 'Venice', family: 0x1a, first: 0x90, last: 0x9f },
  { product: 'Venice', family: 0x1a, first: 0xa0, last: 0xaf },
  { product: 'Venice', family: 0x1a, first: 0xc0, last: 0xc7 },
];

/** The product with this CPUID family and model; undefined when it is not one known here. */
export function productOfCpuid(family: number, model: number): Product | undefined {
  return MODELS.find((row) => row.family === family && row.first <= model && model <= row.last)
    ?.product;
}

/** The product a certificate's name extension means: `Milan-B0` is Milan. */
export function productOfName(name: string): Product | undefined {
  const base = name.split('-')[0];
  return PRODUCTS.find((product) => product === base);
}

/** Turin and later put an FMC level first and name a chip by 8 bytes instead of 64. */
export const hasFmc = (product: Product): boolean => product === 'Turin' || product === 'Venice';

/** The bytes of CHIP_ID that hold an identifier. */
export const chipIdLength = (product: Product): number => (hasFmc(product) ? 8 : 64);
