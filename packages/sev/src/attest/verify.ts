/**
 * Whether to trust a report: its signature, the chain above its key, the policy. Every check is
 * made and listed, whatever failed before it.
 *
 * Source: SEV-SNP ABI (AMD 56860) for the report, AMD KDS specification (57230) for the chain.
 */
import { VmmError } from '@cloister/core';
import { hashes } from '../hash/port.js';
import { isZero, sameBytes, toHex } from './bytes.js';
import { type Certificate, parseCertificate, parseCertificates } from './certificate.js';
import { type Chain, chainChecks, kindOf } from './chain.js';
import { type Check, check, failureOf, type Stage } from './check.js';
import { parseCrl, type RevocationList } from './crl.js';
import { type Policy, policyChecks, uncheckedBy } from './policy.js';
import { chipIdLength, type Product } from './product.js';
import { parseReport, type Report } from './report.js';
import { reportSignedBy, signaturePaddingIsZero, signedBy } from './signatures.js';
import { decodeTcb, sameTcb } from './tcb.js';
import { type VekExtensions, vekExtensions } from './vek-extensions.js';
import { wallClock } from './wall-clock.js';

export interface VerifyOptions {
  readonly report: Uint8Array | Report;
  /**
   * The report's certificates and those above, among any others: parsed, or files in DER or PEM.
   * They are matched by subject and issuer, and by what they say of chip and TCB.
   */
  readonly certificates: readonly (Uint8Array | Certificate)[];
  /** The key's certificate, when it shall be this one and no other. */
  readonly vek?: Uint8Array | Certificate;
  /**
   * Revocation lists; that of the report's root counts, the latest if there are several. One whose
   * issuer is not among the certificates fails a check.
   */
  readonly crl?: readonly (Uint8Array | RevocationList)[];
  /** When the certificates must be valid. Default: now, by the host's clock. */
  readonly at?: Date;
  /** Roots to trust in place of AMD's, whose keys are built in. */
  readonly roots?: readonly (Uint8Array | Certificate)[];
  readonly product?: Product;
  readonly policy?: Policy;
  /** Read reports of versions after 5 as if they were version 5. Default false. */
  readonly laterVersions?: boolean;
}

export interface Verdict {
  /** True when every check passed. */
  readonly trusted: boolean;
  /** The first stage with a failed check. */
  readonly failure: Stage | undefined;
  readonly checks: readonly Check[];
  /** Things worth checking that neither the policy nor the caller asked for. */
  readonly unchecked: readonly string[];
  readonly report: Report;
  readonly vek: VekExtensions;
}

/** Verifies a report. Throws `VmmError` only for input that cannot be read or is not there. */
export async function verifyReport(options: VerifyOptions): Promise<Verdict> {
  const { policy = {}, at = wallClock(), product } = options;
  if (Number.isNaN(at.getTime())) {
    throw new VmmError('invalid-argument', 'the time to verify at is no time', { path: 'at' });
  }
  const report =
    options.report instanceof Uint8Array ? parseReport(options.report, options) : options.report;
  const certificates = read(options.certificates);
  const roots = options.roots && read(options.roots);
  const given = options.vek;
  const vek =
    given === undefined
      ? await chooseVek(report, certificates)
      : given instanceof Uint8Array
        ? onlyOne(given)
        : given;
  const chain = await complete(vek, [...certificates, ...(roots ?? [])]);
  const crl = listFor(chain, options.crl ?? [], certificates);
  const extensions = vekExtensions(vek);
  const { requireCrl = false, allowMaskedChipId = false } = policy;
  const rules = { at, roots, crl, requireCrl, product, allowMaskedChipId };
  const [signature, links] = await Promise.all([
    signatureChecks(report, vek),
    chainChecks(report, chain, extensions, rules),
  ]);
  const checks = [...signature, ...links, ...policyChecks(report, extensions, policy)];
  const failure = failureOf(checks);
  const unchecked = uncheckedBy(policy, crl !== undefined);
  return { trusted: failure === undefined, failure, checks, unchecked, report, vek: extensions };
}

const read = (list: readonly (Uint8Array | Certificate)[]): Certificate[] =>
  list.flatMap((each) => (each instanceof Uint8Array ? fileRead(each) : [each]));

/**
 * Files read lately, by their SHA-256: who verifies many reports passes the same authorities each
 * time. What is kept is never handed out, so nobody can change it.
 */
