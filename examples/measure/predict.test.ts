// The program that the README shows is the one that is tried: on a firmware of two pages, whose
// digest is computed here by hand, and on Debian's where the vectors are.
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { vectors, vectorsAbsent } from '../../tools/lib/vectors.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const DEBIAN = 'measure/inputs/debian-OVMF-2022.11-6+deb12u2.fd';
const debian = join(vectors, DEBIAN);
const why = vectorsAbsent(DEBIAN);
const program = readFileSync(new URL('predict.js', import.meta.url), 'utf8');

afterEach(() => {
  vi.restoreAllMocks();
  vi.resetModules();
});

async function run(firmware: string, vcpus: string): Promise<unknown[]> {
  const before = process.argv;
  process.argv = ['node', 'predict.js', firmware, vcpus];
  const written = vi.spyOn(process.stdout, 'write').mockReturnValue(true);
  await import('./predict.js');
  process.argv = before;
  return written.mock.calls.map(([chunk]) => chunk);
}

test('the README shows the program as it is', () => {
  expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain(`\`\`\`js\n${program}\`\`\`\n`);
  const lines = program.split('\n').filter((line) => line !== '' && !line.startsWith('//'));
  expect(lines).toHaveLength(5);
});

test('it predicts the digest of a small firmware', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'cloister-predict-'));
  const path = join(folder, 'firmware');
  const firmware = smallFirmware();
  writeFileSync(path, firmware);
  const sha384 = (bytes: Uint8Array) => createHash('sha384').update(bytes).digest();
  const pages: [bigint, number, Buffer][] = [
    [0xffffe000n, 1, firmware.subarray(0, 4096)],
    [0xfffff000n, 1, firmware.subarray(4096)],
    [0xfffffffff000n, 2, firstVmsa()],
  ];
  let digest: Uint8Array = Buffer.alloc(48);
  for (const [gpa, type, page] of pages) {
    const info = Buffer.alloc(0x70);
    info.set(digest);
    info.set(sha384(page), 48);
    info.set([0x70, 0, type], 96);
    info.writeBigUInt64LE(gpa, 104);
    digest = sha384(info);
  }
  expect(await run(path, '1')).toEqual([`${Buffer.from(digest).toString('hex')}\n`]);
  rmSync(folder, { recursive: true });
});

test.skipIf(why !== '')(`it predicts the digest of Debian's, of the vectors${why}`, async () => {
  const digest =
    '32ac9d7a17d28f7cd4404a4516d2f00519668c40ada2062351c36767e908eb3f' +
    '090d66c33ab10f80150e00a4385b6d0f';
  expect(await run(debian, '4')).toEqual([`${digest}\n`]);
});

/** Two pages, with a table that has a reset block only. */
function smallFirmware(): Buffer {
  const image = Buffer.alloc(8192, 0x90);
  const reset = Buffer.from('04b080001600de71f7007e1acb4f890e68c77e2fb44e', 'hex');
  const footer = Buffer.from('2800de82b596b21ff745baeaa366c55a082d', 'hex');
  Buffer.concat([reset, footer]).copy(image, 8192 - 32 - reset.length - footer.length);
  return image;
}

/** The first vCPU of an EPYC-v4 guest under QEMU, field by field. */
function firstVmsa(): Buffer {
  const page = Buffer.alloc(4096);
  const segment = (at: number, attributes: number, selector = 0, base = 0) => {
    page.writeUInt16LE(selector, at);
    page.writeUInt16LE(attributes, at + 2);
    page.writeUInt32LE(0xffff, at + 4);
    page.writeUInt32LE(base, at + 8);
  };
  for (const at of [0x00, 0x20, 0x30, 0x40, 0x50]) segment(at, 0x93);
  segment(0x10, 0x9b, 0xf000, 0xffff0000);
  for (const at of [0x60, 0x80]) segment(at, 0);
  segment(0x70, 0x82);
  segment(0x90, 0x8b);
  const registers: [at: number, value: bigint][] = [
    [0x0d0, 0x1000n],
    [0x148, 0x40n],
    [0x158, 0x10n],
    [0x160, 0x400n],
    [0x168, 0xffff0ff0n],
    [0x170, 2n],
    [0x178, 0xfff0n],
    [0x268, 0x0007040600070406n],
    [0x310, 0x800f12n],
    [0x3b0, 1n],
    [0x3e8, 1n],
    [0x408, 0x1f80n],
    [0x410, 0x37fn],
  ];
  for (const [at, value] of registers) page.writeBigUInt64LE(value, at);
  return page;
}
