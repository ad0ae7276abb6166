/**
 * `@cloister/sev/attest`: decide whether to trust an attestation report.
 */
import { offerHashes } from '../hash/port.js';
import { pureHashes } from '../hash/pure-hash.js';

offerHashes(pureHashes);

export type { Hashes } from '../hash/port.js';
export {
  type KeyHolder,
  type NamedHash,
  type Signatures,
  signatures,
  useSignatures,
} from '../signature/port.js';
export { webSignatures } from '../signature/web-signatures.js';
export {
  type CertTableEntry,
  type CertTableKind,
  encodeCertTable,
  parseCertTable,
} from './cert-table.js';
export { type Certificate, parseCertificate, parseCertificates } from './certificate.js';
export type { Check, Stage } from './check.js';
export { parseCrl, type RevocationList } from './crl.js';
export type { Flags, GuestPolicyBit, PlatformInfoBit } from './flags.js';
export { createKds, type Kds, type KdsAnswer, type KdsOptions } from './kds.js';
export { type CacheFiles, folderCache, type KdsCache, memoryCache } from './kds-cache.js';
export { KDS_BASE, type KeyKind, kdsUrl } from './kds-url.js';
export {
  type LegacyCertificate,
  type LegacyUsage,
  parseLegacyCertificate,
} from './legacy-certificate.js';
export {
  type LegacyChain,
  type LegacyReport,
  type LegacyReportRules,
  parseLegacyReport,
  verifyLegacyChain,
  verifyLegacyReport,
} from './legacy-verify.js';
export type { BitRules, Policy, TcbKind } from './policy.js';
export { readPolicy } from './policy-file.js';
export { PRODUCTS, type Product } from './product.js';
export { parseReport, REPORT_SIZE, type Report, type SigningKey } from './report.js';
export { reportJson } from './report-json.js';
export { ARK_SPKI_SHA256 } from './roots.js';
export { decodeTcb, encodeTcb, type Tcb } from './tcb.js';
export { type VekExtensions, vekExtensions } from './vek-extensions.js';
export { type Verdict, type VerifyOptions, verifyReport } from './verify.js';
