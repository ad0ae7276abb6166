/**
 * Trusted channels: between a guest's owner and the platform that launches it, and between the
 * platforms of a migration. Whoever opens one chooses the transport keys and wraps them for the
 * other's PDH key (SEV API 55766, 2.2.2 "Transport keys", tables of session data and of packet
 * headers; the context bytes of MACs: 6.6 LAUNCH_SECRET, 6.9 SEND_UPDATE_DATA).
 */

import { SIZE } from '../abi/commands.js';
import { STATUS, type Status } from '../abi/status.js';
import type { LegacyCertificate } from '../attest/legacy-certificate.js';
import { concat, equalBytes, u32, viewOf } from '../bytes.js';
import { ciphers } from '../cipher/port.js';
import { hashes } from '../hash/port.js';
import { sessionKeys, type TransportKeys } from '../measure/session.js';
import { type EcKey, sharedX } from './ec-key.js';
import type { Entropy } from './entropy.js';

/** What a MAC is about. */
const CONTEXT = { SECRET: 1, DATA: 2 } as const;

export interface Packet {
  /** flags, IV, MAC: 52 bytes. */
  readonly header: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** A value, or why there is none. */
export type Result<T> =
  | { readonly status: typeof STATUS.SUCCESS; readonly value: T }
  | { readonly status: Exclude<Status, 0>; readonly value?: never };

const refused = (status: Exclude<Status, 0>) => ({ status }) as const;

/** The transport keys in 128 bytes of session data, as the platform with `pdh` reads them. */
export function openSession(
  pdh: EcKey,
  peer: LegacyCertificate | null,
  session: Uint8Array,
  policy: number,
): Result<TransportKeys> {
  const z = secretWith(pdh, peer);
  if (z === null) return refused(STATUS.INVALID_CERTIFICATE);
  const { kek, kik } = sessionKeys(z, session.subarray(0, 16));
  const wrapped = session.subarray(16, 48);
  const wrapMac = hashes().hmacSha256(kik, wrapped);
  if (!equalBytes(wrapMac, session.subarray(64, 96))) return refused(STATUS.BAD_MEASUREMENT);
  const keys = ciphers().aes128Ctr(kek, session.subarray(48, 64), wrapped);
  const [tek, tik] = [keys.slice(0, 16), keys.slice(16)];
  const policyMac = hashes().hmacSha256(tik, u32(policy));
  if (!equalBytes(policyMac, session.subarray(96))) return refused(STATUS.BAD_MEASUREMENT);
  return { status: STATUS.SUCCESS, value: { tek, tik } };
}

/** New transport keys, and the session data that hands them to the platform of `peer`. */
export function createSession(
  pdh: EcKey,
  peer: LegacyCertificate | null,
  policy: number,
  entropy: Entropy,
): Result<{ readonly keys: TransportKeys; readonly session: Uint8Array }> {
  const z = secretWith(pdh, peer);
  if (z === null) return refused(STATUS.INVALID_CERTIFICATE);
  const keys = { tek: entropy(16), tik: entropy(16) };
  const [nonce, iv] = [entropy(16), entropy(16)];
  const { kek, kik } = sessionKeys(z, nonce);
  const wrapped = ciphers().aes128Ctr(kek, iv, concat(keys.tek, keys.tik));
  const wrapMac = hashes().hmacSha256(kik, wrapped);
  const policyMac = hashes().hmacSha256(keys.tik, u32(policy));
  const session = concat(nonce, wrapped, iv, wrapMac, policyMac);
  return { status: STATUS.SUCCESS, value: { keys, session } };
}

function secretWith(pdh: EcKey, peer: LegacyCertificate | null): Uint8Array | null {
  if (peer === null || peer.usage !== 'pdh' || peer.algorithm.kind !== 'ecdh') return null;
  if (peer.key.kind !== 'ec' || peer.key.curve !== 'P-384') return null;
  return sharedX(pdh, peer.key.point);
}

/** Enciphers migrated data. */
export function seal(keys: TransportKeys, plaintext: Uint8Array, entropy: Entropy): Packet {
  const iv = entropy(16);
  const ciphertext = ciphers().aes128Ctr(keys.tek, iv, plaintext);
  const head = concat(u32(0), iv);
  const mac = packetMac(keys, CONTEXT.DATA, head, ciphertext);
  return { header: concat(head, mac), ciphertext };
}

/** Migrated data that `seal` enciphered. */
export function open(keys: TransportKeys, packet: Packet): Result<Uint8Array> {
  return decipher(keys, packet, CONTEXT.DATA);
}

/** A secret that the owner sends once it has seen `measurement`. */
export function openSecret(
  keys: TransportKeys,
  packet: Packet,
  measurement: Uint8Array,
): Result<Uint8Array> {
  return decipher(keys, packet, CONTEXT.SECRET, measurement);
}

const COMPRESSED = 1;

function decipher(
  keys: TransportKeys,
  { header, ciphertext }: Packet,
  context: number,
  measurement: Uint8Array = new Uint8Array(),
): Result<Uint8Array> {
  const head = header.subarray(0, 20);
  const mac = packetMac(keys, context, head, ciphertext, measurement);
  if (!equalBytes(mac, header.subarray(20, SIZE.PACKET_HEADER))) {
    return refused(STATUS.BAD_MEASUREMENT);
  }
  if ((viewOf(header).getUint32(0, true) & COMPRESSED) !== 0) return refused(STATUS.UNSUPPORTED);
  const value = ciphers().aes128Ctr(keys.tek, head.subarray(4), ciphertext);
  return { status: STATUS.SUCCESS, value };
}

function packetMac(
  { tik }: TransportKeys,
  context: number,
  head: Uint8Array,
  ciphertext: Uint8Array,
  measurement: Uint8Array = new Uint8Array(),
): Uint8Array {
  const { length } = ciphertext;
  const text = [Uint8Array.of(context), head, u32(length), u32(length), ciphertext, measurement];
  return hashes().hmacSha256(tik, concat(...text));
}
