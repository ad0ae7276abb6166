/**
 * An encoder for ACPI Machine Language: just the terms that a description of devices needs.
 *
 * Source: ACPI 6.5, chapter 20 (AML): 20.2.2 names, 20.2.3 data, 20.2.4 package length, 20.2.5
 * terms. Every function returns the bytes of one term; terms nest by being passed on. No control
 * flow, methods or fields: the tables made here hold data only.
 */
import { VmmError } from '../interfaces/error.js';

export type Aml = Uint8Array;

const ZERO_OP = 0x00;
const ONE_OP = 0x01;
const NAME_OP = 0x08;
const BYTE_PREFIX = 0x0a;
const WORD_PREFIX = 0x0b;
const DWORD_PREFIX = 0x0c;
const STRING_PREFIX = 0x0d;
const QWORD_PREFIX = 0x0e;
const SCOPE_OP = 0x10;
const BUFFER_OP = 0x11;
const PACKAGE_OP = 0x12;
const DUAL_NAME_PREFIX = 0x2e;
const MULTI_NAME_PREFIX = 0x2f;
const EXT_OP_PREFIX = 0x5b;
const DEVICE_OP = 0x82;

function invalid(message: string): VmmError {
  return new VmmError('invalid-argument', `AML: ${message}`);
}

/** The bytes of several terms, one after another. */
export function concat(...terms: readonly Aml[]): Aml {
  const bytes = new Uint8Array(terms.reduce((sum, term) => sum + term.length, 0));
  let at = 0;
  for (const term of terms) {
    bytes.set(term, at);
    at += term.length;
  }
  return bytes;
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => {
    const code = character.charCodeAt(0);
    if (code === 0 || code > 0x7f) throw invalid(`"${text}" is not plain ASCII`);
    return code;
  });
}

/** A name path such as `\_SB_.COM1`, `^FOO`, `_HID`; segments are padded with `_` to four. */
export function namePath(path: string): Aml {
  const match = /^(\\?)(\^*)(.*)$/.exec(path);
  const [, root = '', parents = '', rest = ''] = match ?? [];
  const segments = rest === '' ? [] : rest.split('.');
  for (const segment of segments) {
    if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) throw invalid(`"${path}" is not a name`);
  }
  const names = ascii(segments.map((segment) => segment.padEnd(4, '_')).join(''));
  const prefix = ascii(root + parents);
  if (segments.length === 0) return concat(prefix, Uint8Array.of(0));
  if (segments.length === 1) return concat(prefix, names);
  if (segments.length === 2) return concat(prefix, Uint8Array.of(DUAL_NAME_PREFIX), names);
  return concat(prefix, Uint8Array.of(MULTI_NAME_PREFIX, segments.length), names);
}

/** An integer in its shortest form. */
export function integer(value: number | bigint): Aml {
  const big = BigInt(value);
  if (big < 0n || big > 0xffff_ffff_ffff_ffffn) throw invalid(`${value} is not a u64`);
  if (big === 0n) return Uint8Array.of(ZERO_OP);
  if (big === 1n) return Uint8Array.of(ONE_OP);
  const [prefix, length] =
    big <= 0xffn
      ? [BYTE_PREFIX, 1]
      : big <= 0xffffn
        ? [WORD_PREFIX, 2]
        : big <= 0xffff_ffffn
          ? [DWORD_PREFIX, 4]
          : [QWORD_PREFIX, 8];
  const bytes = new Uint8Array(1 + length);
  bytes[0] = prefix;
  for (let i = 0; i < length; i += 1) bytes[1 + i] = Number((big >> BigInt(8 * i)) & 0xffn);
  return bytes;
}

export function string(text: string): Aml {
  return concat(Uint8Array.of(STRING_PREFIX), ascii(text), Uint8Array.of(0));
}

/** A compressed EISA id, e.g. `PNP0501` (ACPI 6.5, 19.3.4). */
export function eisaId(id: string): Aml {
  if (!isEisaId(id)) throw invalid(`"${id}" is not an EISA id`);
  const letter = (index: number) => id.charCodeAt(index) - 0x40;
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2);
  const product = Number.parseInt(id.slice(3), 16);
  // The id is big-endian within its DWORD.
  return Uint8Array.of(DWORD_PREFIX, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff);
}

export function isEisaId(id: string): boolean {
  return /^[A-Z]{3}[0-9A-F]{4}$/.test(id);
}

/** `_HID` as its value needs it: an EISA id compressed, anything else a string. */
export function hardwareId(id: string): Aml {
  return isEisaId(id) ? eisaId(id) : string(id);
}

/** PkgLength and body; the length counts its own bytes. */
export function packageLength(body: Aml): Aml {
  const length = body.length;
  if (length + 1 <= 0x3f) return concat(Uint8Array.of(length + 1), body);
  const extra = length + 2 <= 0xfff ? 1 : length + 3 <= 0xfffff ? 2 : 3;
  const total = length + 1 + extra;
  if (total > 0xfffffff) throw invalid(`a package of ${total} bytes is too long`);
  const lead = new Uint8Array(1 + extra);
  lead[0] = (extra << 6) | (total & 0xf);
  for (let i = 0; i < extra; i += 1) lead[1 + i] = (total >> (4 + 8 * i)) & 0xff;
  return concat(lead, body);
}

export function buffer(bytes: Uint8Array): Aml {
  return concat(Uint8Array.of(BUFFER_OP), packageLength(concat(integer(bytes.length), bytes)));
}

export function pkg(...elements: readonly Aml[]): Aml {
  if (elements.length > 0xff) throw invalid('a package has at most 255 elements');
  const count = Uint8Array.of(elements.length);
  return concat(Uint8Array.of(PACKAGE_OP), packageLength(concat(count, ...elements)));
}

export function name(path: string, value: Aml): Aml {
  return concat(Uint8Array.of(NAME_OP), namePath(path), value);
}

export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return concat(Uint8Array.of(SCOPE_OP), packageLength(concat(namePath(path), ...terms)));
}

export function device(path: string, ...terms: readonly Aml[]): Aml {
  const body = packageLength(concat(namePath(path), ...terms));
  return concat(Uint8Array.of(EXT_OP_PREFIX, DEVICE_OP), body);
}
