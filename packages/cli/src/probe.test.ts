// What `cloister probe` prints.
import type { BackendProbe, CpuBackend } from '@cloister/core';
import { expect, test } from 'vitest';
import { probe, probeText } from './probe.js';

const backend = (result: BackendProbe): CpuBackend => ({
  name: result.name,
  probe: async () => result,
  createVm: () => Promise.reject(new Error('not in a probe')),
});

test('an available backend is followed by its facts and capabilities', async () => {
  const found: BackendProbe = {
    name: 'emu',
    available: true,
    capabilities: ['cpu.long-mode', 'cpu.emulated'],
    details: [['model', 'AuthenticAMD']],
  };
  const choice = { name: 'emu', module: 'm', load: async () => backend(found) };
  expect(probeText(await probe([choice]))).toBe(
    'emu: available\n  model: AuthenticAMD\n  cpu.long-mode\n  cpu.emulated\n',
  );
});

test('an unavailable backend says why and what to do', async () => {
  const found: BackendProbe = {
    name: 'kvm',
    available: false,
    reason: 'no /dev/kvm',
    remedy: 'enable virtualization',
    capabilities: [],
    details: [],
  };
  const choice = { name: 'kvm', module: 'm', load: async () => backend(found) };
  expect(probeText(await probe([choice]))).toBe(
    'kvm: unavailable (no /dev/kvm; enable virtualization)\n',
  );
});

test('a package that is not installed is a remedy, not an error', async () => {
  const module = '@cloister/no-such-backend';
  const choice = { name: 'kvm', module, load: () => import(module) };
  expect(probeText(await probe([choice]))).toBe(
    'kvm: unavailable (the @cloister/no-such-backend package is not installed; ' +
      'use another backend, or a release that has it)\n',
  );
});

test('a package that does not load is told as such', async () => {
  const load = () => Promise.reject(new Error('bad build'));
  expect(probeText(await probe([{ name: 'kvm', module: 'm', load }]))).toBe(
    'kvm: unavailable (the m package does not load: bad build)\n',
  );
});
