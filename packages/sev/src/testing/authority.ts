/**
 * A made-up AMD: root, intermediate, keys of chips, revocation lists and signed reports, all fresh.
 * Used by tests only; the private keys live as long as the test.
 */
import { RsaSaPssParams } from '@peculiar/asn1-rsa';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  BasicConstraints,
  Certificate,
  CertificateList,
  Extension,
  Extensions,
  Name,
  RelativeDistinguishedName,
  RevokedCertificate,
  SubjectPublicKeyInfo,
  TBSCertificate,
  TBSCertList,
  Time,
  Validity,
  Version,
} from '@peculiar/asn1-x509';
import { hasFmc, type Product } from '../attest/product.js';
import { encodeTcb, type Tcb } from '../attest/tcb.js';

const ARC = '1.3.6.1.4.1.3704.1';
const BASIC_CONSTRAINTS = '2.5.29.19';
const SHA384 = '2.16.840.1.101.3.4.2.2';
const RSA = {
  name: 'RSA-PSS',
  hash: 'SHA-384',
  modulusLength: 2048,
  publicExponent: Uint8Array.of(1, 0, 1),
};
const P384 = { name: 'ECDSA', namedCurve: 'P-384' };

const sha384 = (): AlgorithmIdentifier =>
  new AlgorithmIdentifier({ algorithm: SHA384, parameters: null });

const pss = (): AlgorithmIdentifier =>
  new AlgorithmIdentifier({
    algorithm: '1.2.840.113549.1.1.10',
    parameters: AsnConvert.serialize(
      new RsaSaPssParams({
        hashAlgorithm: sha384(),
        maskGenAlgorithm: new AlgorithmIdentifier({
          algorithm: '1.2.840.113549.1.1.8',
          parameters: AsnConvert.serialize(sha384()),
        }),
        saltLength: 48,
        trailerField: 1,
      }),
    ),
  });

const name = (commonName: string): Name =>
  new Name([
    new RelativeDistinguishedName([
      new AttributeTypeAndValue({
        type: '2.5.4.3',
        value: new AttributeValue({ utf8String: commonName }),
      }),
    ]),
  ]);

export interface Issued {
  readonly der: Uint8Array<ArrayBuffer>;
  readonly keys: CryptoKeyPair;
}

export interface IssueOptions {
  readonly subject: string;
  readonly issuer: string;
  readonly signer?: CryptoKey;
  readonly keys?: CryptoKeyPair;
  readonly serial?: number;
  readonly authority?: boolean;
  readonly from?: string;
  readonly to?: string;
  readonly extensions?: readonly Extension[];
}

/** Issues a certificate; without a signer it signs itself. */
export async function issue(options: IssueOptions): Promise<Issued> {
  const { subject, issuer, serial = 0, authority = false, extensions = [] } = options;
  const keys =
    options.keys ??
    (await crypto.subtle.generateKey(authority ? RSA : P384, true, ['sign', 'verify']));
  const constraints = new Extension({
    extnID: BASIC_CONSTRAINTS,
    critical: true,
    extnValue: new OctetString(AsnConvert.serialize(new BasicConstraints({ cA: true }))),
  });
  const all = [...(authority ? [constraints] : []), ...extensions];
  const tbs = new TBSCertificate({
    version: Version.v3,
    serialNumber: Uint8Array.of(serial).buffer,
    signature: pss(),
    issuer: name(issuer),
    validity: new Validity({
      notBefore: new Date(options.from ?? '2025-01-01T00:00:00Z'),
      notAfter: new Date(options.to ?? '2035-01-01T00:00:00Z'),
    }),
    subject: name(subject),
    subjectPublicKeyInfo: AsnConvert.parse(
      await crypto.subtle.exportKey('spki', keys.publicKey),
      SubjectPublicKeyInfo,
    ),
    ...(all.length > 0 ? { extensions: new Extensions([...all]) } : {}),
  });
  const signatureValue = await sign(options.signer ?? keys.privateKey, AsnConvert.serialize(tbs));
  const certificate = new Certificate({
    tbsCertificate: tbs,
    signatureAlgorithm: pss(),
    signatureValue,
  });
  return { der: new Uint8Array(AsnConvert.serialize(certificate)), keys };
}

const sign = (key: CryptoKey, data: ArrayBuffer): Promise<ArrayBuffer> =>
  crypto.subtle.sign({ name: 'RSA-PSS', saltLength: 48 }, key, data);

const extension = (id: string, value: ArrayLike<number>): Extension =>
  new Extension({ extnID: `${ARC}.${id}`, extnValue: new OctetString(Uint8Array.from(value)) });

const integer = (value: number): number[] => (value > 127 ? [2, 2, 0, value] : [2, 1, value]);
const ia5 = (text: string): number[] => [0x16, text.length, ...new TextEncoder().encode(text)];

export interface VekContents {
  readonly productName: string;
  readonly tcb: Tcb;
  readonly hwid?: Uint8Array;
  readonly cspId?: string;
}

export function vekContents({ productName, tcb, hwid, cspId }: VekContents): Extension[] {
  return [
    extension('1', integer(tcb.fmc === undefined ? 0 : 1)),
    extension('2', ia5(productName)),
    ...(tcb.fmc === undefined ? [] : [extension('3.9', integer(tcb.fmc))]),
    extension('3.1', integer(tcb.bootloader)),
    extension('3.2', integer(tcb.tee)),
    extension('3.3', integer(tcb.snp)),
    extension('3.8', integer(tcb.microcode)),
    ...(hwid === undefined ? [] : [extension('4', hwid)]),
    ...(cspId === undefined ? [] : [extension('5', ia5(cspId))]),
  ];
}

