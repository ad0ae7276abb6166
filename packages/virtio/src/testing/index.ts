/** For authors of virtio devices: a mock driver, guest memory, a device to test transports with. */
export * from './driver-queue.js';
export * from './echo-model.js';
export * from './fake-ram.js';
export * from './mmio-driver.js';
export * from './mock-driver.js';
