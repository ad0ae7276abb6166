/** @cloister/backend-kvm: the host's own processor, by Linux' KVM. */
export { type KvmOptions, kvm, kvmBackend } from './backend.js';
export type { Breakpoint, DebugRequest } from './debug.js';
export {
  type EventFd,
  type EventFdPlace,
  type InterruptTarget,
  signalEventFd,
  takeEventFd,
} from './event-fds.js';
export type { KvmIrqchip } from './interrupts.js';
export { type KickHandle, kick } from './kick.js';
export { addonSys } from './sys/addon.js';
export type { Sys, Word } from './sys/sys.js';
export { openTap, type Tap } from './tap/tap.js';
export type { KvmVcpu } from './vcpu.js';
export type { KvmVm } from './vm.js';
