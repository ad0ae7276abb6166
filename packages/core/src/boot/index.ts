/** Boot sources: from a kernel's file to a launch plan, and the plain loader. */

export { LINUX_LAYOUT, type LinuxOptions, linux } from './linux.js';
export { loadPlan } from './load-plan.js';
export * from './memory-layout.js';
