/**
 * Signature checks as attestation uses them: two schemes, each under a key as X.509 writes one.
 *
 * WebCrypto is in place from the start. The package's `node` entry point puts `node:crypto` there
 * instead, which answers at once; whoever wants the checks of Node's WebCrypto, which run on other
 * threads, puts `webSignatures` back.
 */
import { webSignatures } from './web-signatures.js';

/** Who holds a public key. Implementations keep what they made of it for as long as it lives. */
export interface KeyHolder {
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array<ArrayBuffer>;
}

/** A hash by its WebCrypto name, e.g. `SHA-384`, and its length in bytes. */
export interface NamedHash {
  readonly name: string;
  readonly length: number;
}

/** A key of another kind, a damaged key or signature: all are `false`, never an error. */
export interface Signatures {
  /** Which implementation, e.g. `WebCrypto`; shown by the benchmark. */
  readonly name: string;
  /** RSASSA-PSS, MGF1 over the same hash, the salt as long as the hash. */
  rsaPss(
    by: KeyHolder,
    hash: NamedHash,
    signature: Uint8Array<ArrayBuffer>,
    body: Uint8Array<ArrayBuffer>,
  ): boolean | Promise<boolean>;
  /** ECDSA on P-384 with SHA-384; `signature` is R and S, big-endian, 48 bytes each. */
  ecdsaP384(
    by: KeyHolder,
    signature: Uint8Array<ArrayBuffer>,
    body: Uint8Array<ArrayBuffer>,
  ): boolean | Promise<boolean>;
}

let current: Signatures = webSignatures;

/** The implementation in use. */
export function signatures(): Signatures {
  return current;
}

/** Replaces the implementation; returns the one that was in use. */
export function useSignatures(next: Signatures): Signatures {
  const before = current;
  current = next;
  return before;
}
