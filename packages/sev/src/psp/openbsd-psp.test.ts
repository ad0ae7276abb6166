/**
 * PSP-14: psp(4) of OpenBSD: 16 ioctls, their errors, and what pledge leaves of them.
 */
import { createHash, createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decode, encode, type Struct } from '../abi/struct.js';
import { toHex } from '../bytes.js';
import { KeyedMemory, seededEntropy } from '../firmware/index.js';
import { testChip } from '../testing/emulated-chip.js';
import { emulatedPsp } from './emulated-psp.js';
import { ERRNO, PLEDGE_VMM, PSP_IOC, PSP_STRUCTS, type PspIoctlName } from './openbsd-ioctls.js';
import { OpenBsdPsp } from './openbsd-psp.js';

const PAGE = 4096;
/** Two pages of the process, next to each other there and not in memory. */
const VA = 0x7000_0000;
const PAGES: Readonly<Record<number, number>> = { [VA]: 0x5000, [VA + PAGE]: 0x3000 };
const VMSA = 0x9000;

function device() {
  const memory = new KeyedMemory(0x10000);
  const entropy = seededEntropy('psp(4)');
  const platform = emulatedPsp({ memory, chip: testChip, entropy });
  const psp = new OpenBsdPsp(platform.transport, {
    physical: (va) => PAGES[va] ?? null,
    vmsa: (vmid, vcpuid, asid) => (vmid === 7 && vcpuid === 0 && asid === 1 ? VMSA : null),
  });
  const ioctl = (name: PspIoctlName, values = {}, options = {}) => {
    const type = PSP_STRUCTS[name] as Struct | null;
    const data = type === null ? new Uint8Array() : encode(type, values);
    const errno = psp.ioctl(PSP_IOC[name], data, options);
    return { errno, values: type === null ? {} : (decode(type, data) as Record<string, number>) };
  };
  return { memory, platform, psp, ioctl };
}

/** From INIT to a guest that takes data. */
function launched(policy = 0x3f) {
  const parts = device();
  const { ioctl } = parts;
  expect(ioctl('INIT').errno).toBe(0);
  const handle = ioctl('LAUNCH_START', { policy }).values.handle!;
  expect(ioctl('DF_FLUSH').errno).toBe(0);
  expect(ioctl('ACTIVATE', { handle, asid: policy & 4 ? 1 : 100 }).errno).toBe(0);
  return { ...parts, handle };
}

