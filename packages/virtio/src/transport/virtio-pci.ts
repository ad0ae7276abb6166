/**
 * Plugin: the virtio-pci transport, with a PCI host bridge that ACPI describes.
 */
import { VmmError, type VmPlugin } from '@cloister/core';
import { amlResources } from '@cloister/core/acpi';
import type { ControllerOptions } from '../device/controller.js';
import { CONFIG_ADDRESS, PciHost, WINDOW_BASE, WINDOW_LENGTH } from '../pci/pci-host.js';
import { VIRTIO_BUS, VIRTIO_TRANSPORT, type VirtioBus } from './bus.js';
import { pciDevice } from './pci.js';

function bus(host: PciHost, options: ControllerOptions): VirtioBus {
  return {
    transport: 'pci',
    attach(context, model) {
      const device = pciDevice(
        model,
        options,
      )({
        dma: context.dma,
        clock: context.clock,
        sendMsi: (address, data) => context.interrupts.sendMsi(address, data),
        failed: (reason) => context.guestFault(`${model.name} needs a reset: ${reason}`),
      });
      if (!host.add(device)) {
        throw new VmmError('plugin-conflict', 'all 31 slots of the PCI bus are taken', {
          remedy: 'use fewer devices',
        });
      }
      context.addDevice(device);
    },
  };
}

/** The virtio-pci transport; use it before the devices. */
export function virtioPci(options: ControllerOptions = {}): VmPlugin {
  return {
    name: 'virtio-pci',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: [VIRTIO_TRANSPORT, 'pci'],
    setup(context) {
      const host = new PciHost();
      context.addDevice(host);
      // The reset register of ACPI lies among these ports; only a whole dword is an address.
      context.addExitHandler({
        name: 'pci-config-address',
        filter: { kind: 'io', ports: { base: CONFIG_ADDRESS, length: 4 } },
        handle: (exit) => (host.accessAddress(exit) ? 'handled' : 'pass'),
      });
      context.addAcpiNode({
        name: 'PCI0',
        hid: 'PNP0A03',
        uid: 0,
        resources: [
          amlResources.busNumbers(0, 0),
          amlResources.memoryWindow(WINDOW_BASE, WINDOW_LENGTH),
        ],
        io: { base: CONFIG_ADDRESS, length: 8 },
      });
      context.provide(VIRTIO_BUS, bus(host, options));
    },
  };
}
