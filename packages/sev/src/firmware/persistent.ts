/**
 * What a platform keeps from one INIT to the next: its keys and certificates, and whose it is
 * (SEV API 55766, 5.1 "Persistent state"). They lie enciphered under the chip's own key, in flash
 * or in the memory that INIT_EX brings; AMD's layout is not published, this one is ours.
 */

import { SIZE } from '../abi/commands.js';
import { concat, equalBytes, u32 } from '../bytes.js';
import { ciphers } from '../cipher/port.js';
import { hashes } from '../hash/port.js';
import { deriveKey } from '../measure/session.js';
import { type ApiVersion, certificate, certifiedPoint, signCertificate } from './certificate.js';
import { type EcKey, generateKey } from './ec-key.js';
import type { Entropy } from './entropy.js';
import { type ChipIdentity, endorsementKey } from './root.js';

/** A certified key of the platform. */
export interface CertifiedKey {
  readonly key: EcKey;
  readonly certificate: Uint8Array;
}

export interface PersistentState {
  /** The platform's owner: its own authority, or one that PEK_CERT_IMPORT brought. */
  readonly oca: { readonly key: EcKey | null; readonly certificate: Uint8Array };
  readonly pek: CertifiedKey;
  readonly pdh: CertifiedKey;
}

/** Where it lies. */
export interface Store {
  /** Null where nothing was ever written, or it was erased. */
  read(): Uint8Array | null;
  write(bytes: Uint8Array): void;
  erase(): void;
}

/** Flash that lives as long as this object. */
export function memoryStore(): Store {
  let kept: Uint8Array | null = null;
  return {
    read: () => kept,
    write: (bytes) => {
      kept = Uint8Array.from(bytes);
    },
    erase: () => {
      kept = null;
    },
  };
}

/** A new authority of the platform's own, and everything below it: PEK_GEN. */
export function generateAll(
  chip: ChipIdentity,
  version: ApiVersion,
  entropy: Entropy,
): PersistentState {
  const key = generateKey(entropy);
  const oca = { key, certificate: certificate('OCA', key.point, version) };
  signCertificate(oca.certificate, 'OCA', key);
  const pekKey = generateKey(entropy);
  const pek = { key: pekKey, certificate: certificate('PEK', pekKey.point, version) };
  signCertificate(pek.certificate, 'OCA', key);
  signCertificate(pek.certificate, 'CEK', endorsementKey(chip));
  return { oca, pek, pdh: generatePdh(pek, version, entropy) };
}

/** A new PDH: PDH_GEN. */
export function generatePdh(
  pek: CertifiedKey,
  version: ApiVersion,
  entropy: Entropy,
): CertifiedKey {
  const key = generateKey(entropy);
  const bytes = certificate('PDH', key.point, version);
  signCertificate(bytes, 'PEK', pek.key);
  return { key, certificate: bytes };
}

const FORMAT = u32(0x564e_4c43);
const SECRET = 48;
const PLAIN = 3 * SECRET + 3 * SIZE.CERTIFICATE;
const MAC = 32;
const SEALED = FORMAT.length + 16 + PLAIN + MAC;

/** The state as it is stored. */
export function sealState(
  state: PersistentState,
  chip: ChipIdentity,
  entropy: Entropy,
): Uint8Array {
  const plain = concat(
    state.oca.key?.secret ?? new Uint8Array(SECRET),
    state.pek.key.secret,
    state.pdh.key.secret,
    state.oca.certificate,
    state.pek.certificate,
    state.pdh.certificate,
  );
  const iv = entropy(16);
  const head = concat(FORMAT, iv, ciphers().aes128Ctr(storageKey(chip, 'seal'), iv, plain));
  return concat(head, hashes().hmacSha256(storageKey(chip, 'mac'), head));
}

/** Reads what `sealState` of the same chip wrote; null for anything else. */
export function openState(stored: Uint8Array, chip: ChipIdentity): PersistentState | null {
  if (stored.length < SEALED) return null;
  const head = stored.subarray(0, SEALED - MAC);
  const mac = hashes().hmacSha256(storageKey(chip, 'mac'), head);
  if (!equalBytes(mac, stored.subarray(SEALED - MAC, SEALED))) return null;
  const iv = head.subarray(4, 20);
  const plain = ciphers().aes128Ctr(storageKey(chip, 'seal'), iv, head.subarray(20));
  const secrets = [0, 1, 2].map((n) => plain.slice(n * SECRET, (n + 1) * SECRET));
  const certificates = [0, 1, 2].map((n) => {
    const at = 3 * SECRET + n * SIZE.CERTIFICATE;
    return plain.slice(at, at + SIZE.CERTIFICATE);
  });
  const external = secrets[0]!.every((byte) => byte === 0);
  // The points stand in the certificates: no need to compute them.
  const keyOf = (n: number): EcKey => ({
    secret: secrets[n]!,
    point: certifiedPoint(certificates[n]!),
  });
  const certified = (n: 1 | 2): CertifiedKey => ({ key: keyOf(n), certificate: certificates[n]! });
  const key = external ? null : keyOf(0);
  const oca = { key, certificate: certificates[0]! };
  return { oca, pek: certified(1), pdh: certified(2) };
}

const storageKey = ({ uniqueKey }: ChipIdentity, use: string): Uint8Array =>
  deriveKey(uniqueKey, `cloister-storage-${use}`);
