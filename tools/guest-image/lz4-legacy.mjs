// The "legacy" LZ4 frame that `lz4 -l` writes and Linux kernels carry: a magic number, then blocks
// of at most 8 MiB, each after its compressed length. No library in use here reads this old frame.
//
// Source: LZ4 Frame Format Description, "Legacy frame"; LZ4 Block Format Description. Both are in
// the LZ4 project's doc/ folder. The frame has no checksum, so none is verified.

const MAGIC = 0x184c2102;
const BLOCK_BYTES_MAX = 8 * 1024 * 1024;
const MATCH_MIN = 4;
const LENGTH_ESCAPE = 15;

/** Whether the bytes begin as a legacy frame does. */
export function isLz4Legacy(bytes) {
  return bytes.length >= 4 && readU32(bytes, 0) === MAGIC;
}

/**
 * Decompresses a legacy frame.
 * @param {Uint8Array} bytes the frame and nothing after it
 * @param {number} sizeMax refuses to produce more than this
 * @returns {Buffer}
 */
export function decompressLz4Legacy(bytes, sizeMax) {
  if (!isLz4Legacy(bytes)) throw new Error('not an LZ4 legacy frame');
  const blocks = [];
  let total = 0;
  for (let at = 4; at < bytes.length; ) {
    if (at + 4 > bytes.length) throw new Error('LZ4 frame ends inside a block length');
    const length = readU32(bytes, at);
    at += 4;
    if (length === MAGIC) continue; // a second frame may follow the first
    if (length > bytes.length - at) throw new Error('LZ4 frame ends inside a block');
    const block = decompressBlock(bytes.subarray(at, at + length));
    total += block.length;
    if (total > sizeMax) throw new Error(`LZ4 frame holds more than ${sizeMax} bytes`);
    blocks.push(block);
    at += length;
  }
  return Buffer.concat(blocks, total);
}

function readU32(bytes, at) {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}

/** One block: sequences of a token, literals, and a copy from what was already written. */
function decompressBlock(input) {
  const output = Buffer.allocUnsafe(BLOCK_BYTES_MAX);
  let from = 0;
  let to = 0;

  const lengthAfter = (nibble) => {
    let length = nibble;
    if (nibble !== LENGTH_ESCAPE) return length;
    for (;;) {
      if (from >= input.length) throw new Error('LZ4 block ends inside a length');
      const more = input[from++];
      length += more;
      if (more !== 255) return length;
    }
  };

  while (from < input.length) {
    const token = input[from++];
    const literals = lengthAfter(token >> 4);
    if (literals > input.length - from) throw new Error('LZ4 block ends inside literals');
    if (literals > output.length - to) throw new Error('LZ4 block is larger than 8 MiB');
    output.set(input.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === input.length) break; // the last sequence has literals only

    if (from + 2 > input.length) throw new Error('LZ4 block ends inside an offset');
    const distance = input[from] | (input[from + 1] << 8);
    from += 2;
    if (distance === 0 || distance > to) throw new Error('LZ4 match points before the block');
    const length = lengthAfter(token & 15) + MATCH_MIN;
    if (length > output.length - to) throw new Error('LZ4 block is larger than 8 MiB');
    copyMatch(output, to, distance, length);
    to += length;
  }
  return Buffer.from(output.subarray(0, to));
}

/** A match longer than its distance repeats itself, which a plain copy of ranges would not do. */
function copyMatch(output, to, distance, length) {
  if (distance >= length) {
    output.copyWithin(to, to - distance, to - distance + length);
    return;
  }
  for (let i = to; i < to + length; i++) output[i] = output[i - distance];
}
