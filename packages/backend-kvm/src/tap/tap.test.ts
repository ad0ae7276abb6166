// A TAP whose interface was removed is not waited for. (Frames are in tests/net.test.ts.)
import { expect, it } from 'vitest';
import { ERRNO, NR } from '../abi/linux.js';
import type { Sys } from '../sys/sys.js';
import { openTap } from './tap.js';

/** EBADFD, which reading says then. */
const EBADFD = 77;

it.each([EBADFD, ERRNO.EIO])('after error %i it starts no thread', async (errno) => {
  const sys: Sys = {
    name: 'fake',
    syscall: (number) => (number === NR.read ? -errno : 3),
    view: () => new ArrayBuffer(0),
    detach() {},
    addressOf: () => 0n,
  };
  const tap = openTap('gone0', sys);
  expect(tap.read(new Uint8Array(64))).toBe(0);
  const before = process.listenerCount('exit');
  tap.wait(() => expect.fail('there is no frame'));
  expect(process.listenerCount('exit')).toBe(before);
  await tap.close();
});
