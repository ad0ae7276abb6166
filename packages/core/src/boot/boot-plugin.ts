/**
 * Plugin: what the VM boots, e.g. `boot(linux({ kernel, append: 'console=ttyS0' }))`.
 */
import type { BootSource } from '../interfaces/launch-plan.js';
import type { VmPlugin } from '../interfaces/plugin.js';

/** The plugin for a boot source. */
export function boot(source: BootSource): VmPlugin {
  return {
    name: 'boot',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: ['boot'],
    setup: (context) => context.setBootSource(source),
  };
}
