// A guest image: Debian's kernel, its modules and busybox, found by package name, verified,
// unpacked and kept in the cache. The cached one is used until an update is asked for, so a second
// run needs no network.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { aptIsPresent, withApt } from './apt-source.mjs';
import { unpackDeb } from './archive.mjs';
import { cacheDirectory, publishFile, publishFolder, readRecord, sha256 } from './cache.mjs';
import { withMirror } from './mirror-source.mjs';
import {
  BUSYBOX_PACKAGE,
  KERNEL_ARCHITECTURES,
  KERNEL_METAPACKAGES,
  kernelDependency,
} from './package-index.mjs';
import { extractVmlinux } from './vmlinux.mjs';

export const SUITE = 'bookworm';
export const MIRROR_VARIABLE = 'CLOISTER_DEBIAN_MIRROR';

/** No image can be had: neither cached, nor by apt, nor from a mirror. `message` is one line. */
export class NoImageError extends Error {
  name = 'NoImageError';
}

/**
 * @typedef {object} ImageOptions
 * @property {'cloud'|'generic'|'686-pae'} [kernel] which of Debian's kernels; the cloud one
 *   unless told; 686-pae is i386's, with a busybox of that architecture
 * @property {string} [suite] Debian's release by code name
 * @property {string} [mirror] take packages from this mirror even where apt is present
 * @property {boolean} [offline] use the cache only
 * @property {boolean} [update] resolve versions anew even though an image is cached
 * @property {string} [cache] the cache folder, in place of CLOISTER_CACHE and the user's
 * @property {string} [keyring] in place of Debian's, to check a mirror's index
 * @property {(line: string) => void} [log] progress, a line at a time
 *
 * @typedef {object} GuestImage
 * @property {string} kernelPath the bzImage
 * @property {() => Promise<string>} vmlinuxPath the uncompressed ELF file, extracted when first
 *   asked for
 * @property {string} version as `uname -r` in the guest prints it
 * @property {string} modulesDir the kernel's /lib/modules/VERSION
 * @property {string} busyboxPath a statically linked busybox
 * @property {{ name: string, version: string, sha256: string }[]} packages what it was made from
 */

/**
 * Gets an image, from the cache if it is there.
 * @param {ImageOptions} [options]
 * @returns {Promise<GuestImage>}
 * @throws {NoImageError}
 */
export async function image(options = {}) {
  const { kernel = 'cloud', suite = SUITE, update = false, offline = false } = options;
  const { cache = cacheDirectory(), log = () => {} } = options;
  if (KERNEL_METAPACKAGES[kernel] === undefined) {
    throw new RangeError(`kernel must be cloud, generic or 686-pae, not "${kernel}"`);
  }
  if (!/^[a-z][a-z0-9.-]*$/.test(suite)) throw new RangeError(`not a suite's name: "${suite}"`);
  const folder = join(cache, 'debian', suite);
  const recordPath = join(folder, `${kernel}.json`);
  const cached = update ? undefined : fromRecord(folder, readRecord(recordPath));
  if (cached) return cached;
  if (offline) {
    throw new NoImageError(`no ${kernel} kernel of ${suite} is cached in ${cache}`);
  }
  const record = await obtain({ ...options, kernel, suite, folder, log });
  await publishFile(recordPath, `${JSON.stringify(record, null, 2)}\n`);
  return fromRecord(folder, record);
}

