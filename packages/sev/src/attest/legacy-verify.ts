/**
 * Attestation before SNP: the chain PDH, PEK, CEK, ASK, ARK, and the ATTESTATION report that the
 * PEK signs.
 *
 * Source: SEV API (AMD 55766), "ATTESTATION" and appendix C. The PEK is signed by the chip (CEK)
 * and by the platform's owner (OCA). No root is pinned here for these processors: the caller
 * passes an ARK certificate that it trusts.
 */
import { VmmError } from '@cloister/core';
import { concat, isZero, reversed, sameBytes, toHex, viewOf } from './bytes.js';
import { type Check, check } from './check.js';
import type {
  LegacyCertificate,
  LegacyKey,
  LegacySignature,
  LegacyUsage,
} from './legacy-certificate.js';

export const LEGACY_REPORT_SIZE = 0xd0;

export interface LegacyReport {
  readonly bytes: Uint8Array;
  /** The nonce that the caller of ATTESTATION gave. */
  readonly nonce: Uint8Array;
  readonly launchDigest: Uint8Array;
  readonly policy: number;
  readonly signatureUsage: number;
  readonly signatureAlgorithm: number;
}

/** Reads an ATTESTATION report. `VmmError('invalid-file')` when it has another size. */
export function parseLegacyReport(received: Uint8Array): LegacyReport {
  if (received.length !== LEGACY_REPORT_SIZE) {
    throw new VmmError('invalid-file', `SEV attestation report of ${received.length} bytes`, {
      remedy: `it has ${LEGACY_REPORT_SIZE} bytes`,
    });
  }
  const bytes = Uint8Array.from(received);
  const view = viewOf(bytes);
  return {
    bytes,
    nonce: bytes.subarray(0x00, 0x10),
    launchDigest: bytes.subarray(0x10, 0x30),
    policy: view.getUint32(0x30, true),
    signatureUsage: view.getUint32(0x34, true),
    signatureAlgorithm: view.getUint32(0x38, true),
  };
}

export interface LegacyChain {
  readonly pdh?: LegacyCertificate;
  readonly pek: LegacyCertificate;
  /** The owner's; without it the platform is taken as owned by nobody one knows. */
  readonly oca?: LegacyCertificate;
  readonly cek: LegacyCertificate;
  readonly ask: LegacyCertificate;
  readonly ark: LegacyCertificate;
}

/** Checks the chain up to `ark`, which must be byte for byte the one that is trusted. */
export async function verifyLegacyChain(
  chain: LegacyChain,
  trustedArk: LegacyCertificate,
): Promise<Check[]> {
  const { pdh, pek, oca, cek, ask, ark } = chain;
  const links: readonly (readonly [LegacyCertificate | undefined, LegacyCertificate])[] = [
    // The ARK is compared with the trusted one anyway: a missing signature of its own is no loss.
    ...(ark.signatures.length > 0 ? ([[ark, ark]] as const) : []),
    [ask, ark],
    [cek, ask],
    [pek, cek],
    ...(oca
      ? ([
          [oca, oca],
          [pek, oca],
        ] as const)
      : []),
    ...(pdh ? ([[pdh, pek]] as const) : []),
  ];
  const expected = Object.entries(chain) as [LegacyUsage, LegacyCertificate][];
  const wrong = expected.filter(([usage, certificate]) => certificate.usage !== usage);
  return [
    check(
      'chain.root-key',
      sameBytes(ark.bytes, trustedArk.bytes),
      'the ARK that is trusted',
      `key ${ark.keyId}`,
    ),
    check(
      'chain.usages',
      wrong.length === 0,
      'each certificate in its place',
      wrong.map(([usage, { usage: found }]) => `${found} as ${usage}`).join(', ') || 'so they are',
    ),
    ...(await Promise.all(links.map(([subject, issuer]) => linkCheck(subject!, issuer)))),
  ];
}

async function linkCheck(subject: LegacyCertificate, issuer: LegacyCertificate): Promise<Check> {
  const id = `chain.${subject.usage}-by-${issuer.usage}` as const;
  const expected = `signed by the ${issuer.usage.toUpperCase()}`;
  if (subject.certifyingId !== undefined && subject.certifyingId !== issuer.keyId) {
    return check(id, false, expected, `certified by key ${subject.certifyingId}`);
  }
  const by = subject.signatures.filter(({ usage }) => usage === issuer.usage);
  const results = await Promise.all(
    by.map((signature) => verifies(issuer, signature, subject.signed)),
  );
  const ok = results.includes(true);
  return check(id, ok, expected, ok ? 'so it is' : by.length === 0 ? 'not signed by it' : 'not');
}

