// Checks the signature of a Debian Release file where a verifier and Debian's keyring are there.
//
// Sources: gpgv(1) and its status lines (doc/DETAILS of GnuPG); sqv(1).

import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export const DEBIAN_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * One good signature is enough: a release is signed by several keys, some perhaps newer than the
 * keyring. A bad one is too much. gpgv tells the two apart in its status lines only.
 */
const VERIFIERS = [
  {
    program: 'gpgv',
    args: (keyring, signature, file) => [
      ...['--status-fd', '1', '--keyring', keyring],
      ...[signature, file],
    ],
    isGood: ({ stdout }) => /^\[GNUPG:\] GOODSIG /m.test(stdout) && !/ BADSIG /.test(stdout),
  },
  {
    program: 'sqv',
    args: (keyring, signature, file) => ['--keyring', keyring, signature, file],
    isGood: ({ status, stdout }) => status === 0 && stdout.trim() !== '',
  },
];

/**
 * Says how the signature was checked, or why it was not; throws where it was and is wrong.
 * @param {{ release: Buffer, signature: Buffer, keyring?: string, folder: string }} what `folder`
 *   is a scratch folder
 * @returns {Promise<{ checked: boolean, how: string }>}
 */
export async function checkSignature({ release, signature, keyring = DEBIAN_KEYRING, folder }) {
  if (!existsSync(keyring)) return { checked: false, how: `NOT checked: no keyring ${keyring}` };
  const releasePath = join(folder, 'Release');
  const signaturePath = join(folder, 'Release.gpg');
  writeFileSync(releasePath, release);
  writeFileSync(signaturePath, signature);
  for (const { program, args, isGood } of VERIFIERS) {
    const result = await outcome(program, args(keyring, signaturePath, releasePath));
    if (result === undefined) continue;
    if (!isGood(result)) throw new Error(`${program}: the archive's signature is not good`);
    return { checked: true, how: `checked by ${program} against ${keyring}` };
  }
  return { checked: false, how: 'NOT checked: neither gpgv nor sqv is installed' };
}

/** Exit status and output; undefined when there is no such program. */
async function outcome(program, args) {
  try {
    const { stdout } = await run(program, args);
    return { status: 0, stdout };
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    return { status: error.code, stdout: String(error.stdout ?? '') };
  }
}
