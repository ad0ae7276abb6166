/**
 * @cloister/core/worker: a VM in a Worker of its own, in Node and in browsers.
 */
export { type BuildVm, serveVm } from './serve-vm.js';
export type { VmModule, WebWorker, WebWorkerEvent } from './thread.js';
export { runInWorker, type WorkerVm, type WorkerVmOptions } from './worker-vm.js';