export interface Authority {
  readonly product: Product;
  readonly ark: Issued;
  readonly ask: Issued;
  readonly vek: Issued;
  readonly tcb: Tcb;
  readonly chipId: Uint8Array;
  /** A report of this chip, signed; `change` edits what is signed. */
  report(change?: (bytes: Uint8Array, view: DataView) => void): Promise<Uint8Array>;
  /** A list signed by the root. */
  crl(revoked: readonly number[], options?: CrlOptions): Promise<Uint8Array>;
  /** Another certificate for the chip's key. */
  reissue(options: Partial<IssueOptions & VekContents>): Promise<Uint8Array>;
}

export interface CrlOptions {
  readonly signer?: Issued;
  readonly thisUpdate?: string;
  readonly nextUpdate?: string;
}

export const ASK_SERIAL = 0x21;

/**
 * A root with all that hangs from it, for one chip; with the authorities' keys of another one where
 * fresh ones matter less than the time that they take.
 */
export async function createAuthority(
  product: Product = 'Turin',
  alike?: Pick<Authority, 'ark' | 'ask'>,
): Promise<Authority> {
  const fmc = hasFmc(product) ? { fmc: 1 } : {};
  const tcb: Tcb = { ...fmc, bootloader: 4, tee: 0, snp: 24, microcode: 217 };
  const chipId = Uint8Array.from({ length: hasFmc(product) ? 8 : 64 }, (_, i) => 0xa0 + i);
  const root = `ARK-${product}`;
  const keysOf = (issued: Issued | undefined) => (issued ? { keys: issued.keys } : {});
  const ark = await issue({
    subject: root,
    issuer: root,
    serial: 0x20,
    authority: true,
    ...keysOf(alike?.ark),
  });
  const ask = await issue({
    subject: `SEV-${product}`,
    issuer: root,
    signer: ark.keys.privateKey,
    serial: ASK_SERIAL,
    authority: true,
    ...keysOf(alike?.ask),
  });
  const vekOptions = {
    subject: 'SEV-VCEK',
    issuer: `SEV-${product}`,
    signer: ask.keys.privateKey,
    extensions: vekContents({ productName: product, tcb, hwid: chipId }),
  };
  const vek = await issue(vekOptions);
  return {
    product,
    ark,
    ask,
    vek,
    tcb,
    chipId,
    report: (change) => signedReport(product, tcb, chipId, vek.keys.privateKey, change),
    crl: (revoked, options = {}) => revocationList(root, options.signer ?? ark, revoked, options),
    reissue: async ({ productName = product, tcb: levels = tcb, hwid = chipId, ...rest }) => {
      const extensions = vekContents({ productName, tcb: levels, hwid, ...rest });
      return (await issue({ ...vekOptions, extensions, keys: vek.keys, ...rest })).der;
    },
  };
}

/** CPUID family and model of each product. */
const CPUID: Readonly<Record<Product, readonly [number, number]>> = {
  Milan: [0x19, 0x01],
  Genoa: [0x19, 0x11],
  Turin: [0x1a, 0x02],
  Venice: [0x1a, 0x50],
};

async function signedReport(
  product: Product,
  tcb: Tcb,
  chipId: Uint8Array,
  key: CryptoKey,
  change?: (bytes: Uint8Array, view: DataView) => void,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(0x4a0);
  const view = new DataView(bytes.buffer);
  view.setUint32(0x00, 5, true);
  view.setBigUint64(0x08, 0x3001fn, true);
  view.setUint32(0x34, 1, true);
  view.setBigUint64(0x40, 0x65n, true);
  bytes.fill(0x11, 0x50, 0x90);
  bytes.fill(0x22, 0x90, 0xc0);
  bytes.fill(0x33, 0xc0, 0xe0);
  bytes.fill(0xff, 0x160, 0x180);
  for (const at of [0x38, 0x180, 0x1e0, 0x1f0]) bytes.set(encodeTcb(tcb, product), at);
  bytes.set(CPUID[product], 0x188);
  bytes.set(chipId, 0x1a0);
  bytes.set([40, 55, 1, 0, 40, 55, 1], 0x1e8);
  view.setBigUint64(0x1f8, 0x3fn, true);
  view.setBigUint64(0x200, 0x3fn, true);
  change?.(bytes, view);
  const signature = new Uint8Array(
    await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-384' }, key, bytes.slice(0, 0x2a0)),
  );
  bytes.set(signature.slice(0, 48).reverse(), 0x2a0);
  bytes.set(signature.slice(48).reverse(), 0x2a0 + 72);
  return bytes;
}

async function revocationList(
  issuer: string,
  signer: Issued,
  revoked: readonly number[],
  { thisUpdate = '2026-01-01T00:00:00Z', nextUpdate = '2027-01-01T00:00:00Z' }: CrlOptions,
): Promise<Uint8Array> {
  const list = new TBSCertList({
    version: Version.v2,
    signature: pss(),
    issuer: name(issuer),
    thisUpdate: new Time(new Date(thisUpdate)),
    nextUpdate: new Time(new Date(nextUpdate)),
    ...(revoked.length > 0
      ? {
          revokedCertificates: revoked.map(
            (serial) =>
              new RevokedCertificate({
                userCertificate: Uint8Array.of(serial).buffer,
                revocationDate: new Time(new Date(thisUpdate)),
              }),
          ),
        }
      : {}),
  });
  const signature = await sign(signer.keys.privateKey, AsnConvert.serialize(list));
  const whole = new CertificateList({ tbsCertList: list, signatureAlgorithm: pss(), signature });
  return new Uint8Array(AsnConvert.serialize(whole));
}
