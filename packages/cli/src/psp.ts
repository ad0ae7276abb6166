/**
 * `cloister psp`: emulated platforms as files, their certificates, and an owner's sessions with
 * them. Files of certificates are as the SEV API has them (55766, appendix B and C).
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { VmmError } from '@cloister/core';
import { certifiedCek, chipId, freshEntropy, makeChip, memoryStore } from '@cloister/sev/firmware';
import {
  DEFAULT_SEV_POLICY,
  decodePlatform,
  EmulatedPlatform,
  encodePlatform,
  type KeptPlatform,
  openOwnerSession,
} from '@cloister/sev/launch';
import { toHex } from '@cloister/sev/measure';
import { fileError } from './error-report.js';
import { EXIT } from './exit-status.js';
import { writePrivately } from './private-file.js';
import type { PspInvocation } from './psp-arguments.js';

export interface PspPorts {
  readonly cwd: string;
  /** Writes a result to standard output. */
  readonly print: (text: string) => Promise<void>;
}

/** Nobody but the user reads what holds keys. */
const SECRET = 0o600;

/** Runs the command; resolves to the exit status. */
export async function psp(invocation: PspInvocation, ports: PspPorts): Promise<number> {
  const { action, flags } = invocation;
  const file = resolve(ports.cwd, invocation.file);
  const out = flags.out === undefined ? '' : resolve(ports.cwd, flags.out);
  if (action === 'init') initPlatform(file, flags.maker && resolve(ports.cwd, flags.maker));
  else if (action === 'status') await ports.print(statusText(readPlatform(file), flags.json));
  else if (action === 'export') exportCertificates(readPlatform(file), out);
  else openSession(file, policyOf(flags.policy), out);
  return EXIT.ok;
}

/** The platform in a file. */
export function readPlatform(path: string): KeptPlatform {
  const text = read('platform', path).toString('utf8');
  try {
    return decodePlatform(text);
  } catch (error) {
    throw fileError('platform', path, error);
  }
}

function initPlatform(path: string, maker: string | undefined): void {
  const root = maker === undefined ? undefined : readPlatform(maker).chip.root();
  const kept = { chip: makeChip(freshEntropy, root), flash: memoryStore() };
  // INIT makes the keys that the file is to hold.
  new EmulatedPlatform(kept).driver.init();
  // Never over a file that is there: its keys would be lost.
  write('platform', path, encodePlatform(kept), { flag: 'wx', mode: SECRET });
}

function statusText(kept: KeptPlatform, json = false): string {
  const { driver } = new EmulatedPlatform(kept);
  driver.init();
  const { version, externallyOwned } = driver.platformStatus();
  const { major, minor, build } = version;
  const status = {
    api: `${major}.${minor} build ${build}`,
    owner: externallyOwned ? 'external' : 'self',
    chip: toHex(chipId(kept.chip)),
  };
  if (json) return `${JSON.stringify(status, null, 2)}\n`;
  return Object.entries(status)
    .map(([name, value]) => `${name.padEnd(6)} ${value}\n`)
    .join('');
}

function exportCertificates(kept: KeptPlatform, folder: string): void {
  const { driver } = new EmulatedPlatform(kept);
  driver.init();
  const { pdh, pek, oca } = driver.pdhCertExport();
  const cek = certifiedCek(kept.chip, driver.platformStatus().version);
  const { askCertificate: ask, arkCertificate: ark } = kept.chip.root();
  makeFolder(folder);
  for (const [name, bytes] of Object.entries({ pdh, pek, oca, cek, ask, ark })) {
    write('certificate', join(folder, `${name}.cert`), bytes);
  }
}

function openSession(path: string, policy: number, folder: string): void {
  const { owner, keys } = openOwnerSession(read('PDH certificate', path), policy);
  makeFolder(folder);
  write('certificate', join(folder, 'godh.cert'), owner.certificate);
  write('session', join(folder, 'session.bin'), owner.session);
  for (const [name, key] of Object.entries(keys)) {
    const path = join(folder, `${name}.bin`);
    try {
      writePrivately(path, (file) => writeFileSync(file, key));
    } catch (error) {
      throw fileError('key', path, error);
    }
  }
}

function policyOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_SEV_POLICY;
  const policy = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (policy <= 0xffff_ffff) return policy;
  throw new VmmError('invalid-argument', `--policy: ${JSON.stringify(text)} is not 32 bits`, {
    remedy: 'give a number such as 0x23',
  });
}

function read(what: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw fileError(what, path, error);
  }
}

function write(
  what: string,
  path: string,
  data: Uint8Array | string,
  options: { readonly flag?: string; readonly mode?: number } = {},
): void {
  try {
    writeFileSync(path, data, options);
  } catch (error) {
    throw fileError(what, path, error);
  }
}

function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true });
  } catch (error) {
    throw fileError('folder', path, error);
  }
}
