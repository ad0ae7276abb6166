/**
 * The protection of a run, `--protect`, as plugins.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { VmPlugin } from '@cloister/core';
import type { OwnerSession, Receiver, SevOptions } from '@cloister/sev/launch';
import { fileError } from './error-report.js';
import type { RunOptions } from './run-options.js';

type ProtectionOptions = Pick<
  RunOptions,
  | 'backend'
  | 'protect'
  | 'sevHost'
  | 'policy'
  | 'platform'
  | 'session'
  | 'dhCert'
  | 'sendTo'
  | 'measureOut'
  | 'seed'
>;

/** Bytes of what an owner gives (SEV API 55766, appendix C, and session data). */
const SESSION_SIZE = 128;
const CERTIFICATE_SIZE = 0x824;

/** Nothing without a protection; its package is loaded only then. */
export async function protectionPlugins(options: ProtectionOptions): Promise<VmPlugin[]> {
  const { protect, sevHost, policy, measureOut, session, dhCert } = options;
  if (protect === undefined) return [];
  const { sev, sevEs } = await import('@cloister/sev/launch');
  const plugin = protect === 'sev-es' ? sevEs : sev;
  return [
    plugin({
      ...(policy !== undefined && { policy }),
      ...(sevHost !== undefined && { host: sevHost }),
      ...(await emulatedPart(options)),
      ...(session !== undefined && dhCert !== undefined && { owner: ownerOf(session, dhCert) }),
      secret: ({ measure, nonce }) => {
        if (measureOut !== undefined) writeMeasure(measureOut, measure, nonce);
        return null;
      },
    }),
  ];
}

/** What a host's own secure processor has no use for. */
async function emulatedPart(
  options: ProtectionOptions,
): Promise<Pick<SevOptions, 'platform' | 'sendTo'>> {
  const { backend, seed, platform, sendTo } = options;
  if (backend !== 'emu' && platform === undefined && sendTo === undefined) return {};
  const receiver = sendTo === undefined ? undefined : receiverIn(sendTo);
  return {
    platform: {
      // A seed that the user gives makes the run repeatable, keys included.
      ...(seed !== undefined && { seed: String(seed) }),
      ...(platform !== undefined && (await import('./psp.js')).readPlatform(platform)),
    },
    ...(receiver !== undefined && { sendTo: () => receiver }),
  };
}

/** The certificates that `cloister psp export` wrote; the secure processor judges them. */
function receiverIn(folder: string): Receiver {
  const [pdh, pek, oca, cek] = ['pdh', 'pek', 'oca', 'cek'].map((name) =>
    blob('certificate', join(folder, `${name}.cert`), CERTIFICATE_SIZE),
  );
  const [ask, ark] = ['ask', 'ark'].map((name) =>
    contents('certificate', join(folder, `${name}.cert`)),
  );
  return {
    pdh: pdh!,
    platform: Buffer.concat([pek!, oca!, cek!]),
    authorities: Buffer.concat([ask!, ark!]),
  };
}

/** A host can't tell a wrong session from a right one: the secure processor does. */
function ownerOf(session: string, dhCert: string): OwnerSession {
  return {
    session: blob('session', session, SESSION_SIZE),
    certificate: blob("owner's certificate", dhCert, CERTIFICATE_SIZE),
  };
}

function blob(what: string, path: string, size: number): Uint8Array {
  const bytes = contents(what, path);
  if (bytes.length === size) return bytes;
  throw fileError(what, path, new Error(`it has ${bytes.length} bytes, not ${size}`));
}

function contents(what: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw fileError(what, path, error);
  }
}

function writeMeasure(path: string, measure: Uint8Array, nonce: Uint8Array): void {
  try {
    writeFileSync(path, Buffer.concat([measure, nonce]));
  } catch (error) {
    throw fileError('launch measure', path, error);
  }
}
