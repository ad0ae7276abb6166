/**
 * The chain above a report: VCEK or VLEK, its intermediate (ASK or ASVK), the root (ARK).
 *
 * Source: AMD KDS specification (57230), "Certificate chain"; RFC 5280 section 6 for what a path
 * must satisfy. Every check is made and reported even when one before it failed.
 */
import { hashes } from '../hash/port.js';
import { isZero, sameBytes, toHex } from './bytes.js';
import type { Certificate } from './certificate.js';
import { type Check, check } from './check.js';
import type { RevocationList } from './crl.js';
import { chipIdLength, type Product } from './product.js';
import type { Report } from './report.js';
import { ARK_SPKI_SHA256 } from './roots.js';
import { signedBy } from './signatures.js';
import { decodeTcb, sameTcb, tcbText } from './tcb.js';
import type { VekExtensions } from './vek-extensions.js';

export interface Chain {
  readonly vek: Certificate;
  readonly intermediate: Certificate | undefined;
  readonly root: Certificate | undefined;
}

export interface ChainRules {
  /** The moment at which the certificates must be valid. */
  readonly at: Date;
  /** Roots to trust in place of AMD's pinned keys. */
  readonly roots: readonly Certificate[] | undefined;
  readonly crl: RevocationList | undefined;
  readonly requireCrl: boolean;
  /** What the caller knows the processor to be. */
  readonly product: Product | undefined;
  readonly allowMaskedChipId: boolean;
}

/** Everything that must hold between the report's key and a root that is trusted. */
export async function chainChecks(
  report: Report,
  chain: Chain,
  extensions: VekExtensions,
  rules: ChainRules,
): Promise<Check[]> {
  const [links, revocation] = await Promise.all([
    linkChecks(chain),
    revocationChecks(chain, rules),
  ]);
  return [
    rootCheck(chain.root, extensions.product, rules.roots),
    ...links,
    ...shapeChecks(chain, report),
    ...dateChecks(chain, rules.at),
    ...revocation,
    ...bindingChecks(report, extensions, rules),
  ];
}

/** The digest by which a root is pinned. */
export const keyDigest = (certificate: Certificate): string =>
  toHex(hashes().sha256(certificate.publicKey));

function rootCheck(
  root: Certificate | undefined,
  product: Product,
  roots: readonly Certificate[] | undefined,
): Check {
  const pinned = ARK_SPKI_SHA256[product];
  const trusted = roots ? roots.map(keyDigest) : pinned === undefined ? [] : [pinned];
  const found = root === undefined ? 'no root certificate' : keyDigest(root);
  const whose = roots ? 'a root that was passed' : `AMD's root for ${product}`;
  const expected = trusted.length === 0 ? `${whose} (none is known)` : trusted.join(' or ');
  return check('chain.root-key', trusted.includes(found), `${expected}, ${whose}`, found);
}

async function linkChecks({ vek, intermediate, root }: Chain): Promise<Check[]> {
  const links = [
    ['chain.root-signature', root, root],
    ['chain.intermediate-signature', intermediate, root],
    ['chain.vek-signature', vek, intermediate],
  ] as const;
  return Promise.all(
    links.map(async ([id, subject, issuer]) => {
      if (subject === undefined || issuer === undefined) {
        const missing = subject ?? issuer;
        const name = missing === subject ? vek.issuer : missing?.issuer;
        return check(id, false, 'a certificate and its issuer', `missing: ${name ?? 'both'}`);
      }
      const expected = `${subject.commonName} signed by ${subject.issuer}`;
      if (subject.issuer !== issuer.subject) {
        return check(id, false, expected, `issuer given: ${issuer.subject}`);
      }
      const ok = await signedBy(subject, issuer);
      return check(id, ok, expected, ok ? 'so it is' : 'another key or content');
    }),
  );
}

