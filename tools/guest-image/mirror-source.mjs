// Packages from a Debian mirror that the user names. Versions and checksums come from the archive's
// index; its signature is checked where Debian's keyring and a verifier are installed, and
// otherwise the log says that it was not.
//
// Source: wiki.debian.org/DebianRepository/Format. Known limits: only the archive named (not its
// -security and -updates siblings); Valid-Until is not enforced; proxies are not used.

import { gunzipSync } from 'node:zlib';
import { sha256, withTemporaryFolder } from './cache.mjs';
import {
  describe,
  newest,
  parsePackages,
  parseParagraph,
  releaseChecksum,
} from './package-index.mjs';
import { checkSignature } from './signature.mjs';

const RELEASE_BYTES_MAX = 1024 * 1024;
const PACKAGES_TEXT_BYTES_MAX = 512 * 1024 * 1024;
const DEB_BYTES_MAX = 1024 * 1024 * 1024;
const ATTEMPTS = 3;
const REQUEST_MS_MAX = 600_000;
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];

/**
 * Runs `work(source)` with a source that finds and downloads packages, as `withApt` does.
 * @param {object} options
 * @param {string} options.mirror the archive's root, e.g. what an apt source names as its URI
 * @param {string} options.suite
 * @param {string} options.architecture in Debian's words
 * @param {string} options.scratch a folder for temporary files
 * @param {string} [options.keyring] in place of Debian's
 * @param {(line: string) => void} options.log
 */
export async function withMirror({ mirror, suite, architecture, scratch, keyring, log }, work) {
  const base = mirrorUrl(mirror);
  const { entries, signature } = await readIndex({ base, suite, architecture, scratch, keyring });
  log(`mirror: the index's signature was ${signature}`);
  return work({
    signature,
    find: (name, version) => find(entries, { suite, name, version }),
    download: (entry) => get(new URL(entry.filename, base), bounded(entry.size, DEB_BYTES_MAX)),
  });
}

function mirrorUrl(mirror) {
  let base;
  try {
    base = new URL(mirror.endsWith('/') ? mirror : `${mirror}/`);
  } catch {
    throw new Error(`not a URL: ${mirror}`);
  }
  const isLocal = base.protocol === 'http:' && LOOPBACK.includes(base.hostname);
  if (base.protocol !== 'https:' && !isLocal) {
    throw new Error(`the mirror must be an https URL: ${mirror}`);
  }
  return base;
}

async function readIndex({ base, suite, architecture, scratch, keyring }) {
  const path = `main/binary-${architecture}/Packages.gz`;
  const root = new URL(`dists/${suite}/`, base);
  const releaseBytes = await get(new URL('Release', root), RELEASE_BYTES_MAX);
  const signatureBytes = await get(new URL('Release.gpg', root), RELEASE_BYTES_MAX);
  const { how } = await withTemporaryFolder(scratch, (folder) =>
    checkSignature({ release: releaseBytes, signature: signatureBytes, keyring, folder }),
  );
  const release = parseParagraph(releaseBytes.toString());
  if (![release.get('codename'), release.get('suite')].includes(suite)) {
    throw new Error(`the mirror's index is of ${release.get('codename')}, not of ${suite}`);
  }
  const expected = releaseChecksum(release, path);
  if (expected === undefined) throw new Error(`the mirror's index lists no ${path}`);
  const packed = await get(new URL(path, root), bounded(expected.size, DEB_BYTES_MAX));
  if (sha256(packed) !== expected.sha256) throw new Error(`${path} has the wrong SHA-256`);
  const text = gunzipSync(packed, { maxOutputLength: PACKAGES_TEXT_BYTES_MAX }).toString();
  const isOurs = (name) => name.startsWith('linux-image-') || name === 'busybox-static';
  return { entries: parsePackages(text, isOurs), signature: how };
}

function find(entries, { suite, name, version }) {
  const entry = newest(
    entries.filter(
      (each) => each.name === name && (version === undefined || each.version === version),
    ),
  );
  if (entry === undefined)
    throw new Error(`the mirror's ${suite} has no ${describe(name, version)}`);
  return entry;
}

function bounded(size, max) {
  if (size > max) throw new Error(`the archive lists a file of ${size} bytes, which is too large`);
  return size;
}

/** Gets a file of at most `max` bytes; a broken connection is tried again, a refusal is not. */
async function get(url, max) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await getOnce(url, max);
    } catch (error) {
      const final = error instanceof Refused || attempt === ATTEMPTS;
      if (final) throw new Error(`${url.href}: ${error.cause?.message ?? error.message}`);
    }
  }
}

class Refused extends Error {}

async function getOnce(url, max) {
  const response = await fetch(url, { signal: AbortSignal.timeout(REQUEST_MS_MAX) });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Refused(`HTTP status ${response.status}`);
  }
  const parts = [];
  let total = 0;
  for await (const part of response.body) {
    total += part.length;
    if (total > max) throw new Refused(`more than ${max} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts, total);
}
