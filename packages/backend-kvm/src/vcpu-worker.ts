/**
 * The entry of a vCPU's Worker; see `vcpu-loop.ts`.
 */
import { workerData } from 'node:worker_threads';
import { addonSys } from './sys/addon.js';
import { ThreadSignals } from './thread-signals.js';
import { VcpuLoop } from './vcpu-loop.js';
import type { VcpuWorkerData } from './vcpu-mailbox.js';

const loaded = addonSys();
if (!('sys' in loaded)) throw new Error(loaded.reason);
const signals = ThreadSignals.acquire(loaded.sys);
try {
  new VcpuLoop(loaded.sys, signals, workerData as VcpuWorkerData).serve();
} finally {
  signals.release();
}
