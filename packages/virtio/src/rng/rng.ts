/**
 * Plugin: a virtio entropy device.
 *
 * Its bytes come from the VM's seed, as everything random does: as unpredictable as the seed, which
 * is fresh unless one is given.
 */
import type { VmPlugin } from '@cloister/core';
import { virtioDevice } from '../transport/bus.js';
import { type RngOptions, rngModel } from './rng-model.js';

export function virtioRng(options: RngOptions = {}): VmPlugin {
  return virtioDevice('virtio-rng', (context) => rngModel(context.random, options));
}
