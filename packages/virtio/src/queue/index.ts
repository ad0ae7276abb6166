/** Virtqueues: chains, the split and the packed ring. */
export * from './chain.js';
export { packedRing } from './packed-queue.js';
export { splitRing } from './split-queue.js';
export * from './virtqueue.js';
