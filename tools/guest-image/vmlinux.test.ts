// Every way a kernel is compressed that this tool undoes, and files that are no kernels.
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { branches, makeBzImage, XZ_X86 } from './fixtures.js';
import { extractVmlinux, payloadOf } from './vmlinux.mjs';

const elf = Buffer.concat([
  Buffer.from('\x7fELF', 'latin1'),
  Buffer.alloc(100, 'k'),
  Buffer.alloc(1),
]);

/** An LZ4 legacy frame of one block that has literals only. */
function lz4(data: Buffer): Buffer {
  const block = Buffer.concat([Buffer.from([0xf0, data.length - 15]), data]);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184c2102, 0);
  head.writeUInt32LE(block.length, 4);
  return Buffer.concat([head, block]);
}

/** A zstd frame of one raw block (RFC 8878, 3.1.1). */
function zstd(data: Buffer): Buffer {
  const frame = [0x28, 0xb5, 0x2f, 0xfd, 0x20, data.length];
  const block = (data.length << 3) | 1;
  return Buffer.concat([Buffer.from([...frame, block & 255, block >> 8, 0]), data]);
}

test.each([
  ['gzip', gzipSync(elf)],
  ['LZ4', lz4(elf)],
  ['zstd', zstd(elf)],
])('extracts a kernel compressed with %s', async (_name, payload) => {
  expect((await extractVmlinux(makeBzImage(payload, elf.length))).equals(elf)).toBe(true);
});

test('undoes XZ, and then notices what is no ELF file', async () => {
  const image = makeBzImage(XZ_X86, branches().length);
  await expect(extractVmlinux(image)).rejects.toThrow('XZ payload does not hold the kernel');
});

test('the payload is where the header says', () => {
  expect(payloadOf(makeBzImage(Buffer.from('payload'), 7))).toEqual({
    bytes: Buffer.from('payload'),
    size: 7,
  });
});

test('refuses other files, old and truncated kernels, and unknown compression', async () => {
  const image = makeBzImage(gzipSync(elf), elf.length);
  await expect(extractVmlinux(elf)).rejects.toThrow('not a bzImage');
  await expect(extractVmlinux(image.subarray(0, -5))).rejects.toThrow('truncated');
  const old = Buffer.from(image);
  old.writeUInt16LE(0x0207, 0x206);
  await expect(extractVmlinux(old)).rejects.toThrow('too old');
  await expect(extractVmlinux(makeBzImage(Buffer.from('BZh9'), 9))).rejects.toThrow('425a6839');
  for (const payload of [gzipSync(elf), zstd(elf), lz4(elf)]) {
    const lying = makeBzImage(payload, elf.length + 1);
    await expect(extractVmlinux(lying)).rejects.toThrow('does not hold the kernel');
  }
});

test('a damaged kernel is an error or the same kernel', async () => {
  const image = makeBzImage(gzipSync(elf), elf.length);
  await fc.assert(
    fc.asyncProperty(fc.nat(image.length - 1), fc.nat(255), async (at, value) => {
      const damaged = Buffer.from(image);
      damaged[at] = value;
      const output = await extractVmlinux(damaged).catch(() => elf);
      expect(output.equals(elf)).toBe(true);
    }),
    { numRuns: 200 },
  );
});
