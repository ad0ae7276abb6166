// IGVM files made here (unconfirmed: no file with a digest from a machine is known), and damaged.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { concat, toHex, u16, u32, u64 } from '../bytes.js';
import { measureIgvm } from './igvm.js';
import { crc32, parseIgvm } from './igvm-file.js';

const PLATFORM = header(1, concat(u32(1), Uint8Array.of(0, 2), u16(1), u64(0)));
const pageData = (gpa: number, offset: number, type = 0, flags = 0) =>
  header(0x302, concat(u64(gpa), u32(1), u32(offset), u32(flags), u16(type), u16(0)));
const vcpu = (offset: number, gpa = 0xfffffffff000n) =>
  header(0x304, concat(u64(gpa), u32(1), u32(offset), u16(0), u16(0)));
const area = header(0x301, concat(u64(0x2000), u32(7), u32(0)));
const insert = header(0x303, concat(u64(0x20000), u32(1), u32(7)));

function header(type: number, body: Uint8Array): Uint8Array {
  const padding = new Uint8Array((8 - (body.length % 8)) % 8);
  return concat(u32(type), u32(body.length), body, padding);
}

/** Contents lie at 4096 and at 8192. */
function igvm(...headers: Uint8Array[]): Uint8Array {
  const variable = concat(...headers);
  const file = new Uint8Array(3 * 4096);
  file.fill(0x5a, 4096, 8192);
  const view = new DataView(file.buffer);
  view.setBigUint64(8192 + 0x158, 0x31n, true);
  file.set(concat(u32(0x4d564749), u32(1), u32(24), u32(variable.length), u32(file.length)));
  file.set(variable, 24);
  view.setUint32(20, crc32(file.subarray(0, 24 + variable.length)), true);
  return file;
}

const good = igvm(
  PLATFORM,
  area,
  pageData(0x10000, 4096),
  pageData(0x11000, 0),
  pageData(0x12000, 4096, 0, 2),
  pageData(0x13000, 0, 1),
  pageData(0x14000, 0, 2),
  insert,
  vcpu(8192),
);

describe('an IGVM file', () => {
  test('is measured header by header', () => {
    const sha384 = (bytes: Uint8Array) => createHash('sha384').update(bytes).digest();
    const pages: [bigint, number, Uint8Array?][] = [
      [0x10000n, 1, good.subarray(4096, 8192)],
      [0x11000n, 1, new Uint8Array(4096)],
      [0x12000n, 4],
      [0x13000n, 5],
      [0x14000n, 6],
      [0x20000n, 4],
      [0x21000n, 4],
      [0xfffffffff000n, 2, good.subarray(8192)],
    ];
    let digest: Uint8Array = new Uint8Array(48);
    for (const [gpa, type, bytes] of pages) {
      const contents = bytes === undefined ? new Uint8Array(48) : sha384(bytes);
      const fields = Uint8Array.of(0x70, 0, type, 0, 0, 0, 0, 0);
      digest = sha384(concat(digest, contents, fields, u64(gpa)));
    }
    expect(toHex(measureIgvm(good))).toBe(toHex(digest));
  });

  test('measures pages of zeros as such only when asked', () => {
    expect(measureIgvm(good, { nativeZero: true })).not.toEqual(measureIgvm(good));
  });

  const refused: [why: string, file: Uint8Array][] = [
    ['with another magic number', Uint8Array.from(good, (byte, at) => (at === 0 ? 0 : byte))],
    ['with a wrong checksum', Uint8Array.from(good, (byte, at) => (at === 20 ? byte ^ 1 : byte))],
    ['for another platform', igvm(header(1, concat(u32(1), Uint8Array.of(0, 3), u16(1), u64(0))))],
    ['without a platform', igvm(vcpu(8192))],
    ['without a VMSA', igvm(PLATFORM, pageData(0, 4096))],
    ['with two VMSAs', igvm(PLATFORM, vcpu(8192), vcpu(8192))],
    ['with the VMSA first', igvm(PLATFORM, vcpu(8192), pageData(0, 4096))],
    ['with the VMSA elsewhere', igvm(PLATFORM, vcpu(8192, 0x1000n))],
    ['with another CR0', igvm(PLATFORM, vcpu(4096))],
    ['with contents outside', igvm(PLATFORM, pageData(0, 0x7fffffff), vcpu(8192))],
    ['with an address of no page', igvm(PLATFORM, pageData(0x10, 4096), vcpu(8192))],
    ['with an unknown header', igvm(PLATFORM, header(0x399, u64(0)), vcpu(8192))],
    ['with a short header', igvm(PLATFORM, header(0x302, u64(0)), vcpu(8192))],
    ['that inserts what is not there', igvm(PLATFORM, insert, vcpu(8192))],
    ['that inserts twice', igvm(PLATFORM, area, insert, insert, vcpu(8192))],
    ['that is cut off', good.subarray(0, 100)],
  ];
  test.each(refused)('%s is refused', (_, file) => {
    expect(() => measureIgvm(file)).toThrow(expect.objectContaining({ name: 'VmmError' }));
  });

  test('of random bytes, or damaged, never throws anything but the typed error', () => {
    const attempt = (file: Uint8Array) => {
      try {
        parseIgvm(file);
      } catch (error) {
        expect(error).toMatchObject({ name: 'VmmError' });
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), attempt));
    const length = new DataView(good.buffer).getUint32(12, true) + 24;
    const at = fc.integer({ min: 8, max: length - 1 });
    const damage = fc.array(fc.tuple(at, fc.integer({ min: 0, max: 255 })), { minLength: 1 });
    fc.assert(
      fc.property(damage, (changes) => {
        const file = Uint8Array.from(good);
        for (const [where, value] of changes) file[where] = value;
        // With a checksum that fits, so that the damage is reached.
        const view = new DataView(file.buffer);
        const end = Math.min(file.length, view.getUint32(8, true) + view.getUint32(12, true));
        file.fill(0, 20, 24);
        view.setUint32(20, crc32(file.subarray(0, end)), true);
        attempt(file);
      }),
      { numRuns: 500 },
    );
  });
});
