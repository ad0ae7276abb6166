// A Worker that runs a vCPU without a machine around it, and counts the kicks that end its runs.

import { parentPort, workerData } from 'node:worker_threads';
import { kvmBackend } from '@cloister/backend-kvm';
import { load, makeVm } from '@cloister/backend-kvm/testing';

const { code, answered, fail } = workerData;
const words = new Int32Array(answered);
const vm = await makeVm();
load(vm, code);
const [cpu] = vm.vcpus;
parentPort.postMessage(cpu.kickHandle);
if ((await kvmBackend().probe()).available === false) throw new Error('no KVM');
// An hour: only a kick ends a run.
while (Atomics.load(words, 1) === 0) {
  if (cpu.run(3600e9, () => {}) !== 'kicked') continue;
  Atomics.add(words, 0, 1);
  Atomics.notify(words, 0);
  if (fail) throw new Error('on purpose');
}
await vm.dispose();
