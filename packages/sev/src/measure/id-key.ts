/**
 * Keys and signatures of ID blocks, in the form that the SNP firmware takes: ECDSA on P-384 with
 * SHA-384, all numbers little-endian (SNP firmware ABI 56860, chapter 10 "Appendix: digital
 * signatures"). Signing and checking are WebCrypto's.
 */
import { VmmError } from '@cloister/core';
import { concat, part, reversed, sized, u32, viewOf } from '../bytes.js';
import { hashes } from '../hash/port.js';

/** A P-384 key pair that can sign. */
export interface IdKey {
  readonly privateKey: CryptoKey;
  /** The 0x404 bytes of the public key in the firmware's form. */
  readonly publicKey: Uint8Array;
}

export const ID_KEY_SIZE = 0x404;
export const ID_SIGNATURE_SIZE = 0x200;

const CURVE_P384 = 2;
const NUMBER = 48;
const FIELD = 72;
const ECDSA = { name: 'ECDSA', namedCurve: 'P-384' } as const;
const SIGN = { name: 'ECDSA', hash: 'SHA-384' } as const;

/** Reads a private key from PKCS #8 (DER). */
export async function importIdKey(pkcs8: Uint8Array): Promise<IdKey> {
  try {
    const key = await crypto.subtle.importKey('pkcs8', Uint8Array.from(pkcs8), ECDSA, true, [
      'sign',
    ]);
    const { x, y } = await crypto.subtle.exportKey('jwk', key);
    return { privateKey: key, publicKey: publicKeyBytes(base64url(x!), base64url(y!)) };
  } catch (cause) {
    throw new VmmError('invalid-file', 'not a private key on P-384 in PKCS #8', { cause });
  }
}

/** The firmware's form of a public key, of its big-endian coordinates. */
export function publicKeyBytes(x: Uint8Array, y: Uint8Array): Uint8Array {
  const point = concat(coordinate(x, 'x'), coordinate(y, 'y'));
  return concat(u32(CURVE_P384), point, new Uint8Array(ID_KEY_SIZE - 4 - point.length));
}

const coordinate = (bytes: Uint8Array, what: string) => reversed(sized(bytes, NUMBER, what), FIELD);

/** What a report calls ID_KEY_DIGEST or AUTHOR_KEY_DIGEST. */
export function keyDigest(publicKey: Uint8Array): Uint8Array {
  return hashes().sha384(sized(publicKey, ID_KEY_SIZE, 'a public key'));
}

/** Signs in the firmware's form. */
export async function signBytes({ privateKey }: IdKey, bytes: Uint8Array): Promise<Uint8Array> {
  const signature = await crypto.subtle.sign(SIGN, privateKey, Uint8Array.from(bytes));
  const [r, s] = [new Uint8Array(signature, 0, NUMBER), new Uint8Array(signature, NUMBER)];
  const numbers = concat(reversed(r, FIELD), reversed(s, FIELD));
  return concat(numbers, new Uint8Array(ID_SIGNATURE_SIZE - numbers.length));
}

/** Whether a signature in the firmware's form fits. Damaged keys and signatures never do. */
export async function verifyBytes(
  publicKey: Uint8Array,
  signature: Uint8Array,
  bytes: Uint8Array,
): Promise<boolean> {
  sized(publicKey, ID_KEY_SIZE, 'a public key');
  sized(signature, ID_SIGNATURE_SIZE, 'a signature');
  if (viewOf(publicKey).getUint32(0, true) !== CURVE_P384) return false;
  const point = [number(publicKey, 4), number(publicKey, 4 + FIELD)];
  const pair = [number(signature, 0), number(signature, FIELD)];
  if ([...point, ...pair].includes(undefined)) return false;
  const raw = concat(Uint8Array.of(4), point[0]!, point[1]!);
  try {
    const key = await crypto.subtle.importKey('raw', Uint8Array.from(raw), ECDSA, false, [
      'verify',
    ]);
    const rs = Uint8Array.from(concat(pair[0]!, pair[1]!));
    return await crypto.subtle.verify(SIGN, key, rs, Uint8Array.from(bytes));
  } catch {
    // A point that is not on the curve.
    return false;
  }
}

/** A number of 72 bytes as 48 big-endian ones; undefined if it is larger than that. */
function number(bytes: Uint8Array, at: number): Uint8Array | undefined {
  const field = part(bytes, at, FIELD, 'a number');
  return field.subarray(NUMBER).some((byte) => byte !== 0)
    ? undefined
    : reversed(field.subarray(0, NUMBER));
}

function base64url(text: string): Uint8Array {
  const plain = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
  return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
}
