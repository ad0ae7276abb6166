/**
 * Who makes emulated chips: the two authorities at the end of their certificate chains, and the
 * chips that they certify.
 *
 * A root says whose it is: its key identifiers spell it, and its keys are made for it, so no chain
 * that ends here verifies under a root of AMD's or the other way round. Nobody but the holder of a
 * root's file can make chips of it; the file is as secret as the chips are to be.
 */
import { VmmError } from '@cloister/core';
import { concat, equalBytes, fromHex, toHex } from '../bytes.js';
import { hashes } from '../hash/port.js';
import { deriveKey } from '../measure/session.js';
import { type ApiVersion, authorityCertificate, certificate, signByAsk } from './certificate.js';
import { chipPoint, type EcKey, keyFromSeed } from './ec-key.js';
import { type Entropy, freshEntropy, seededEntropy } from './entropy.js';
import { generateRsaKey, isKeyPrime, type RsaKey, toBytes, toNumber } from './rsa-key.js';

/** 16 bytes each, in ASCII. */
export const ROOT_KEY_ID = 'CLOISTER-EMU-ARK';
export const SIGNING_KEY_ID = 'CLOISTER-EMU-ASK';

const ascii = (text: string) => new TextEncoder().encode(text);

export interface EmulatedRoot {
  readonly ark: RsaKey;
  readonly ask: RsaKey;
  readonly arkCertificate: Uint8Array;
  readonly askCertificate: Uint8Array;
}

/** What is unique to a chip. Everything else that it has is derived, or generated later. */
export interface ChipIdentity {
  /** Made when it is first asked for: most runs never do, and its keys take a while. */
  root(): EmulatedRoot;
  /** 32 bytes, in fuses that only the secure processor reads. */
  readonly uniqueKey: Uint8Array;
}

export function makeRoot(entropy: Entropy): EmulatedRoot {
  return certifyRoot(generateRsaKey(entropy), generateRsaKey(entropy));
}

function certifyRoot(ark: RsaKey, ask: RsaKey): EmulatedRoot {
  const [own, signing] = [ascii(ROOT_KEY_ID), ascii(SIGNING_KEY_ID)];
  // The salts come from the keys: one root has one pair of certificates, whoever writes them.
  const salt = saltOf(ark);
  const ids = { own, certifying: own };
  const arkCertificate = authorityCertificate('ARK', ark, ids, ark, salt);
  const askIds = { own: signing, certifying: own };
  const askCertificate = authorityCertificate('ASK', ask, askIds, ark, salt);
  return { ark, ask, arkCertificate, askCertificate };
}

const saltOf =
  ({ p }: RsaKey): Entropy =>
  (length) =>
    hashes()
      .sha256(concat(ascii('salt'), toBytes(p, 128)))
      .slice(0, length);

/** A chip of this root, or of one of its own. */
export function makeChip(entropy: Entropy, root?: EmulatedRoot): ChipIdentity {
  const uniqueKey = entropy(32);
  const ownRoot = seededEntropy(entropy(32), 'root');
  return { root: root === undefined ? once(() => makeRoot(ownRoot)) : () => root, uniqueKey };
}

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** The chip's endorsement key: always the same one (55766, 2.1.3 "CEK"). */
export function endorsementKey({ uniqueKey }: ChipIdentity): EcKey {
  const seed = hashes().sha256(uniqueKey);
  const blocks = [1, 2, 3, 4, 5].map((n) =>
    deriveKey(seed, 'sev-chip-endorsement-key', Uint8Array.of(n)),
  );
  return keyFromSeed(concat(...blocks).slice(0, 72));
}

/** What GET_ID answers: 64 bytes. */
export function chipId({ uniqueKey }: ChipIdentity): Uint8Array {
  return chipPoint(uniqueKey);
}

/** The CEK's certificate with the signature of its maker, which AMD's key server gives out. */
export function certifiedCek(chip: ChipIdentity, version: ApiVersion): Uint8Array {
  const bytes = certificate('CEK', endorsementKey(chip).point, version);
  const { ask } = chip.root();
  signByAsk(bytes, ask, saltOf(ask));
  return bytes;
}

/** ASK, then ARK, as SEND_START and AMD's key server have them. */
export function authorityChain({ askCertificate, arkCertificate }: EmulatedRoot): Uint8Array {
  return concat(askCertificate, arkCertificate);
}

const FORMAT = 'cloister-emulated-sev-chip';

/** A chip as JSON, to be kept: secret. */
export function encodeChip(chip: ChipIdentity): string {
  const { ark, ask } = chip.root();
  const prime = (value: bigint) => toHex(toBytes(value, 128));
  return JSON.stringify(
    {
      format: FORMAT,
      version: 1,
      ark: { p: prime(ark.p), q: prime(ark.q) },
      ask: { p: prime(ask.p), q: prime(ask.q) },
      uniqueKey: toHex(chip.uniqueKey),
    },
    null,
    2,
  );
}

/** Reads what `encodeChip` wrote. `VmmError('invalid-file')` for anything else. */
export function decodeChip(text: string): ChipIdentity {
  const file = parse(text);
  if (file.format !== FORMAT || file.version !== 1) throw damaged('it is another kind of file');
  const key = (name: 'ark' | 'ask'): RsaKey => {
    const pair = file[name] as { p?: unknown; q?: unknown } | undefined;
    return { p: prime(pair?.p, `${name}.p`), q: prime(pair?.q, `${name}.q`) };
  };
  const uniqueKey = hex(file.uniqueKey, 32, 'uniqueKey');
  const [ark, ask] = [key('ark'), key('ask')];
  return { root: once(() => certifyRoot(ark, ask)), uniqueKey };
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {}
  throw damaged('it is not JSON');
}

function prime(value: unknown, what: string): bigint {
  const number = toNumber(hex(value, 128, what));
  if (isKeyPrime(number, freshEntropy)) return number;
  throw damaged(`${what} is no prime of a key`);
}

function hex(value: unknown, size: number, what: string): Uint8Array {
  if (typeof value === 'string' && /^[0-9a-f]*$/.test(value) && value.length === size * 2) {
    return fromHex(value, what);
  }
  throw damaged(`${what} is not ${size} bytes in hexadecimal`);
}

const damaged = (why: string) => new VmmError('invalid-file', `emulated chip: ${why}`);

/** Whether an ARK certificate is this root's. */
export function isRoot({ arkCertificate }: EmulatedRoot, bytes: Uint8Array): boolean {
  return equalBytes(arkCertificate, bytes);
}
