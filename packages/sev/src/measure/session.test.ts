// Sessions and secrets without vectors: both sides of a key agreement, and what is refused.
import { expect, test } from 'vitest';
import { toHex } from '../bytes.js';
import { aes128Ctr } from './aes-ctr.js';
import { DISK_PASSWORD_GUID, secretPacket, secretTable } from './launch-secret.js';
import { sessionData, sessionKeys, sharedSecret } from './session.js';

const ECDH = { name: 'ECDH', namedCurve: 'P-384' };
const block = new Uint8Array(16);

test('owner and platform agree on a secret of 48 bytes', async () => {
  const owner = await crypto.subtle.generateKey(ECDH, true, ['deriveBits']);
  const platform = await crypto.subtle.generateKey(ECDH, true, ['deriveBits']);
  const ours = await sharedSecret(owner.privateKey, platform.publicKey);
  expect(ours).toEqual(await sharedSecret(platform.privateKey, owner.publicKey));
  expect(ours.length).toBe(48);
});

test('the platform can unwrap the keys of a session', async () => {
  const z = new Uint8Array(48).fill(5);
  const [tek, tik] = [block.map(() => 1), block.map(() => 2)];
  const [nonce, iv] = [block.map(() => 3), block.map(() => 4)];
  const { bytes } = await sessionData({ z, nonce, iv, tek, tik, policy: 5 });
  expect(bytes.subarray(0, 16)).toEqual(nonce);
  expect(bytes.subarray(48, 64)).toEqual(iv);
  const { kek } = sessionKeys(z, bytes.subarray(0, 16));
  const keys = await aes128Ctr(kek, bytes.subarray(48, 64), bytes.subarray(16, 48));
  expect(toHex(keys)).toBe('01'.repeat(16) + '02'.repeat(16));
});

test('keys and nonces of another length are refused', async () => {
  const inputs = { z: block, nonce: block, iv: block, tek: block, tik: block, policy: 0 };
  for (const name of ['nonce', 'iv', 'tek', 'tik'] as const) {
    await expect(sessionData({ ...inputs, [name]: new Uint8Array(15) })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  }
});

test('a secret table is whole blocks, with its length and those of its entries', () => {
  const table = Buffer.from(secretTable([{ guid: DISK_PASSWORD_GUID, data: block.subarray(1) }]));
  expect(table.length).toBe(64);
  expect(table.readUInt32LE(16)).toBe(20 + 20 + 15);
  expect(table.readUInt32LE(36)).toBe(35);
  expect(() => secretTable([{ guid: 'disk', data: block }])).toThrow('not a GUID');
  const large = { guid: DISK_PASSWORD_GUID, data: new Uint8Array(16384) };
  expect(() => secretTable([large])).toThrow('the firmware takes 16384');
});

test('a secret that is not whole blocks, or empty, is refused', async () => {
  const keys = { tek: block, tik: block };
  const measurement = new Uint8Array(48);
  for (const length of [0, 15, 16400]) {
    const plaintext = new Uint8Array(length);
    await expect(secretPacket({ plaintext, keys, iv: block, measurement })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  }
});
