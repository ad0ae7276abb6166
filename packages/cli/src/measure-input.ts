/**
 * Values of the options of `cloister measure`: numbers, bytes as text or in files.
 */
import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { VmmError } from '@cloister/core';
import { fileError } from './error-report.js';
import type { MeasureFlags } from './measure-arguments.js';

/** Reads option values for a command that runs in `cwd`. */
export interface Inputs {
  file(what: string, name: string): Uint8Array;
  /** Bytes given as hex or base64 of this length, or in a file. */
  bytes(option: string, value: string, length: number): Uint8Array;
  /** A PKCS #8 document of a private key in PEM or DER. */
  privateKey(option: string, name: string): Uint8Array;
  path(name: string): string;
}

export function inputsOf(cwd: string): Inputs {
  const path = (name: string) => resolve(cwd, name);
  const file = (what: string, name: string) => {
    try {
      return readFileSync(path(name));
    } catch (cause) {
      throw fileError(what, path(name), cause);
    }
  };
  const key = (option: string, name: string) => pkcs8(option, file('key', name));
  const bytes = (option: string, value: string, length: number) =>
    bytesOf(value, length) ?? fileBytes(option, file(option, value), length);
  return { file, path, bytes, privateKey: key };
}

/** Text of exactly so many bytes, in hex or base64. */
export function bytesOf(value: string, length: number): Uint8Array | undefined {
  const text = value.trim();
  if (text.length === length * 2 && /^[0-9a-f]*$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.length === length && text.length === Math.ceil(length / 3) * 4 ? bytes : undefined;
}

/** A digest in hex or base64; the option does not take files. */
export function digestOf(option: string, value: string, length: number): Uint8Array {
  const bytes = bytesOf(value, length);
  if (bytes !== undefined) return bytes;
  const message = `${option} is not a digest of ${length} bytes in hex or base64`;
  throw new VmmError('invalid-argument', message);
}

function fileBytes(option: string, contents: Uint8Array, length: number): Uint8Array {
  if (contents.length === length) return contents;
  const text = bytesOf(Buffer.from(contents).toString('latin1'), length);
  if (text !== undefined) return text;
  const message = `${option}: the file has ${contents.length} bytes, not ${length} (or their text)`;
  throw new VmmError('invalid-file', message);
}

function pkcs8(option: string, contents: Uint8Array): Uint8Array {
  const isPem = Buffer.from(contents.subarray(0, 64)).includes('-----BEGIN');
  const data = Buffer.from(contents);
  const kinds = ['pkcs8', 'sec1'] as const;
  const attempts = isPem
    ? [() => createPrivateKey(data)]
    : kinds.map((type) => () => createPrivateKey({ key: data, format: 'der', type }));
  let reason: unknown;
  for (const attempt of attempts) {
    try {
      return attempt().export({ type: 'pkcs8', format: 'der' });
    } catch (cause) {
      reason = cause;
    }
  }
  throw new VmmError('invalid-file', `${option}: not a private key in PEM or DER`, {
    cause: reason,
  });
}

/** A number in decimal or 0x. */
export function bigNumber(option: string, value: string): bigint {
  if (/^(0x[0-9a-f]+|[0-9]+)$/i.test(value)) return BigInt(value);
  throw new VmmError('invalid-argument', `${option} ${JSON.stringify(value)} is not a number`, {
    remedy: 'decimal or 0x',
  });
}

/** The same, up to 32 bits unless told. */
export function smallNumber(option: string, value: string, max = 0xffffffff): number {
  const number = bigNumber(option, value);
  if (number <= BigInt(max)) return Number(number);
  throw new VmmError('invalid-argument', `${option} is at most 0x${max.toString(16)}`);
}

export function missing(option: string, remedy: string): VmmError {
  return new VmmError('invalid-argument', `${option} is needed`, { remedy });
}

/** For an option, by its name in camel case, that says nothing here. */
export function meaningless(name: string, why: string, remedy?: string): VmmError {
  const option = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const message = `--${option} has no meaning ${why}`;
  return new VmmError('invalid-argument', message, remedy === undefined ? {} : { remedy });
}

/** Refuses all of `names`. */
export function refuse(
  flags: MeasureFlags,
  names: readonly (keyof MeasureFlags)[],
  why: string,
): void {
  const wrong = names.find((name) => flags[name] !== undefined);
  if (wrong !== undefined) throw meaningless(wrong, why);
}

/** Writes the VMSA of a vCPU. */
export function dumpVmsa(index: number, page: Uint8Array, inputs: Inputs): void {
  const path = inputs.path(`vmsa${index}.bin`);
  try {
    writeFileSync(path, page);
  } catch (cause) {
    throw fileError('VMSA', path, cause);
  }
}
