// The uncompressed kernel inside a bzImage: the ELF file that a PVH boot loads.
//
// Source: Documentation/arch/x86/boot.rst, "payload_offset" and "payload_length": the payload is a
// compressed ELF file followed by its size, 32 bits little-endian.
// Limit: kernels compressed with bzip2, LZMA or LZO are refused.

import { gunzipSync } from 'node:zlib';
import { decompress } from 'fzstd';
import { decompressXz, isXz } from './archive.mjs';
import { decompressLz4Legacy, isLz4Legacy } from './lz4-legacy.mjs';

const SETUP_SECTS = 0x1f1;
const BOOT_FLAG = 0x1fe;
const HEADER_MAGIC = 0x202;
const VERSION = 0x206;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;
const SECTOR_BYTES = 512;
const SETUP_SECTS_DEFAULT = 4;
const VERSION_WITH_PAYLOAD = 0x0208;
const VMLINUX_BYTES_MAX = 512 * 1024 * 1024;

/** What each way to compress a kernel looks like, and how it is undone. */
const FORMATS = [
  { name: 'LZ4', is: isLz4Legacy, undo: decompressLz4Legacy },
  { name: 'XZ', is: isXz, undo: decompressXz },
  {
    name: 'gzip',
    is: (bytes) => bytes[0] === 0x1f && bytes[1] === 0x8b,
    undo: (bytes, size) => gunzipSync(bytes, { maxOutputLength: size }),
  },
  {
    name: 'zstd',
    is: (bytes) => bytes.readUInt32LE(0) === 0xfd2fb528,
    undo: decompressZstd,
  },
];

/**
 * The library is ten times faster with a buffer of ours, but does not say how much of it it
 * filled: a mark in the last byte must be gone. (An ELF file ends in a section header or a string,
 * whose last byte is 0.)
 */
function decompressZstd(bytes, size) {
  const output = Buffer.alloc(size);
  output[size - 1] = 0xff;
  decompress(bytes, output);
  return output[size - 1] === 0xff ? output.subarray(0, -1) : output;
}

/** The compressed payload of a bzImage and the size it expands to. */
export function payloadOf(bzImage) {
  const image = Buffer.from(bzImage.buffer, bzImage.byteOffset, bzImage.length);
  const isBzImage =
    image.length > PAYLOAD_LENGTH + 4 &&
    image.readUInt16LE(BOOT_FLAG) === 0xaa55 &&
    image.toString('latin1', HEADER_MAGIC, HEADER_MAGIC + 4) === 'HdrS';
  if (!isBzImage) throw new Error('not a bzImage');
  if (image.readUInt16LE(VERSION) < VERSION_WITH_PAYLOAD) {
    throw new Error('this bzImage is too old to say where its payload is');
  }
  const sectors = image[SETUP_SECTS] || SETUP_SECTS_DEFAULT;
  const start = (sectors + 1) * SECTOR_BYTES + image.readUInt32LE(PAYLOAD_OFFSET);
  const end = start + image.readUInt32LE(PAYLOAD_LENGTH);
  if (end > image.length || end - start < 8) throw new Error('this bzImage is truncated');
  return { bytes: image.subarray(start, end - 4), size: image.readUInt32LE(end - 4) };
}

/**
 * Extracts the ELF file from a bzImage.
 * @param {Uint8Array} bzImage
 * @returns {Promise<Buffer>}
 */
export async function extractVmlinux(bzImage) {
  const { bytes, size } = payloadOf(bzImage);
  if (size > VMLINUX_BYTES_MAX) throw new Error(`a kernel of ${size} bytes is too large`);
  const format = FORMATS.find(({ is }) => is(bytes));
  if (format === undefined) {
    throw new Error(`unknown compression of the kernel: ${bytes.toString('hex', 0, 4)}`);
  }
  const vmlinux = await format.undo(bytes, size);
  const isElf = vmlinux.toString('latin1', 0, 4) === '\x7fELF';
  if (vmlinux.length !== size || !isElf) {
    throw new Error(`the ${format.name} payload does not hold the kernel it announces`);
  }
  return vmlinux;
}
