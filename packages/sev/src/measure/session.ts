/**
 * The session of a legacy SEV launch: how a guest owner hands the transport keys to a platform that
 * only it can read them on (SEV API 55766, 2.2.2 "Transport keys", chapter 6.2 LAUNCH_START, table
 * of the session data buffer).
 *
 * The owner's own certificate (GODH), which goes with the session, is not made here.
 */
import { concat, sized, u32 } from '../bytes.js';
import { hashes } from '../hash/port.js';
import { aes128Ctr } from './aes-ctr.js';

/** Transport encryption and integrity keys: the owner's choice, random. */
export interface TransportKeys {
  readonly tek: Uint8Array;
  readonly tik: Uint8Array;
}

export interface SessionInputs extends TransportKeys {
  /** The secret shared with the platform, by ECDH with its PDH key (`sharedSecret`). */
  readonly z: Uint8Array;
  /** 16 random bytes each. */
  readonly nonce: Uint8Array;
  readonly iv: Uint8Array;
  /** The SEV guest policy. */
  readonly policy: number;
}

export interface SessionKeys {
  readonly master: Uint8Array;
  /** Encrypts and authenticates the transport keys. */
  readonly kek: Uint8Array;
  readonly kik: Uint8Array;
}

/** Its 128 bytes: nonce, wrapped keys, IV, MAC of the wrapped keys, MAC of the policy. */
export interface Session {
  readonly bytes: Uint8Array;
  readonly wrappedKeys: Uint8Array;
  readonly wrapMac: Uint8Array;
  readonly policyMac: Uint8Array;
}

const KEY_SIZE = 16;

/** NIST SP 800-108 in counter mode over HMAC-SHA-256, for one key of 16 bytes. */
export function deriveKey(
  key: Uint8Array,
  label: string,
  context: Uint8Array = new Uint8Array(),
): Uint8Array {
  const text = concat(
    u32(1),
    new TextEncoder().encode(label),
    Uint8Array.of(0),
    context,
    u32(KEY_SIZE * 8),
  );
  return hashes().hmacSha256(key, text).slice(0, KEY_SIZE);
}

export function sessionKeys(z: Uint8Array, nonce: Uint8Array): SessionKeys {
  const master = deriveKey(z, 'sev-master-secret', sized(nonce, KEY_SIZE, 'the nonce'));
  return { master, kek: deriveKey(master, 'sev-kek'), kik: deriveKey(master, 'sev-kik') };
}

/** The session data for LAUNCH_START. */
export async function sessionData(inputs: SessionInputs): Promise<Session> {
  const { z, nonce, iv, policy } = inputs;
  const tek = sized(inputs.tek, KEY_SIZE, 'the TEK');
  const tik = sized(inputs.tik, KEY_SIZE, 'the TIK');
  const { kek, kik } = sessionKeys(z, nonce);
  const wrappedKeys = await aes128Ctr(kek, iv, concat(tek, tik));
  const wrapMac = hashes().hmacSha256(kik, wrappedKeys);
  const policyMac = hashes().hmacSha256(tik, u32(policy));
  const bytes = concat(nonce, wrappedKeys, iv, wrapMac, policyMac);
  return { bytes, wrappedKeys, wrapMac, policyMac };
}

/** ECDH on P-384: the x coordinate of the shared point, big-endian. */
export async function sharedSecret(own: CryptoKey, platform: CryptoKey): Promise<Uint8Array> {
  const algorithm = { name: 'ECDH', public: platform };
  return new Uint8Array(await crypto.subtle.deriveBits(algorithm, own, 384));
}
