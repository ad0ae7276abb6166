// Debian's archive indexes as text: Release and Packages files, the order of versions, and which
// packages make up a guest image.
//
// Sources: deb822(5); Debian Policy 5.6.12 (versions) and 7.1 (dependencies);
// wiki.debian.org/DebianRepository/Format.

/** The metapackage that depends on the newest kernel of each flavour. */
export const KERNEL_METAPACKAGES = {
  cloud: 'linux-image-cloud-amd64',
  generic: 'linux-image-amd64',
  '686-pae': 'linux-image-686-pae',
};
/** The architecture of each flavour's packages, in Debian's words. */
export const KERNEL_ARCHITECTURES = { cloud: 'amd64', generic: 'amd64', '686-pae': 'i386' };
export const BUSYBOX_PACKAGE = 'busybox-static';

/**
 * @typedef {object} PackageEntry
 * @property {string} name
 * @property {string} version
 * @property {string} filename below the archive's root
 * @property {number} size
 * @property {string} sha256
 * @property {string} depends the field as written
 */

/** The fields of one paragraph; a continued line is joined to its field with a newline. */
export function parseParagraph(text) {
  const fields = new Map();
  let last;
  for (const line of text.split('\n')) {
    if (/^[ \t]/.test(line) && last !== undefined) {
      fields.set(last, `${fields.get(last)}\n${line.trim()}`);
      continue;
    }
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    last = line.slice(0, colon).toLowerCase();
    fields.set(last, line.slice(colon + 1).trim());
  }
  return fields;
}

/**
 * Every entry of a Packages file that bears one of these names; others are not even parsed.
 * @returns {PackageEntry[]}
 */
export function parsePackages(text, wanted) {
  return text
    .split(/\n\s*\n/)
    .filter((paragraph) => wanted(/^Package:\s*(\S+)/m.exec(paragraph)?.[1] ?? ''))
    .map((paragraph) => packageEntry(parseParagraph(paragraph)));
}

function packageEntry(fields) {
  const entry = {
    name: fields.get('package') ?? '',
    version: fields.get('version') ?? '',
    filename: fields.get('filename') ?? '',
    size: Number(fields.get('size')),
    sha256: fields.get('sha256') ?? '',
    depends: fields.get('depends') ?? '',
  };
  const sound =
    /^[a-z0-9][a-z0-9.+-]*$/.test(entry.name) &&
    /^[A-Za-z0-9.+:~-]+$/.test(entry.version) &&
    /^[0-9a-f]{64}$/.test(entry.sha256) &&
    Number.isSafeInteger(entry.size);
  if (!sound) throw new Error(`the archive's entry of "${entry.name}" is incomplete`);
  return entry;
}

/** The entry with the highest version, or undefined. */
export function newest(entries) {
  return entries.reduce(
    (best, entry) =>
      best === undefined || compareVersions(entry.version, best.version) > 0 ? entry : best,
    undefined,
  );
}

/** How a message names a package of which a version may have been asked. */
export const describe = (name, version) => (version ? `${name} ${version}` : name);

/** The kernel package, with its exact version if given, that a metapackage depends on. */
export function kernelDependency(meta) {
  for (const alternative of meta.depends.split(/[,|]/)) {
    const match = /^\s*(linux-image-\d\S*)\s*(?:\(=\s*([^)\s]+)\s*\))?\s*$/.exec(alternative);
    if (match) return { name: match[1], version: match[2] };
  }
  throw new Error(`${meta.name} ${meta.version} depends on no kernel`);
}

/** The checksum and size of one file, from the SHA256 field of a Release file. */
export function releaseChecksum(release, path) {
  for (const line of (release.get('sha256') ?? '').split('\n')) {
    const [sha256, size, name] = line.trim().split(/\s+/);
    if (name === path && /^[0-9a-f]{64}$/.test(sha256)) return { sha256, size: Number(size) };
  }
  return undefined;
}

/** Below 0, 0 or above 0 as version `a` is older than, the same as, or newer than `b`. */
export function compareVersions(a, b) {
  const left = splitVersion(a);
  const right = splitVersion(b);
  return (
    left.epoch - right.epoch ||
    compareParts(left.upstream, right.upstream) ||
    compareParts(left.revision, right.revision)
  );
}

function splitVersion(version) {
  const [, epoch = '0', rest = ''] = /^(?:(\d+):)?(.*)$/.exec(version) ?? [];
  const dash = rest.lastIndexOf('-');
  if (dash < 0) return { epoch: Number(epoch), upstream: rest, revision: '' };
  return { epoch: Number(epoch), upstream: rest.slice(0, dash), revision: rest.slice(dash + 1) };
}

/** Alternating runs of non-digits and digits, compared in turn. */
function compareParts(a, b) {
  const runs = (text) => text.match(/\d+|\D+/g) ?? [];
  const left = runs(a);
  const right = runs(b);
  if (/^\d/.test(a)) left.unshift('');
  if (/^\d/.test(b)) right.unshift('');
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const order =
      i % 2 === 0
        ? compareWords(left[i] ?? '', right[i] ?? '')
        : compareNumbers(left[i] ?? '0', right[i] ?? '0');
    if (order !== 0) return order;
  }
  return 0;
}

function compareNumbers(a, b) {
  const left = BigInt(a);
  const right = BigInt(b);
  return left < right ? -1 : Number(left > right);
}

/** `~` sorts before the end of the word, which sorts before letters, which sort before the rest. */
function compareWords(a, b) {
  const rank = (char) => {
    if (char === '~') return -1;
    if (char === undefined) return 0;
    return /[A-Za-z]/.test(char) ? char.charCodeAt(0) : char.charCodeAt(0) + 256;
  };
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const order = rank(a[i]) - rank(b[i]);
    if (order !== 0) return order;
  }
  return 0;
}