export interface LegacyReportRules {
  readonly nonce?: Uint8Array;
  readonly launchDigest?: Uint8Array;
  /** Let a guest pass that its host may debug. Default false. */
  readonly allowDebug?: boolean;
  /** Policy bits that must be set, e.g. 4 for SEV-ES. */
  readonly requiredPolicy?: number;
}

const NODBG = 1;
const ECDSA_SHA256 = 0x2;
const PEK_USAGE = 0x1002;

/** Checks an ATTESTATION report under the platform's PEK. */
export async function verifyLegacyReport(
  report: LegacyReport,
  pek: LegacyCertificate,
  rules: LegacyReportRules = {},
): Promise<Check[]> {
  const { nonce, launchDigest, policy, signatureUsage: usage, signatureAlgorithm } = report;
  const by = usage === PEK_USAGE && signatureAlgorithm === ECDSA_SHA256 && pek.usage === 'pek';
  const signature = {
    usage: 'pek',
    algorithm: { kind: 'ecdsa', hash: 'SHA-256' },
    bytes: report.bytes.subarray(0x40),
  } as const;
  const signed = Uint8Array.from(report.bytes.subarray(0, 0x34));
  const ok = by && (await verifies(pek, signature, signed));
  const required = (rules.requiredPolicy ?? 0) >>> 0;
  const hex = (value: number): string => `0x${value.toString(16)}`;
  return [
    check('signature.report', ok, 'by the PEK', ok ? 'so it is' : 'another key or content'),
    ...(rules.nonce ? [sameCheck('policy.nonce', rules.nonce, nonce)] : []),
    ...(rules.launchDigest
      ? [sameCheck('policy.launch-digest', rules.launchDigest, launchDigest)]
      : []),
    check(
      'policy.debug',
      rules.allowDebug === true || (policy & NODBG) !== 0,
      'no',
      (policy & NODBG) !== 0 ? 'no' : 'yes',
    ),
    check('policy.bits', (policy & required) >>> 0 === required, hex(required), hex(policy)),
  ];
}

const sameCheck = (id: Check['id'], expected: Uint8Array, found: Uint8Array): Check =>
  check(id, sameBytes(expected, found), toHex(expected), toHex(found));

async function verifies(
  { key, algorithm }: LegacyCertificate,
  signature: LegacySignature,
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const { kind, hash } = signature.algorithm;
  try {
    if (key.kind === 'rsa') {
      return kind === 'rsa' && hash === algorithm.hash && (await rsa(key, hash, signature, signed));
    }
    return (
      kind === 'ecdsa' && algorithm.kind === 'ecdsa' && (await ecdsa(key, hash, signature, signed))
    );
  } catch {
    return false;
  }
}

type KeyOf<Kind> = Extract<LegacyKey, { kind: Kind }>;

async function ecdsa(
  { curve, point }: KeyOf<'ec'>,
  hash: string,
  { bytes }: LegacySignature,
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const size = curve === 'P-256' ? 32 : 48;
  const [r, s] = [bytes.subarray(0, 72), bytes.subarray(72, 144)];
  const tail = [r.subarray(size), s.subarray(size), bytes.subarray(144)];
  if (!tail.every(isZero)) return false;
  const name = { name: 'ECDSA', namedCurve: curve };
  const imported = await crypto.subtle.importKey('raw', Uint8Array.from(point), name, false, [
    'verify',
  ]);
  const pair = concat(reversed(r.subarray(0, size)), reversed(s.subarray(0, size)));
  return crypto.subtle.verify({ name: 'ECDSA', hash }, imported, pair, signed);
}

async function rsa(
  { modulus, exponent }: KeyOf<'rsa'>,
  hash: string,
  { bytes }: LegacySignature,
  signed: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const { length } = modulus;
  if (!isZero(bytes.subarray(length))) return false;
  const jwk = { kty: 'RSA', n: base64url(modulus), e: base64url(trimmed(exponent)) };
  const imported = await crypto.subtle.importKey('jwk', jwk, { name: 'RSA-PSS', hash }, false, [
    'verify',
  ]);
  const saltLength = hash === 'SHA-256' ? 32 : 48;
  const signature = reversed(bytes.subarray(0, length));
  return crypto.subtle.verify({ name: 'RSA-PSS', saltLength }, imported, signature, signed);
}

const trimmed = (number: Uint8Array): Uint8Array =>
  number.subarray(
    Math.max(
      0,
      number.findIndex((byte) => byte !== 0),
    ),
  );

const base64url = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '');
