/**
 * A policy as JSON: the same names, bytes in hexadecimal, one value or a list of them.
 *
 * A name that is not known is an error: a misspelt rule would otherwise be a rule not checked.
 */
import { VmmError } from '@cloister/core';
import { fromHex } from './bytes.js';
import { GUEST_POLICY_BITS, PLATFORM_INFO_BITS } from './flags.js';
import { LISTED, type Policy, TCB_KINDS } from './policy.js';
import { TCB_PARTS } from './tcb.js';

type Reader = (value: unknown, path: string) => unknown;

/** Bytes of each field, so that a value of another length is noticed. */
const LENGTHS: Readonly<Record<(typeof LISTED)[number], readonly number[]>> = {
  measurement: [48],
  hostData: [32],
  reportData: Array.from({ length: 64 }, (_, i) => i + 1),
  idKeyDigest: [48],
  authorKeyDigest: [48],
  familyId: [16],
  imageId: [16],
  chipId: [8, 64],
};

const FIELDS: Readonly<Record<keyof Policy, Reader>> = {
  allowDebug: boolean,
  allowMigrationAgent: boolean,
  vmpl: (value, path) =>
    value === 'any' ? 'any' : oneOrMore(value).map((each) => integer(each, path)),
  minimumTcb: (value, path) =>
    object(value, path, TCB_KINDS, (levels, at) => object(levels, at, TCB_PARTS, byte)),
  ...(Object.fromEntries(LISTED.map((field) => [field, bytesOf(LENGTHS[field])])) as Record<
    (typeof LISTED)[number],
    Reader
  >),
  minimumGuestSvn: integer,
  minimumFirmware: (value, path) => {
    const parts = object(value, path, ['major', 'minor', 'build'], byte);
    return { major: 0, minor: 0, build: 0, ...parts };
  },
  guestPolicy: bitRules(Object.keys(GUEST_POLICY_BITS)),
  platformInfo: bitRules(Object.keys(PLATFORM_INFO_BITS)),
  requiredMitigations: (value, path) => {
    if (typeof value === 'string' && /^(0x[0-9a-f]{1,16}|\d{1,19})$/i.test(value)) {
      return BigInt(value);
    }
    return BigInt(integer(value, path));
  },
  refuseUnknownFields: boolean,
  requireCrl: boolean,
  allowMaskedChipId: boolean,
};

/** Reads a policy from parsed JSON. `VmmError('invalid-config')` names the field at fault. */
export function readPolicy(json: unknown): Policy {
  return object(json, '', Object.keys(FIELDS), (value, path) =>
    FIELDS[path as keyof Policy](value, path),
  ) as Policy;
}

function wrong(path: string, expected: string): VmmError {
  return new VmmError('invalid-config', `expected ${expected}`, { path: path || 'policy' });
}

function object(value: unknown, path: string, names: readonly string[], read: Reader) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(path, 'an object');
  }
  const fields = Object.entries(value).map(([name, field]) => {
    const at = path === '' ? name : `${path}.${name}`;
    if (!names.includes(name)) throw wrong(at, `one of ${names.join(', ')}`);
    return [name, read(field, at)] as const;
  });
  return Object.fromEntries(fields) as Record<string, unknown>;
}

function boolean(value: unknown, path: string): boolean {
  if (typeof value !== 'boolean') throw wrong(path, 'true or false');
  return value;
}

function integer(value: unknown, path: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw wrong(path, 'a whole number, 0 or more');
  }
  return value;
}

function byte(value: unknown, path: string): number {
  const number = integer(value, path);
  if (number > 255) throw wrong(path, 'a number up to 255');
  return number;
}

const oneOrMore = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);

function bytesOf(lengths: readonly number[]): Reader {
  return (value, path) =>
    oneOrMore(value).map((each) => {
      const expected = `hexadecimal digits, ${lengths.join(' or ')} bytes of them`;
      if (typeof each !== 'string' || !/^(0x)?([0-9a-f]{2})+$/i.test(each)) {
        throw wrong(path, lengths.length > 2 ? 'hexadecimal bytes, 64 at most' : expected);
      }
      const bytes = fromHex(each, path);
      if (!lengths.includes(bytes.length)) {
        throw wrong(path, lengths.length > 2 ? 'hexadecimal bytes, 64 at most' : expected);
      }
      return bytes;
    });
}

function bitRules(names: readonly string[]): Reader {
  const list: Reader = (value, path) =>
    oneOrMore(value).map((each) => {
      if (!names.includes(each as string)) throw wrong(path, `names among ${names.join(', ')}`);
      return each;
    });
  return (value, path) =>
    object(value, path, ['required', 'refused', 'refuseUnknown'], (field, at) =>
      at.endsWith('.refuseUnknown') ? boolean(field, at) : list(field, at),
    );
}