describe('PSP-14 ioctls of psp(4)', () => {
  test('have the numbers that a C compiler makes of its header', () => {
    // _IOR('P', 0, 12 bytes), and so on, by hand from pspvar.h.
    expect(Object.values(PSP_IOC).map((nr) => nr.toString(16))).toEqual([
      '400c5000',
      '20005001',
      '80045002',
      'c00d5003',
      'c0245004',
      '80145005',
      'c0485006',
      '80045007',
      'c0f85008',
      '80085009',
      '8004500a',
      '4020500b',
      '2000500c',
      '2000500d',
      '801050fe',
      '800450ff',
    ]);
  });

  test('launch a guest as vmd(8) does, and end it', () => {
    const { ioctl, memory, handle } = launched();
    const bytes = new Uint8Array(PAGE + 48).map((_, at) => at * 7);
    memory.write(0x5000, bytes.subarray(0, PAGE), 0);
    memory.write(0x3000, bytes.subarray(PAGE), 0);
    expect(ioctl('GET_GSTATUS', { handle }).values.state).toBe(1);
    expect(ioctl('LAUNCH_UPDATE_DATA', { handle, paddr: VA, length: bytes.length }).errno).toBe(0);
    const vmsa = { handle, asid: 1, vmid: 7, vcpuid: 0 };
    expect(ioctl('ENCRYPT_STATE', vmsa).errno).toBe(0);
    expect(ioctl('ENCRYPT_STATE', { ...vmsa, vmid: 8 }).errno).toBe(ERRNO.EINVAL);
    const measured = ioctl('LAUNCH_MEASURE', { handle, measure_len: 48 });
    expect(measured.errno).toBe(0);
    const { measure, measure_nonce: nonce } = measured.values as unknown as Record<
      string,
      Uint8Array
    >;
    const digest = createHash('sha256').update(bytes).update(new Uint8Array(PAGE)).digest();
    const head = Buffer.from([4, 1, 55, 1, 0x3f, 0, 0, 0]);
    const hmac = createHmac('sha256', Buffer.alloc(16)).update(head).update(digest).update(nonce!);
    expect(toHex(measure!)).toBe(hmac.digest('hex'));
    expect(ioctl('LAUNCH_FINISH', { handle }).errno).toBe(0);
    expect(ioctl('GET_GSTATUS', { handle }).values).toMatchObject({ state: 3, asid: 1 });
    const attested = ioctl('ATTESTATION', {
      handle,
      attest_nonce: new Uint8Array(16).fill(3),
      attest_len: 0xd0,
    });
    const report = (attested.values as unknown as { report: Uint8Array }).report;
    expect([attested.errno, report[0], toHex(report.slice(16, 48))]).toEqual([
      0,
      3,
      digest.toString('hex'),
    ]);
    expect(ioctl('GUEST_SHUTDOWN', { handle }).errno).toBe(0);
    expect(ioctl('GET_PSTATUS').values).toMatchObject({ state: 1, guest_count: 0 });
    expect(ioctl('SHUTDOWN').errno).toBe(0);
    expect(ioctl('GET_PSTATUS').values.state).toBe(0);
  });

  test('GET_PSTATUS packs SEV-ES and the build into one word', () => {
    const { ioctl } = device();
    ioctl('INIT');
    expect(ioctl('GET_PSTATUS').values).toMatchObject({
      api_major: 1,
      api_minor: 55,
      state: 1,
      cfges_build: 0x0100_0001,
    });
  });

  test.each([
    ['data between blocks', 'LAUNCH_UPDATE_DATA', { paddr: VA + 8, length: 16 }, ERRNO.EINVAL],
    ['a part of a block', 'LAUNCH_UPDATE_DATA', { paddr: VA, length: 8 }, ERRNO.EINVAL],
    ['a page of nobody', 'LAUNCH_UPDATE_DATA', { paddr: 0x1000, length: 16 }, ERRNO.EINVAL],
    ['another length to measure', 'LAUNCH_MEASURE', { measure_len: 32 }, ERRNO.EINVAL],
    ['another length to attest', 'ATTESTATION', { attest_len: 0x40 }, ERRNO.EINVAL],
    ['a second INIT', 'INIT', {}, ERRNO.EBUSY],
    ['what the firmware refuses', 'LAUNCH_FINISH', {}, ERRNO.EIO],
    ['a guest that is active', 'DECOMMISSION', {}, ERRNO.EIO],
    ['an ASID of another range', 'ACTIVATE', { asid: 0 }, ERRNO.EIO],
    ['SNP', 'SNP_GET_PSTATUS', {}, ERRNO.EIO],
  ] as const)('refuse %s', (_, name, values, errno) => {
    const { ioctl, handle } = launched();
    expect(ioctl(name, { handle, ...values }).errno).toBe(errno);
  });

  test('of other numbers and sizes are refused, and all without a processor', () => {
    const { psp, platform } = device();
    expect(psp.ioctl(0x2000_5063, new Uint8Array())).toBe(ERRNO.ENOTTY);
    expect(psp.ioctl(PSP_IOC.ACTIVATE, new Uint8Array(4))).toBe(ERRNO.EINVAL);
    const none = new OpenBsdPsp(null, { physical: () => null, vmsa: () => null });
    expect(none.ioctl(PSP_IOC.DF_FLUSH, new Uint8Array())).toBe(ERRNO.ENXIO);
    // A firmware that writes more than was asked for.
    const odd = new OpenBsdPsp(
      {
        ...platform.transport,
        command: (_, spa) => {
          platform.transport.host.view(spa, 64).fill(0xff);
          return 0;
        },
      },
      { physical: () => null, vmsa: () => null },
    );
    const measure = encode(PSP_STRUCTS.LAUNCH_MEASURE, { measure_len: 48 });
    expect(odd.ioctl(PSP_IOC.LAUNCH_MEASURE, measure)).toBe(ERRNO.ERANGE);
  });

  test('under pledge("vmm") are those of a launch; EPERM for the rest', () => {
    const names = Object.keys(PSP_IOC) as PspIoctlName[];
    const forbidden = names.filter((name) => {
      const { ioctl } = device();
      return ioctl(name, {}, { pledged: true }).errno === ERRNO.EPERM;
    });
    expect(forbidden).toEqual([
      'DECOMMISSION',
      'ATTESTATION',
      'DEACTIVATE',
      'SNP_GET_PSTATUS',
      'INIT',
      'SHUTDOWN',
    ]);
    expect(PLEDGE_VMM.size).toBe(10);
  });

  test('with any bytes answer with an errno', () => {
    const { psp } = launched();
    const known = Object.values(ERRNO) as number[];
    const request = fc.oneof(fc.constantFrom(...Object.values(PSP_IOC)), fc.nat(0xffff_ffff));
    fc.assert(
      fc.property(request, fc.uint8Array({ maxLength: 300 }), fc.boolean(), (nr, data, fits) => {
        const size = (nr >>> 16) & 0x1fff;
        const argument = fits ? new Uint8Array(size) : data;
        if (fits) argument.set(data.subarray(0, size));
        return known.includes(psp.ioctl(nr, argument));
      }),
      { numRuns: 200 },
    );
  });
});
