/**
 * Elliptic-curve keys of a platform: P-384, signatures over SHA-256, in the firmware's fields of 72
 * bytes, little-endian (SEV API 55766, appendix C.3.2 "ECDSA public key", C.4.2 "ECDSA signature").
 *
 * Signatures are deterministic (RFC 6979), so that a seeded platform repeats itself.
 */
import { concat, reversed } from '../bytes.js';
import { hashes } from '../hash/port.js';
import { curves } from './curves.js';
import type { Entropy } from './entropy.js';

export interface EcKey {
  /** 48 bytes, big-endian. */
  readonly secret: Uint8Array;
  /** 0x04, x, y. */
  readonly point: Uint8Array;
}

const SIZE = 48;
/** A component of a point or signature in the firmware's structs. */
export const FIELD_SIZE = 72;
/** Random bytes of a key: more than its size, so that the reduction leaves no bias. */
const SEED_SIZE = 72;

/** Digests are made here, and AMD's signatures may have either sign of S. */
const asIs = { prehash: false, lowS: false } as const;

export function generateKey(entropy: Entropy): EcKey {
  return keyFromSeed(entropy(SEED_SIZE));
}

/** The key that belongs to 72 bytes of seed. */
export function keyFromSeed(seed: Uint8Array): EcKey {
  return key(() => curves().p384.utils.randomSecretKey(seed));
}

export function keyFromSecret(secret: Uint8Array): EcKey {
  return key(() => secret);
}

/** Most keys are made and never used: what they are is worked out when it is asked for. */
function key(secretOf: () => Uint8Array): EcKey {
  let secret: Uint8Array | undefined;
  let point: Uint8Array | undefined;
  return {
    get secret() {
      secret ??= secretOf();
      return secret;
    },
    get point() {
      point ??= curves().p384.getPublicKey(this.secret, false);
      return point;
    },
  };
}

/** R and S in 72 bytes each, over SHA-256 of `body`. */
export function sign(key: EcKey, body: Uint8Array): Uint8Array {
  const pair = curves().p384.sign(hashes().sha256(body), key.secret, asIs);
  return concat(
    reversed(pair.subarray(0, SIZE), FIELD_SIZE),
    reversed(pair.subarray(SIZE), FIELD_SIZE),
  );
}

/** Whether `signature` (R and S, 72 bytes each) of `body` is by the key of `point`. */
export function verify(point: Uint8Array, body: Uint8Array, signature: Uint8Array): boolean {
  const [r, s] = [signature.subarray(0, FIELD_SIZE), signature.subarray(FIELD_SIZE, 144)];
  if ([...r.subarray(SIZE), ...s.subarray(SIZE)].some((byte) => byte !== 0)) return false;
  const pair = concat(reversed(r.subarray(0, SIZE)), reversed(s.subarray(0, SIZE)));
  // That there are no curves says nothing about the signature.
  const { p384 } = curves();
  const digest = hashes().sha256(body);
  try {
    return p384.verify(pair, digest, point, asIs);
  } catch {
    return false;
  }
}

/** ECDH: the x coordinate of the shared point, big-endian; null if `point` is not on the curve. */
export function sharedX(key: EcKey, point: Uint8Array): Uint8Array | null {
  const { p384 } = curves();
  try {
    return p384.getSharedSecret(key.secret, point, false).slice(1, 1 + SIZE);
  } catch {
    return null;
  }
}

/**
 * The identifier of a chip: the point that its unique key has on secp256k1, x and y little-endian,
 * 32 bytes each (55766, 5.15 "GET_ID").
 */
export function chipPoint(uniqueKey: Uint8Array): Uint8Array {
  const { secp256k1 } = curves();
  const secret = secp256k1.utils.randomSecretKey(concat(uniqueKey, new Uint8Array(16)));
  const point = secp256k1.getPublicKey(secret, false);
  return concat(reversed(point.subarray(1, 33)), reversed(point.subarray(33)));
}
