/**
 * The bundled addon: its checksum, that its source gives the same bytes, and that its four calls do
 * what the port says.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { ADDON, buildAddon, CHECKSUM, checksumLine, whyNotHere } from '../../native/build.mjs';
import { ERRNO, MAP_ANONYMOUS, MAP_PRIVATE, NR, PROT_READ, PROT_WRITE } from '../abi/linux.js';
import { addonSys } from './addon.js';
import { cString, errnoName, type Sys, sysError } from './sys.js';

const loaded = addonSys();
const noAddon = 'sys' in loaded ? null : loaded.reason;
const noTools = whyNotHere();

test('the addon is the one that its checksum names', () => {
  expect(readFileSync(CHECKSUM, 'utf8')).toBe(checksumLine(readFileSync(ADDON)));
  expect(readFileSync(ADDON).length).toBeLessThan(20_000);
});

test.skipIf(noTools !== null)(`its source gives the same bytes ${noTools ?? ''}`, () => {
  expect(buildAddon().equals(readFileSync(ADDON))).toBe(true);
});

describe.skipIf(noAddon !== null)(`the calls ${noAddon ?? ''}`, () => {
  const sys = (loaded as { readonly sys: Sys }).sys;
  const anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
  const map = () => sys.syscall(NR.mmap, 0, 8192, PROT_READ | PROT_WRITE, anonymous, -1, 0);

  test('system calls take numbers, bigints and bytes, and give results or -errno', () => {
    expect(sys.syscall(NR.getpid)).toBe(process.pid);
    expect(sys.syscall(NR.openat, -100, cString('/no/such/file'), 0, 0)).toBe(-ERRNO.ENOENT);
    expect(sys.syscall(NR.close, 2n ** 64n - 1n)).toBe(-ERRNO.EBADF);
    expect(() => sys.syscall('1' as never)).toThrow(TypeError);
    expect(() => (sys.syscall as () => number)()).toThrow(TypeError);
  });

  test('views lie over mapped memory, several over the same, until they are detached', () => {
    const address = map();
    expect(address % 4096).toBe(0);
    const [one, other] = [sys.view(address, 8192), sys.view(address, 8192)];
    new Uint8Array(one)[5] = 77;
    expect(new Uint8Array(other)[5]).toBe(77);
    expect(sys.addressOf(new Uint8Array(one, 5))).toBe(BigInt(address + 5));
    sys.detach(one);
    sys.detach(other);
    expect(one.byteLength).toBe(0);
    expect(sys.syscall(NR.munmap, address, 8192)).toBe(0);
    expect(() => sys.detach({} as ArrayBuffer)).toThrow(TypeError);
    expect(() => sys.view(0, undefined as never)).toThrow(TypeError);
    expect(() => sys.addressOf([] as never)).toThrow(TypeError);
  });
});

test('errors have a code and a name', () => {
  expect(errnoName(-ERRNO.EINVAL)).toBe('EINVAL');
  expect(errnoName(9999)).toBe('errno 9999');
  expect(sysError('mmap', -ERRNO.ENOMEM)).toMatchObject({ code: 'out-of-memory' });
  expect(sysError('open', -ERRNO.EIO)).toMatchObject({ code: 'io-failed', message: 'open: EIO' });
});
