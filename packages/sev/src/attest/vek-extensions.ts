/**
 * What AMD writes into a VCEK or VLEK certificate about the chip and its firmware.
 *
 * Source: AMD KDS specification (57230), "VCEK/VLEK certificate extensions", arc
 * 1.3.6.1.4.1.3704.1. HWID is the bare bytes in every certificate seen so far; the specification
 * can be read as wrapping them in an OCTET STRING, and some issuers do: both are taken.
 */
import { VmmError } from '@cloister/core';
import type { Certificate } from './certificate.js';
import { hasFmc, type Product, productOfName } from './product.js';
import type { Tcb, TcbPart } from './tcb.js';

const ARC = '1.3.6.1.4.1.3704.1';

/** Identifiers of the levels; `.3.4` to `.3.7` are spare. */
const LEVELS: Readonly<Record<TcbPart, string>> = {
  fmc: `${ARC}.3.9`,
  bootloader: `${ARC}.3.1`,
  tee: `${ARC}.3.2`,
  snp: `${ARC}.3.3`,
  microcode: `${ARC}.3.8`,
};

export interface VekExtensions {
  /** As written, e.g. `Milan-B0`. */
  readonly productName: string;
  readonly product: Product;
  readonly tcb: Tcb;
  /** VCEK only. */
  readonly hwid?: Uint8Array;
  /** VLEK only: whom the key was made for. */
  readonly cspId?: string;
}

const IA5_STRING = 0x16;
const INTEGER = 0x02;
const OCTET_STRING = 0x04;

/** Reads the extensions. `VmmError('invalid-file')` when one that must be there is not. */
export function vekExtensions(certificate: Certificate): VekExtensions {
  const { extensions } = certificate;
  const productName = new TextDecoder('latin1').decode(
    primitive(certificate, `${ARC}.2`, IA5_STRING),
  );
  const product = productOfName(productName);
  if (product === undefined) {
    throw new VmmError('unsupported', `certificate for the product ${JSON.stringify(productName)}`);
  }
  const levels: Partial<Record<TcbPart, number>> = {};
  for (const [part, id] of Object.entries(LEVELS)) {
    if (part !== 'fmc' || hasFmc(product)) levels[part as TcbPart] = level(certificate, id);
  }
  const hwid = extensions.get(`${ARC}.4`);
  return {
    productName,
    product,
    tcb: levels as Tcb,
    ...(hwid === undefined ? {} : { hwid: unwrap(hwid).slice() }),
    ...(extensions.has(`${ARC}.5`)
      ? {
          cspId: new TextDecoder('latin1').decode(primitive(certificate, `${ARC}.5`, IA5_STRING)),
        }
      : {}),
  };
}

/** A bare identifier has 64 or 8 bytes, a wrapped one two more: the length tells them apart. */
function unwrap(hwid: Uint8Array): Uint8Array {
  const wrapped =
    (hwid.length === 66 || hwid.length === 10) &&
    hwid[0] === OCTET_STRING &&
    hwid[1] === hwid.length - 2;
  return wrapped ? hwid.subarray(2) : hwid;
}

/** A level is an INTEGER of 0 to 255, which DER writes in one byte, or two when it is over 127. */
function level(certificate: Certificate, id: string): number {
  const bytes = primitive(certificate, id, INTEGER);
  const value = bytes.length === 2 && bytes[0] === 0 && bytes[1]! > 127 ? bytes[1]! : bytes[0]!;
  if (bytes.length > 2 || bytes.length === 0 || (bytes.length === 1 && value > 127)) {
    throw wrong(id);
  }
  if (bytes.length === 2 && value === 0) throw wrong(id);
  return value;
}

/** The content of a value of this type, short enough that its length is one byte. */
function primitive({ extensions }: Certificate, id: string, tag: number): Uint8Array {
  const value = extensions.get(id);
  if (value === undefined) {
    throw new VmmError('invalid-file', `certificate: no extension ${id}`, {
      remedy: 'is it a VCEK or a VLEK?',
    });
  }
  if (value[0] !== tag || value.length < 2 || value[1]! > 127 || value[1] !== value.length - 2) {
    throw wrong(id);
  }
  return value.subarray(2);
}

const wrong = (id: string): VmmError =>
  new VmmError('invalid-file', `certificate: extension ${id} does not hold what it should`);
