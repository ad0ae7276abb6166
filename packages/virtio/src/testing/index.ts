/** For authors of virtio devices: a mock driver, guest memory, a device to test transports with. */
export { DirectInput } from './direct-input.js';
export * from './driver-queue.js';
export * from './echo-model.js';
export * from './fake-ram.js';
export type { SampleRequest, VirtioKitPorts, VirtioSubject } from './kit-case.js';
export * from './mmio-driver.js';
export * from './mock-driver.js';
export * from './pci-driver.js';
export { KIT_CLAUSES, virtioKit } from './virtio-kit.js';
