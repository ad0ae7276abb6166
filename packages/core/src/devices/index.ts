/** Devices of a PC, and the plugins that add them to a VM. */
export * from './acpi-pm.js';
export * from './boot-timer.js';
export * from './debug-exit.js';
export * from './i8042.js';
export * from './i8254.js';
export * from './i8259.js';
export * from './ioapic.js';
export * from './irq-lines.js';
export * from './mc146818.js';
export * from './pc.js';
export * from './port-92.js';
export * from './post-port.js';
export * from './serial.js';
export * as state from './state.js';
export * from './uart-16550.js';
export type * from './uart-16550-ports.js';
