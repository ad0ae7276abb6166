/**
 * @cloister/virtio: virtio devices, and the transports that put them in front of a guest.
 */
export * from './device/index.js';
export * from './queue/index.js';
export { virtioRng } from './rng/rng.js';
export { RNG_DEVICE_ID, type RngOptions, rngModel } from './rng/rng-model.js';
export * from './transport/bus.js';
export * from './transport/mmio.js';
export * from './transport/virtio-mmio.js';
