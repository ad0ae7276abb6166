/** The interfaces that everything in Cloister meets in. */
export * from './backend.js';
export * from './clock.js';
export * from './cpu-extension.js';
export * from './device.js';
export * from './error.js';
export * from './events.js';
export * from './exit.js';
export * from './exit-handler.js';
export * from './input-port.js';
export * from './instruction-assist.js';
export * from './launch-plan.js';
export * from './memory.js';
export * from './memory-encryption.js';
export * from './native-vm-control.js';
export * from './plugin.js';
export * from './snapshot.js';
export * from './vcpu-state.js';
