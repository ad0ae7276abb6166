/** A guest that is to leave stands still until it is saved, whatever its output does meanwhile. */
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createVm } from '@cloister/core';
import { fakeBackend, fakeMachine } from '@cloister/core/testing';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readState } from './state-file.js';
import { VmMachine } from './vm-machine.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-machine-'));
  path = join(folder, 'vm.state');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function running() {
  const main = [
    { op: 'work', count: 1000 },
    { op: 'jump', to: 0 },
  ] as const;
  const vm = await createVm({ memory: '1M', seed: 1 })
    .use(fakeMachine(fakeBackend({ programs: [{ main }] })))
    .build();
  await vm.start();
  const options = { saveAt: undefined, dumpMemory: undefined };
  const machine = new VmMachine(vm, options, { reachedSavePoint: () => {} });
  return { vm, machine };
}

test('output that has room again while the guest is saved starts nothing', async () => {
  const { vm, machine } = await running();
  machine.pause();
  await vm.pause();
  const count = vm.instructions;
  const saving = machine.save(path, { leave: true });
  machine.resume();
  expect(vm.status).toBe('paused');
  await saving;
  expect([vm.status, vm.instructions]).toEqual(['paused', count]);
  expect(await readState(path)).toMatchObject({ cpus: 1 });
  await vm.dispose();
});

test('a guest whose save fails goes on, unless its output is still full', async () => {
  const { vm, machine } = await running();
  const fail = async (meanwhile: () => void) => {
    const saving = machine.save(path, { leave: true });
    mkdirSync(`${path}.tmp`);
    meanwhile();
    await expect(saving).rejects.toMatchObject({ code: 'invalid-file' });
    rmdirSync(`${path}.tmp`);
  };
  await fail(() => {});
  expect(vm.status).toBe('running');
  await fail(() => machine.pause());
  await vm.pause();
  await fail(() => {});
  expect(vm.status).toBe('paused');
  await fail(() => machine.resume());
  expect(vm.status).toBe('running');
  expect(existsSync(path)).toBe(false);
  await vm.dispose();
});
