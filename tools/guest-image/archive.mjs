// Reading archives: .deb files (an ar of tars) and single .xz streams. The formats are libarchive's
// work; this file only picks entries and refuses names that would leave the destination.
//
// Sources: deb(5); the .xz file format 1.1.0, sections 2.1.2 and 4; PKWARE APPNOTE 4.3.7 and 4.4.5.
// Limits: .xz files of one block with CRC32 only (what kernel builds make); no .deb with zstd.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const ENTRY_BYTES_MAX = 512 * 1024 * 1024;

/**
 * Hands each regular file of an archive to `visit(path, read)`; `read()` returns its bytes.
 * The library is loaded here and not at the top: most runs find everything unpacked already.
 */
async function eachFile(bytes, visit) {
  const { ArchiveReader, libarchiveWasm } = await import('libarchive-wasm');
  const library = await libarchiveWasm();
  const view = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  const reader = new ArchiveReader(library, view);
  try {
    for (const entry of reader.entries()) {
      if (entry.getFiletype() !== 'File') continue;
      const size = entry.getSize();
      if (size > ENTRY_BYTES_MAX) throw new Error(`an entry of ${size} bytes is too large`);
      visit(entry.getPathname(), () => readEntry(entry, size));
    }
    // The iteration ends the same way at the end of an archive and at damage.
    const problem = library.error_string(reader.archive);
    if (problem) throw new Error(problem);
  } finally {
    reader.free();
  }
}

function readEntry(entry, size) {
  const data = size === 0 ? new Int8Array(0) : entry.readData();
  if (data?.length !== size) throw new Error(`an entry does not hold its ${size} bytes`);
  return Buffer.from(data.buffer, data.byteOffset, data.length);
}

/**
 * Unpacks the files of a Debian package that `wanted(path)` accepts.
 * @param {Uint8Array} deb the package
 * @param {string} directory where to; paths inside the package are kept
 * @param {(path: string) => boolean} wanted is given paths without a leading `./`
 * @returns {Promise<string[]>} the paths unpacked
 */
export async function unpackDeb(deb, directory, wanted) {
  let data;
  await eachFile(deb, (path, read) => {
    if (path.startsWith('data.tar')) data = read();
  });
  if (data === undefined) throw new Error('not a Debian package: it has no data.tar');
  const unpacked = [];
  await eachFile(data, (name, read) => {
    const path = name.replace(/^(\.?\/)+/, '');
    if (path.split('/').includes('..') || !wanted(path)) return;
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), read());
    unpacked.push(path);
  });
  return unpacked;
}

const XZ_MAGIC = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]);
const XZ_FOOTER_BYTES = 12;
const XZ_CHECK_CRC32 = 1;

/** Whether the bytes begin as an .xz file does. */
export function isXz(bytes) {
  return XZ_MAGIC.equals(bytes.subarray(0, XZ_MAGIC.length));
}

/**
 * Decompresses one .xz stream of known size, with whatever filters it names. The library reads xz
 * only inside an archive, so the stream is wrapped as the one member of a ZIP file (method 95);
 * the CRC-32 that a ZIP wants is the one the stream itself ends with.
 * @param {Uint8Array} xz exactly the stream
 * @param {number} size bytes it decompresses to
 * @returns {Promise<Buffer>}
 */
export async function decompressXz(xz, size) {
  const stream = Buffer.from(xz.buffer, xz.byteOffset, xz.length);
  const member = Buffer.concat([zipHeader(stream.length, size, xzCrc32(stream)), stream]);
  let output;
  await eachFile(member, (_path, read) => {
    output = read();
  });
  if (output === undefined) throw new Error('not an .xz file that can be read');
  return output;
}

/** The check of the only block: it stands between the block's data and the index. */
function xzCrc32(stream) {
  const footer = stream.length - XZ_FOOTER_BYTES;
  if (
    !isXz(stream) ||
    footer < XZ_FOOTER_BYTES ||
    stream.toString('latin1', footer + 10) !== 'YZ'
  ) {
    throw new Error('not a whole .xz file');
  }
  if (stream[7] !== XZ_CHECK_CRC32) throw new Error('an .xz file without CRC32 is not supported');
  const index = footer - (stream.readUInt32LE(footer + 4) + 1) * 4;
  if (index < 16 || stream[index + 1] !== 1) {
    throw new Error('an .xz file of several blocks is not supported');
  }
  return stream.readUInt32LE(index - 4);
}

/** A local file header is enough: libarchive reads a ZIP from its beginning. */
function zipHeader(packedSize, size, crc) {
  const name = Buffer.from('data');
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(63, 4); // version needed: 6.3, as for any method above deflate
  header.writeUInt16LE(95, 8); // method: xz
  header.writeUInt32LE(crc, 14);
  header.writeUInt32LE(packedSize, 18);
  header.writeUInt32LE(size, 22);
  header.writeUInt16LE(name.length, 26);
  return Buffer.concat([header, name]);
}
