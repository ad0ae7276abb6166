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
  /** As `write`, of what need not be made before somebody reads it. */
  writeLater?(make: () => Uint8Array): void;
  erase(): void;
}

/** Flash that lives as long as this object. */
export function memoryStore(): Store {
  let kept: Uint8Array | (() => Uint8Array) | null = null;
  return {
    read: () => {
      if (typeof kept === 'function') kept = kept();
      return kept;
    },
    write: (bytes) => {
      kept = Uint8Array.from(bytes);
    },
    writeLater: (make) => {
      kept = make;
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
  const oca = certifiedLater(key, () => {
    const bytes = certificate('OCA', key.point, version);
    signCertificate(bytes, 'OCA', key);
    return bytes;
  });
  const pekKey = generateKey(entropy);
  const pek = certifiedLater(pekKey, () => {
    const bytes = certificate('PEK', pekKey.point, version);
    signCertificate(bytes, 'OCA', key);
    signCertificate(bytes, 'CEK', endorsementKey(chip));
    return bytes;
  });
  return { oca, pek, pdh: generatePdh(pek, version, entropy) };
}

/** A new PDH: PDH_GEN. */
export function generatePdh(
  pek: CertifiedKey,
  version: ApiVersion,
  entropy: Entropy,
): CertifiedKey {
  const key = generateKey(entropy);
  return certifiedLater(key, () => {
    const bytes = certificate('PDH', key.point, version);
    signCertificate(bytes, 'PEK', pek.key);
    return bytes;
  });
}

/** Its certificate is made when it is first asked for: most runs never do. */
function certifiedLater(key: EcKey, make: () => Uint8Array): CertifiedKey {
  let made: Uint8Array | undefined;
  return {
    key,
    get certificate() {
      made ??= make();
      return made;
    },
  };
}

const FORMAT = u32(0x564e_4c43);
const SECRET = 48;
const PLAIN = 3 * SECRET + 3 * SIZE.CERTIFICATE;
const MAC = 32;
export const IV_SIZE = 16;
const SEALED = FORMAT.length + IV_SIZE + PLAIN + MAC;

/** The state as it is stored; `iv` has IV_SIZE bytes and is used once. */
export function sealState(state: PersistentState, chip: ChipIdentity, iv: Uint8Array): Uint8Array {
  const plain = concat(
    state.oca.key?.secret ?? new Uint8Array(SECRET),
    state.pek.key.secret,
    state.pdh.key.secret,
    state.oca.certificate,
    state.pek.certificate,
    state.pdh.certificate,
  );
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
