/**
 * RSA for the two authorities above a chip, whose certificate format knows nothing else: key
 * generation (FIPS 186-5, A.1.3 "probable primes"), RSASSA-PSS (RFC 8017, 8.1) with SHA-256 and a
 * salt of 32 bytes. Everything comes from the entropy given, so that a seeded root repeats itself.
 *
 * Not in constant time: it runs in the host's process, which holds the keys anyway, when a root is
 * made and when it certifies a chip.
 */
import { concat, fromHex, u32 } from '../bytes.js';
import { hashes } from '../hash/port.js';
import type { Entropy } from './entropy.js';

export const RSA_BITS = 2048;
const BYTES = RSA_BITS / 8;
const EXPONENT = 65537n;
const HASH = 32;
/** Composites survive so many rounds with a probability below 2^-100 (FIPS 186-5, table B.1). */
const ROUNDS = 5;

export interface RsaKey {
  readonly p: bigint;
  readonly q: bigint;
}

export const modulus = ({ p, q }: RsaKey): bigint => p * q;

/** The public half, 256 bytes big-endian each. */
export function publicBytes(key: RsaKey): { modulus: Uint8Array; exponent: Uint8Array } {
  return { modulus: toBytes(modulus(key), BYTES), exponent: toBytes(EXPONENT, BYTES) };
}

export function generateRsaKey(entropy: Entropy): RsaKey {
  return { p: generatePrime(entropy), q: generatePrime(entropy) };
}

/** Signs `body`: 256 bytes, big-endian. */
export function signPss(key: RsaKey, body: Uint8Array, entropy: Entropy): Uint8Array {
  const encoded = toNumber(encodePss(hashes().sha256(body), entropy(HASH)));
  const { p, q } = key;
  const d = inverse(EXPONENT, (p - 1n) * (q - 1n));
  const inP = power(encoded % p, d % (p - 1n), p);
  const inQ = power(encoded % q, d % (q - 1n), q);
  const lift = (((inP - inQ) * inverse(q, p)) % p) + p;
  return toBytes(inQ + (lift % p) * q, BYTES);
}

/** Whether `signature` of `body` is by this public key (big-endian numbers). */
export function verifyPss(
  by: { readonly modulus: Uint8Array; readonly exponent: Uint8Array },
  body: Uint8Array,
  signature: Uint8Array,
): boolean {
  const n = toNumber(by.modulus);
  const exponent = toNumber(by.exponent);
  const value = toNumber(signature);
  // A large exponent would only cost time: no authority has one.
  if (n < 2n ** 1023n || value >= n || exponent >= 2n ** 32n || n % 2n === 0n) return false;
  const encoded = toBytes(power(value, exponent, n), by.modulus.length);
  return checkPss(hashes().sha256(body), encoded);
}

/** RFC 8017, 9.1.1, for an encoded message of one bit less than the modulus. */
function encodePss(hash: Uint8Array, salt: Uint8Array): Uint8Array {
  const h = hashes().sha256(concat(new Uint8Array(8), hash, salt));
  const db = new Uint8Array(BYTES - HASH - 1);
  db[db.length - salt.length - 1] = 1;
  db.set(salt, db.length - salt.length);
  const masked = xor(db, mask(h, db.length));
  masked[0]! &= 0x7f;
  return concat(masked, h, Uint8Array.of(0xbc));
}

/** RFC 8017, 9.1.2. */
function checkPss(hash: Uint8Array, encoded: Uint8Array): boolean {
  const split = encoded.length - HASH - 1;
  if (encoded[encoded.length - 1] !== 0xbc || (encoded[0]! & 0x80) !== 0) return false;
  const h = encoded.subarray(split, split + HASH);
  const db = xor(encoded.subarray(0, split), mask(h, split));
  db[0]! &= 0x7f;
  const start = db.length - HASH - 1;
  if (db[start] !== 1 || db.subarray(0, start).some((byte) => byte !== 0)) return false;
  const expected = hashes().sha256(concat(new Uint8Array(8), hash, db.subarray(start + 1)));
  return expected.every((byte, at) => byte === h[at]);
}

/** MGF1. */
function mask(seed: Uint8Array, length: number): Uint8Array {
  const blocks: Uint8Array[] = [];
  for (let counter = 0; blocks.length * HASH < length; counter++) {
    blocks.push(hashes().sha256(concat(seed, u32(counter).reverse())));
  }
  return concat(...blocks).slice(0, length);
}

