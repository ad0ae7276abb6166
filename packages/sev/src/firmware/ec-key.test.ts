// Keys of the platform: what cannot be loaded is said, and is no verdict on a key or signature.
import { expect, test, vi } from 'vitest';
import { FIELD_SIZE, keyFromSecret, sharedX, sign, verify } from './ec-key.js';
import '../testing/pure-ports.js';

test('without curves a signature is neither right nor wrong, and a point on none', async () => {
  const key = keyFromSecret(new Uint8Array(48).fill(3));
  const body = Uint8Array.of(1, 2, 3);
  const signature = sign(key, body);
  expect(verify(key.point, body, signature)).toBe(true);
  expect(verify(key.point, Uint8Array.of(1, 2), signature)).toBe(false);
  expect(verify(new Uint8Array(97), body, signature)).toBe(false);
  expect(sharedX(key, new Uint8Array(97))).toBe(null);
  vi.resetModules();
  const without = await import('./ec-key.js');
  const unloaded = /no entry point/;
  expect(() => without.verify(key.point, body, new Uint8Array(2 * FIELD_SIZE))).toThrow(unloaded);
  expect(() => without.sharedX(key, key.point)).toThrow(unloaded);
});