const kept = new Map<string, Certificate[]>();
const KEPT_MAX = 64;
const KEPT_BYTES_MAX = 0x4000;

function fileRead(file: Uint8Array): Certificate[] {
  if (file.length > KEPT_BYTES_MAX) return parseCertificates(file);
  const key = toHex(hashes().sha256(file));
  const found = kept.get(key) ?? parseCertificates(file);
  // Put at the end: the first is the one not used for longest.
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value!);
  return found;
}

/** The root's latest list; else one that nobody among the certificates can have issued. */
function listFor(
  { root }: Chain,
  given: readonly (Uint8Array | RevocationList)[],
  certificates: readonly Certificate[],
) {
  const lists = given.map((each) => (each instanceof Uint8Array ? parseCrl(each) : each));
  const own = lists.filter(({ issuer }) => issuer === root?.subject);
  const latest = own.sort((a, b) => b.thisUpdate.getTime() - a.thisUpdate.getTime())[0];
  // Those of other roots that lie here are for their chains; a stranger's shows among the checks.
  const strangers = lists.filter(({ issuer }) => {
    return !certificates.some(({ subject }) => subject === issuer);
  });
  return latest ?? strangers[0];
}

function onlyOne(file: Uint8Array): Certificate {
  if (file[0] === 0x30) return parseCertificate(file);
  const [first, ...others] = parseCertificates(file);
  if (first === undefined || others.length > 0) {
    throw new VmmError('invalid-argument', 'more than one certificate for the key');
  }
  return first;
}

async function signatureChecks(report: Report, vek: Certificate): Promise<Check[]> {
  const { signatureAlgorithm: algorithm, signingKey } = report;
  const [signed, padding] = [await reportSignedBy(report, vek), signaturePaddingIsZero(report)];
  const known = signingKey === 'vcek' || signingKey === 'vlek';
  return [
    check('signature.algorithm', algorithm === 1, '1 (ECDSA P-384, SHA-384)', `${algorithm}`),
    check('signature.key', known, 'vcek or vlek', signingKey),
    check('signature.padding', padding, 'zeros after R and S', padding ? 'zeros' : 'other bytes'),
    check(
      'signature.report',
      signed,
      `by the key of ${vek.commonName}`,
      signed ? 'so it is' : 'another key or content',
    ),
  ];
}

/** Of the certificates for such a key, the one that says most of what the report says. */
async function chooseVek(report: Report, certificates: readonly Certificate[]) {
  const veks = certificates.filter((each) => kindOf(each) !== undefined);
  const fitting = veks.filter((each) => kindOf(each) === report.signingKey);
  const [first, ...others] = fitting.length > 0 ? fitting : veks;
  if (first === undefined) {
    const kind = report.signingKey.toUpperCase();
    throw new VmmError('invalid-argument', `no ${kind} certificate for the report`, {
      remedy: `${certificates.length} certificates were given`,
    });
  }
  if (others.length === 0) return first;
  let best = first;
  let bestScore = -1;
  for (const candidate of [first, ...others]) {
    const score = likeness(report, candidate) + ((await reportSignedBy(report, candidate)) ? 8 : 0);
    if (score > bestScore) [best, bestScore] = [candidate, score];
  }
  return best;
}

function likeness(report: Report, candidate: Certificate): number {
  let vek: VekExtensions;
  try {
    vek = vekExtensions(candidate);
  } catch {
    // Not usable; if it is the only one, its reader says why.
    return -1;
  }
  const { product, hwid = new Uint8Array(64), tcb } = vek;
  const chip = report.chipId.subarray(0, chipIdLength(product));
  return (
    (sameBytes(chip, hwid) || (isZero(chip) && vek.hwid === undefined) ? 4 : 0) +
    (report.product === undefined || report.product === product ? 2 : 0) +
    (sameTcb(tcb, decodeTcb(report.tcb.reported, product)) ? 1 : 0)
  );
}

/** Finds the issuers by name; of several with one name, the one whose key it was. */
async function complete(vek: Certificate, among: readonly Certificate[]): Promise<Chain> {
  const intermediate = await issuerOf(vek, among);
  const root = intermediate && (await issuerOf(intermediate, among));
  return { vek, intermediate, root };
}

async function issuerOf(subject: Certificate, among: readonly Certificate[]) {
  const named = among.filter((each) => each.subject === subject.issuer);
  if (named.length < 2) return named[0];
  for (const each of named) if (await signedBy(subject, each)) return each;
  return named[0];
}
