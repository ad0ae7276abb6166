// The cpio "newc" archive that Linux unpacks as its initial root file system.
//
// Source: Documentation/driver-api/early-userspace/buffer-format.rst in the Linux tree.
// The bytes depend on the entries and on nothing else: no clock, no owner, inode numbers by rank
// in the sorted list. Hard links are not made: each entry stands for itself.

/**
 * @typedef {object} CpioEntry
 * @property {string} path where it lands, without a leading slash
 * @property {'file'|'directory'|'symlink'|'character-device'} [type] a file unless told
 * @property {number} [mode] permission bits; 0644 for a file, 0755 for a directory unless told
 * @property {Uint8Array} [data] contents of a file
 * @property {string} [target] what a symlink names
 * @property {[major: number, minor: number]} [device] numbers of a character device
 */

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
const SIZE_MAX = 0xffffffff;

/** Type bits of st_mode and the permissions used when an entry names none. */
const TYPES = {
  file: { bits: 0o100000, mode: 0o644 },
  directory: { bits: 0o040000, mode: 0o755 },
  symlink: { bits: 0o120000, mode: 0o777 },
  'character-device': { bits: 0o020000, mode: 0o600 },
};

/**
 * Builds an archive. Directories that a path needs and nobody lists are added. Entries are sorted
 * by their bytes, which puts every directory before what it holds.
 * @param {CpioEntry[]} entries
 * @returns {Buffer}
 */
export function cpio(entries) {
  const byPath = new Map();
  for (const entry of entries) {
    const path = normalPath(entry.path);
    const rival = byPath.get(path);
    const mergesDirectories = rival && rival.type === 'directory' && entry.type === 'directory';
    if (rival && !mergesDirectories) throw new Error(`two entries claim the path ${path}`);
    byPath.set(path, { ...entry, path });
  }
  addParents(byPath);
  const sorted = [...byPath.values()].sort((a, b) => compareBytes(a.path, b.path));
  const parts = sorted.flatMap((entry, rank) => entryParts(entry, rank + 1));
  parts.push(...headerAndName({ path: TRAILER, ino: 0, mode: 0, nlink: 1, size: 0 }));
  return Buffer.concat(parts);
}

function normalPath(path) {
  const names = path.split('/').filter((name) => name !== '' && name !== '.');
  if (names.length === 0 || names.includes('..') || path.includes('\0')) {
    throw new Error(`not a path inside an archive: ${JSON.stringify(path)}`);
  }
  const normal = names.join('/');
  if (normal === TRAILER) throw new Error(`${TRAILER} ends an archive and cannot name a file`);
  return normal;
}

function addParents(byPath) {
  for (const path of [...byPath.keys()]) {
    const names = path.split('/');
    for (let depth = 1; depth < names.length; depth++) {
      const parent = names.slice(0, depth).join('/');
      const present = byPath.get(parent);
      if (present === undefined) byPath.set(parent, { path: parent, type: 'directory' });
      else if (present.type !== 'directory') throw new Error(`${parent} is not a directory`);
    }
  }
}

const compareBytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));

function entryParts(entry, ino) {
  const { bits, mode } = TYPES[entry.type ?? 'file'];
  const data = entry.type === 'symlink' ? Buffer.from(entry.target) : entry.data;
  const body = Buffer.from(data ?? new Uint8Array(0));
  if (body.length > SIZE_MAX) throw new Error(`${entry.path} is too large for a cpio archive`);
  const header = headerAndName({
    path: entry.path,
    ino,
    mode: bits | (entry.mode ?? mode),
    nlink: entry.type === 'directory' ? 2 : 1,
    size: body.length,
    device: entry.device,
  });
  return [...header, body, padding(body.length)];
}

/** The fields are eight hexadecimal digits each; owner, group and time are always 0. */
function headerAndName({ path, ino, mode, nlink, size, device = [0, 0] }) {
  const name = Buffer.from(`${path}\0`);
  const owner = 0;
  const mtime = 0;
  const checksum = 0;
  const fields = [ino, mode, owner, owner, nlink, mtime, size, 0, 0, ...device, name.length];
  const text = [...fields, checksum].map((field) => field.toString(16).padStart(8, '0')).join('');
  return [Buffer.from(MAGIC + text), name, padding(MAGIC.length + text.length + name.length)];
}

const padding = (length) => Buffer.alloc(-length & 3);