/** Who may issue what, and whether the kinds of key go together. */
function shapeChecks({ vek, intermediate, root }: Chain, report: Report): Check[] {
  const authorities =
    intermediate?.isAuthority === true &&
    root?.isAuthority === true &&
    (root.pathLength === undefined || root.pathLength >= 1);
  const strange = [vek, intermediate, root].flatMap((each) => each?.unknownCritical ?? []);
  const kind = kindOf(vek);
  const branch = intermediate?.commonName.startsWith('SEV-VLEK-') === true ? 'vlek' : 'vcek';
  return [
    check('chain.authorities', authorities, 'two that may sign certificates', `${authorities}`),
    check('chain.extensions', strange.length === 0, 'no unknown critical one', strange.join(', ')),
    check('chain.key-kind', kind === report.signingKey, report.signingKey, kind ?? vek.commonName),
    check('chain.branch', branch === kind, `the intermediate of a ${kind}`, branch),
  ];
}

/** Which kind of key a certificate is for, by its subject. */
export function kindOf({ commonName }: Certificate): 'vcek' | 'vlek' | undefined {
  if (commonName === 'SEV-VCEK') return 'vcek';
  return commonName === 'SEV-VLEK' ? 'vlek' : undefined;
}

function dateChecks({ vek, intermediate, root }: Chain, at: Date): Check[] {
  const rows = [
    ['chain.vek-dates', vek],
    ['chain.intermediate-dates', intermediate],
    ['chain.root-dates', root],
  ] as const;
  return rows.flatMap(([id, certificate]) => {
    if (certificate === undefined) return [];
    const { notBefore, notAfter } = certificate;
    const range = `${notBefore.toISOString()} to ${notAfter.toISOString()}`;
    return [check(id, notBefore <= at && at <= notAfter, range, at.toISOString())];
  });
}

async function revocationChecks(chain: Chain, rules: ChainRules): Promise<Check[]> {
  const { intermediate, root } = chain;
  const { crl, at } = rules;
  if (crl === undefined) {
    return rules.requireCrl ? [check('chain.crl', false, 'a CRL', 'none was given')] : [];
  }
  const until = crl.nextUpdate?.toISOString() ?? 'open';
  const current = crl.thisUpdate <= at && (crl.nextUpdate === undefined || at <= crl.nextUpdate);
  const genuine = root !== undefined && crl.issuer === root.subject && (await signedBy(crl, root));
  const revoked = [intermediate, root].filter((each) => each && crl.revoked.has(each.serial));
  return [
    check('chain.crl', genuine, `signed by ${root?.subject}`, genuine ? 'so it is' : crl.issuer),
    check(
      'chain.crl-dates',
      current,
      `${crl.thisUpdate.toISOString()} to ${until}`,
      at.toISOString(),
    ),
    check(
      'chain.revocation',
      revoked.length === 0,
      'no certificate revoked',
      revoked.map((each) => `${each?.commonName} (serial 0x${each?.serial})`).join(', ') || 'none',
    ),
  ];
}

/** Whether the certificate is for this chip, in this state. */
function bindingChecks(report: Report, vek: VekExtensions, rules: ChainRules): Check[] {
  const products = [report.product, rules.product].filter((each) => each !== undefined);
  const reported = decodeTcb(report.tcb.reported, vek.product);
  return [
    check(
      'chain.product',
      products.every((each) => each === vek.product),
      products.join(' and ') || 'any (a version 2 report names none)',
      vek.productName,
    ),
    check('chain.tcb', sameTcb(vek.tcb, reported), tcbText(reported), tcbText(vek.tcb)),
    ...chipCheck(report, vek, rules.allowMaskedChipId),
  ];
}

/** A VLEK names no chip. */
function chipCheck(report: Report, vek: VekExtensions, allowMasked: boolean): Check[] {
  if (vek.hwid === undefined) {
    return report.signingKey === 'vcek'
      ? [check('chain.chip', false, toHex(report.chipId), 'no HWID in the certificate')]
      : [];
  }
  const length = chipIdLength(vek.product);
  const found = toHex(vek.hwid);
  if (isZero(report.chipId)) {
    return [check('chain.chip', allowMasked, found, 'the report masks its chip')];
  }
  const same =
    sameBytes(report.chipId.subarray(0, length), vek.hwid) &&
    isZero(report.chipId.subarray(length));
  return [check('chain.chip', same, toHex(report.chipId.subarray(0, length)), found)];
}
