/**
 * Files of `cloister attest`: certificates, revocation lists and policies. What a file is follows
 * from what is in it, never from its name; what is wrong with it is told with its name.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isVmmError, VmmError } from '@cloister/core';
import {
  type Certificate,
  type Policy,
  parseCertificates,
  parseCrl,
  type RevocationList,
  readPolicy,
} from '@cloister/sev/attest';
import { fileError } from './error-report.js';

/** Certificates and lists, of whomever. */
export interface Pile {
  readonly certificates: readonly Certificate[];
  readonly crl: readonly RevocationList[];
}

/** Reads and parses a file; `what` is what it was to be. */
export function parsed<T>(what: string, path: string, parse: (bytes: Uint8Array) => T): T {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw fileError(what, path, cause);
  }
  try {
    return parse(bytes);
  } catch (error) {
    if (!isVmmError(error) || error.path !== undefined) throw error;
    const { code, message, remedy } = error;
    throw new VmmError(code, message, { path, cause: error, ...(remedy ? { remedy } : {}) });
  }
}

/** The files of a folder that may hold certificates, in the order of their names. */
export function certificateFiles(folder: string): string[] {
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => /\.(der|pem)$/i.test(name));
  } catch (cause) {
    throw fileError('certs', folder, cause);
  }
  return names.sort().map((name) => join(folder, name));
}

/** What lies in these files. */
export function pileOf(paths: readonly string[]): Pile {
  const certificates: Certificate[] = [];
  const crl: RevocationList[] = [];
  for (const path of paths) {
    const found = parsed('certificates', path, certificatesOrList);
    if (Array.isArray(found)) certificates.push(...found);
    else crl.push(found);
  }
  return { certificates, crl };
}

function certificatesOrList(bytes: Uint8Array): Certificate[] | RevocationList {
  try {
    return parseCertificates(bytes);
  } catch (error) {
    try {
      return parseCrl(bytes);
    } catch {
      throw error;
    }
  }
}

/** The one certificate in a file. */
export function certificateOf(path: string): Certificate {
  return parsed('certificate', path, (bytes) => {
    const [first, ...others] = parseCertificates(bytes);
    if (first !== undefined && others.length === 0) return first;
    throw new VmmError('invalid-file', `${others.length + 1} certificates, where one is wanted`);
  });
}

export function policyOf(path: string): Policy {
  return parsed('policy', path, (bytes) => {
    let json: unknown;
    try {
      json = JSON.parse(new TextDecoder().decode(bytes));
    } catch (cause) {
      throw new VmmError('invalid-config', (cause as Error).message, { cause });
    }
    return readPolicy(json);
  });
}
