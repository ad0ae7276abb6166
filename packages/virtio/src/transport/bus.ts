/**
 * The bus that virtio device plugins attach to: virtio-mmio or virtio-pci, whichever
 * plugin is used.
 */
import type { PluginContext, ServiceToken, VmPlugin } from '@cloister/core';
import type { VirtioModel } from '../device/model.js';

export interface VirtioBus {
  /** `mmio` or `pci`. */
  readonly transport: string;
  /**
   * Puts a device on the next free slot and adds it to the VM. `context` is that of the device's
   * plugin. `VmmError('plugin-conflict')` when there is no slot left.
   */
  attach(context: PluginContext, model: VirtioModel<never>): void;
}

export const VIRTIO_BUS: ServiceToken<VirtioBus> = {
  key: Symbol.for('@cloister/virtio/bus'),
};

/** The capability that a transport provides and device plugins require. */
export const VIRTIO_TRANSPORT = 'virtio.transport';

/** A plugin that adds one virtio device, made by `make` for the VM under assembly. */
export function virtioDevice<State>(
  name: string,
  make: (context: PluginContext) => VirtioModel<State>,
): VmPlugin {
  return {
    name,
    version: '0.1.0',
    api: 1,
    requires: [VIRTIO_TRANSPORT],
    provides: [],
    setup(context) {
      const model = make(context);
      context.get(VIRTIO_BUS).attach(context, model as unknown as VirtioModel<never>);
    },
  };
}
