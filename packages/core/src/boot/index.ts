/** Boot sources: from a kernel's file to a launch plan, and the plain loader. */
export { boot } from './boot-plugin.js';
export { type FlatMode, type FlatOptions, flat } from './flat.js';
export {
  detect,
  KERNEL_ENTRIES,
  type KernelEntry,
  type KernelFile,
  type KernelKind,
  type KernelOptions,
  kernelSource,
} from './kernel-file.js';
export { LINUX_LAYOUT, type LinuxOptions, linux } from './linux.js';
export { loadPlan } from './load-plan.js';
export * from './memory-layout.js';
export { type MultibootModule, type MultibootOptions, multiboot } from './multiboot.js';
export { type PvhOptions, pvh } from './pvh.js';
