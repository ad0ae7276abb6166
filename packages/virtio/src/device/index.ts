/** What virtio devices are made of: status and features, queues, host work. */
export {
  Controller,
  type ControllerOptions,
  type ControllerPorts,
  type SavedController,
} from './controller.js';
export * from './features.js';
export {
  HostResult,
  HostWork,
  type HostWorkOptions,
  type SavedWork,
  savedWorkField,
  type Work,
} from './host-work.js';
export type { VirtioModel, VirtioPort } from './model.js';
export { type RateLimit, RateLimiter, type RateState, rateField } from './rate-limiter.js';
