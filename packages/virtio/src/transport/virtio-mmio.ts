/**
 * Plugin: the virtio-mmio transport. Each device gets a slot of registers and an interrupt, and is
 * announced by ACPI (LNRO0005) or, to a guest without ACPI, on its command line.
 *
 * Source: Linux drivers/virtio/virtio_mmio.c (`virtio_mmio.device=SIZE@BASE:IRQ`, ACPI id).
 */
import { type Device, type PluginContext, VmmError, type VmPlugin } from '@cloister/core';
import type { ControllerOptions } from '../device/controller.js';
import { VIRTIO_BUS, VIRTIO_TRANSPORT, type VirtioBus } from './bus.js';
import { MMIO, MMIO_LENGTH, mmioDevice } from './mmio.js';

export interface VirtioMmioOptions extends ControllerOptions {
  /** Describes the devices to ACPI; true unless given. */
  readonly acpi?: boolean;
}

/** Slots lie in the hole below 4 GiB that is never RAM. */
export const MMIO_BASE = 0xd000_0000;
export const MMIO_SLOTS = 64;
/** Interrupts of the slots, taken in turn: IOAPIC pins that no ISA device has; they share. */
const GSI_FIRST = 16;
const GSI_COUNT = 8;

/** Registers and interrupt of a slot. */
export function mmioSlot(index: number): { readonly base: number; readonly gsi: number } {
  return { base: MMIO_BASE + index * MMIO_LENGTH, gsi: GSI_FIRST + (index % GSI_COUNT) };
}

/** What a Linux without ACPI has to be told to find the first `count` devices. */
export function mmioCommandLine(count: number): string {
  return Array.from({ length: count }, (_, index) => {
    const { base, gsi } = mmioSlot(index);
    return `virtio_mmio.device=4K@0x${base.toString(16)}:${gsi}`;
  }).join(' ');
}

function bus(options: VirtioMmioOptions): VirtioBus {
  let used = 0;
  return {
    transport: 'mmio',
    attach(context, model) {
      if (used === MMIO_SLOTS) {
        throw new VmmError('plugin-conflict', `all ${MMIO_SLOTS} virtio-mmio slots are taken`, {
          remedy: 'use fewer devices',
        });
      }
      const index = used++;
      const { base, gsi } = mmioSlot(index);
      const device = mmioDevice(model, { ...options, base })({
        dma: context.dma,
        clock: context.clock,
        irq: context.irq(gsi),
        failed: (reason) => context.guestFault(`${model.name} needs a reset: ${reason}`),
      });
      context.addDevice(device);
      context.onStart(() => listen(context, device, base, model.queueSizes.length));
      if (options.acpi === false) return;
      context.addAcpiNode({
        name: `VM${index.toString(16).toUpperCase().padStart(2, '0')}`,
        hid: 'LNRO0005',
        uid: index,
        mmio: { base, length: MMIO_LENGTH },
        gsi,
      });
    },
  };
}

/** Where the backend has doorbells, notifications of queues are some. */
function listen({ doorbells }: PluginContext, device: Device, base: number, queues: number): void {
  if (doorbells === undefined) return;
  const address = base + MMIO.QueueNotify;
  for (let queue = 0; queue < queues; queue++) {
    const place = { space: 'mmio', address, length: 4, value: BigInt(queue) } as const;
    doorbells.watch(place, () => device.write(0, MMIO.QueueNotify, 4, queue));
  }
}

/** The virtio-mmio transport; use it before the devices. */
export function virtioMmio(options: VirtioMmioOptions = {}): VmPlugin {
  return {
    name: 'virtio-mmio',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: [VIRTIO_TRANSPORT],
    setup: (context) => context.provide(VIRTIO_BUS, bus(options)),
  };
}