/** The image that a record describes, if everything it names is still there. */
function fromRecord(folder, record) {
  if (!Array.isArray(record?.packages) || record.packages.length !== 2) return undefined;
  const [kernelFolder, busyboxFolder] = record.packages.map((entry) => unpackedAt(folder, entry));
  const { version } = record;
  const kernelPath = join(kernelFolder, 'boot', `vmlinuz-${version}`);
  const modulesDir = MODULE_ROOTS.map((root) => join(kernelFolder, root, version)).find(existsSync);
  const busyboxPath = BUSYBOX_PATHS.map((path) => join(busyboxFolder, path)).find(existsSync);
  if (!existsSync(kernelPath) || modulesDir === undefined || busyboxPath === undefined) {
    return undefined;
  }
  const vmlinuxPath = async () => {
    const path = join(folder, `vmlinux-${version}-${record.packages[0].sha256.slice(0, 16)}`);
    if (existsSync(path)) return path;
    return publishFile(path, await extractVmlinux(readFileSync(kernelPath)));
  };
  const { packages } = record;
  return { kernelPath, vmlinuxPath, version, modulesDir, busyboxPath, packages };
}

const MODULE_ROOTS = ['lib/modules', 'usr/lib/modules'];
const BUSYBOX_PATHS = ['bin/busybox', 'usr/bin/busybox'];
const WANTED = [/^boot\/vmlinuz-/, /^(usr\/)?lib\/modules\//, /^(usr\/)?bin\/busybox$/];

/** Named by the checksum: the same version rebuilt is another folder. */
function unpackedAt(folder, { name, version, sha256: checksum }) {
  const plainVersion = version.replace(/[^A-Za-z0-9.+-]/g, '_');
  return join(folder, `${name}_${plainVersion}_${checksum.slice(0, 16)}`);
}

/** Tries each way to get packages in turn; the error of the last resort names them all. */
async function obtain(options) {
  const { kernel, folder, log } = options;
  const failures = [];
  for (const { name, open } of await ways(options)) {
    try {
      return await open((source) => fetchPackages(source, { kernel, folder, log }));
    } catch (error) {
      failures.push(`${name}: ${error.message}`);
    }
  }
  if (failures.length > 0) throw new NoImageError(failures.join('; '));
  throw new NoImageError('apt is not installed and no Debian mirror was named');
}

/** A mirror named by an option is meant; one in the environment stands in where apt can't. */
async function ways({ kernel, mirror, suite, folder: scratch, keyring, log }) {
  const architecture = KERNEL_ARCHITECTURES[kernel];
  const fromMirror = (url) => ({
    name: 'mirror',
    open: (work) => withMirror({ mirror: url, suite, architecture, scratch, keyring, log }, work),
  });
  if (mirror !== undefined) return [fromMirror(mirror)];
  const found = [];
  if (await aptIsPresent()) {
    found.push({
      name: 'apt',
      open: (work) => withApt({ suite, architecture, scratch, log }, work),
    });
  }
  const named = process.env[MIRROR_VARIABLE];
  return named ? [...found, fromMirror(named)] : found;
}

async function fetchPackages(source, { kernel, folder, log }) {
  const meta = await source.find(KERNEL_METAPACKAGES[kernel]);
  const dependency = kernelDependency(meta);
  const entries = [
    await source.find(dependency.name, dependency.version),
    await source.find(BUSYBOX_PACKAGE),
  ];
  for (const entry of entries) {
    await publishFolder(unpackedAt(folder, entry), async (unpacked) => {
      log(`getting ${entry.name} ${entry.version} (${Math.ceil(entry.size / 1e6)} MB)`);
      const deb = await source.download(entry);
      if (sha256(deb) !== entry.sha256) throw new Error(`${entry.name} has the wrong SHA-256`);
      await unpackDeb(deb, unpacked, (path) => WANTED.some((pattern) => pattern.test(path)));
    });
  }
  const boot = join(unpackedAt(folder, entries[0]), 'boot');
  const vmlinuz = readdirSync(boot).find((name) => name.startsWith('vmlinuz-'));
  if (vmlinuz === undefined) throw new Error(`${entries[0].name} holds no kernel`);
  return {
    version: vmlinuz.slice('vmlinuz-'.length),
    signature: source.signature,
    packages: entries.map(({ name, version, sha256: sum }) => ({ name, version, sha256: sum })),
  };
}
