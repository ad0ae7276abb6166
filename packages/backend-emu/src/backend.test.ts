/** The backend as core sees it: what it says of itself, and what it refuses. */
import { type CpuExtension, createVm, definePlugin } from '@cloister/core';
import { describe, expect, it } from 'vitest';
import { emulated, emulatedBackend } from './index.js';

function withExtension(extension: CpuExtension) {
  return definePlugin({
    name: 'extender',
    version: '1.0.0',
    api: 1,
    setup: (context) => context.addCpuExtension(extension),
  });
}

describe('the emulated backend', () => {
  it('is available everywhere and names its model', async () => {
    const probe = await emulatedBackend().probe();
    expect(probe.available).toBe(true);
    expect(Object.fromEntries(probe.details)['CPU model']).toBe('cloister-v1');
  });

  it('refuses what an extension needs and it lacks', async () => {
    const extension: CpuExtension = { name: 'walls', intercept: () => ({ kind: 'proceed' }) };
    const vm = createVm({ memory: '4M' }).use(emulated(), withExtension(extension)).build();
    await expect(vm).rejects.toMatchObject({ code: 'unsupported', message: /intercept/ });
  });

  it('refuses memory that a WebAssembly memory cannot hold', async () => {
    const vm = createVm({ memory: '8G' }).use(emulated()).build();
    await expect(vm).rejects.toMatchObject({ code: 'invalid-config' });
  });
});