const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, at) => byte ^ b[at]!);

/** Odd primes below 2^14: what they divide needs no test. Known once a key is made. */
let known: readonly number[] | undefined;

function smallPrimes(): readonly number[] {
  known ??= oddPrimes(2 ** 14);
  return known;
}

function oddPrimes(limit: number): number[] {
  const composite = new Uint8Array(limit);
  const primes: number[] = [];
  for (let n = 3; n < limit; n += 2) {
    if (composite[n] === 1) continue;
    primes.push(n);
    for (let multiple = n * n; multiple < limit; multiple += 2 * n) composite[multiple] = 1;
  }
  return primes;
}

/** Odd candidates looked at from one random start. */
const STEPS = 2048;

function generatePrime(entropy: Entropy): bigint {
  const bits = BigInt(RSA_BITS / 2);
  for (;;) {
    // The two top bits set: the product of two such primes has all of its bits.
    const start = toNumber(entropy(BYTES / 2)) | (3n << (bits - 2n)) | 1n;
    const composite = sieve(start);
    for (let step = 0; step < STEPS; step++) {
      const candidate = start + 2n * BigInt(step);
      if (composite[step] === 1 || candidate >> bits !== 0n) continue;
      if ((candidate - 1n) % EXPONENT !== 0n && isProbablePrime(candidate, entropy)) {
        return candidate;
      }
    }
  }
}

/** Marks each of the numbers `start + 2 * n` that a small prime divides. */
function sieve(start: bigint): Uint8Array {
  const composite = new Uint8Array(STEPS);
  for (const prime of smallPrimes()) {
    const rest = Number(start % BigInt(prime));
    // start + 2 n = 0 modulo the prime; half of an even number, or of it plus the odd prime.
    const distance = (prime - rest) % prime;
    const first = distance % 2 === 0 ? distance / 2 : (distance + prime) / 2;
    for (let step = first; step < STEPS; step += prime) composite[step] = 1;
  }
  return composite;
}

/**
 * Whether a kept number can be a prime of a key: what was damaged fails one test, and nobody is to
 * be kept out who made the file for itself.
 */
export function isKeyPrime(candidate: bigint, entropy: Entropy): boolean {
  const whole = candidate >> BigInt(RSA_BITS / 2 - 1) === 1n && (candidate & 1n) === 1n;
  return whole && (candidate - 1n) % EXPONENT !== 0n && isProbablePrime(candidate, entropy, 1);
}

/** Miller-Rabin with random bases. */
function isProbablePrime(candidate: bigint, entropy: Entropy, rounds = ROUNDS): boolean {
  let odd = candidate - 1n;
  let twos = 0;
  while ((odd & 1n) === 0n) {
    odd >>= 1n;
    twos++;
  }
  for (let round = 0; round < rounds; round++) {
    const base = (toNumber(entropy(32)) % (candidate - 3n)) + 2n;
    let x = power(base, odd, candidate);
    if (x === 1n || x === candidate - 1n) continue;
    let witness = true;
    for (let n = 1; n < twos && witness; n++) {
      x = (x * x) % candidate;
      witness = x !== candidate - 1n;
    }
    if (witness) return false;
  }
  return true;
}

/** Modular power, four bits of the exponent at a time. */
function power(base: bigint, exponent: bigint, n: bigint): bigint {
  const powers = [1n];
  for (let digit = 1; digit < 16; digit++) powers.push((powers[digit - 1]! * base) % n);
  let result = 1n;
  for (const digit of exponent.toString(16)) {
    for (let square = 0; square < 4; square++) result = (result * result) % n;
    result = (result * powers[Number.parseInt(digit, 16)]!) % n;
  }
  return result;
}

function inverse(value: bigint, n: bigint): bigint {
  let [a, b] = [((value % n) + n) % n, n];
  let [x, y] = [1n, 0n];
  while (b !== 0n) {
    const quotient = a / b;
    [a, b] = [b, a - quotient * b];
    [x, y] = [y, x - quotient * y];
  }
  return ((x % n) + n) % n;
}

export function toNumber(bytes: Uint8Array): bigint {
  let hex = '0x0';
  for (const byte of bytes) hex += byte.toString(16).padStart(2, '0');
  return BigInt(hex);
}

export function toBytes(value: bigint, size: number): Uint8Array {
  return fromHex(value.toString(16).padStart(size * 2, '0'));
}
