/**
 * The certificate table that an extended guest request returns beside the report.
 *
 * Source: GHCB specification (AMD 56421), "SNP Extended Guest Request". Entries of a GUID in the
 * byte order of RFC 4122 (not Microsoft's), a u32 offset from the table's start and a u32 length;
 * an entry of zeros ends them. The host writes the table: nothing in it is trusted, only matched.
 */
import { VmmError } from '@cloister/core';
import { isZero, toHex, viewOf } from './bytes.js';

const GUIDS: Readonly<Record<string, string>> = {
  '63da758d-e664-4564-adc5-f4b93be8accd': 'vcek',
  'a8074bc2-a25a-483e-aae6-39c045a0b8a1': 'vlek',
  '4ab7b379-bbac-4fe4-a02f-05aef327c782': 'ask',
  'c0b406a4-a803-4952-9743-3fb6014cd0ae': 'ark',
  '92f81bc3-5811-4d3d-97ff-d19f88dc67ea': 'crl',
  'ecae0c0f-9502-43b1-afa2-0ae2e0d565b6': 'extra-platform-info',
};

const ENTRY_SIZE = 24;
/** Far more than there are kinds of certificates. */
const ENTRIES_MAX = 64;

export type CertTableKind = 'vcek' | 'vlek' | 'ask' | 'ark' | 'crl' | 'extra-platform-info';

export interface CertTableEntry {
  readonly guid: string;
  /** What the GUID stands for; absent when that is not known here. */
  readonly kind?: CertTableKind;
  readonly data: Uint8Array;
}

/** Reads a table. `VmmError('invalid-file')` when an entry is outside it or the end is missing. */
export function parseCertTable(table: Uint8Array): CertTableEntry[] {
  const view = viewOf(table);
  const found: { guid: string; offset: number; length: number }[] = [];
  for (let at = 0; ; at += ENTRY_SIZE) {
    if (at + ENTRY_SIZE > table.length || found.length > ENTRIES_MAX) {
      throw damaged('its entries have no end');
    }
    if (isZero(table.subarray(at, at + ENTRY_SIZE))) break;
    found.push({
      guid: guidText(table.subarray(at, at + 16)),
      offset: view.getUint32(at + 16, true),
      length: view.getUint32(at + 20, true),
    });
  }
  const head = (found.length + 1) * ENTRY_SIZE;
  return found.map(({ guid, offset, length }) => {
    // Sums of two u32 are exact as numbers: they cannot wrap.
    if (offset < head || offset + length > table.length) {
      throw damaged(`${guid} is at ${offset} to ${offset + length} of ${table.length}`);
    }
    const kind = GUIDS[guid] as CertTableKind | undefined;
    const data = table.slice(offset, offset + length);
    return { guid, data, ...(kind === undefined ? {} : { kind }) };
  });
}

/** The table with these certificates, as a host hands it out. */
export function encodeCertTable(
  entries: readonly { readonly kind: CertTableKind; readonly data: Uint8Array }[],
): Uint8Array {
  const head = (entries.length + 1) * ENTRY_SIZE;
  const table = new Uint8Array(entries.reduce((sum, { data }) => sum + data.length, head));
  const view = viewOf(table);
  let offset = head;
  for (const [index, { kind, data }] of entries.entries()) {
    const guid = Object.keys(GUIDS).find((each) => GUIDS[each] === kind)!;
    const at = index * ENTRY_SIZE;
    const digits = guid.replaceAll('-', '');
    for (let i = 0; i < 16; i++) table[at + i] = Number.parseInt(digits.substr(2 * i, 2), 16);
    view.setUint32(at + 16, offset, true);
    view.setUint32(at + 20, data.length, true);
    table.set(data, offset);
    offset += data.length;
  }
  return table;
}

const guidText = (bytes: Uint8Array): string =>
  toHex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

const damaged = (why: string): VmmError =>
  new VmmError('invalid-file', `certificate table: ${why}`);
