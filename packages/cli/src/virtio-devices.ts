/**
 * The virtio devices of a run: its options as plugins.
 */
import type { VmPlugin } from '@cloister/core';
import { virtioBlk, virtioMmio, virtioPci, virtioRng } from '@cloister/virtio';
import { fileDisk, overlayDisk } from '@cloister/virtio/node';
import type { DiskChoice } from './disk-option.js';
import type { RunOptions } from './run-options.js';

type VirtioRunOptions = Pick<RunOptions, 'virtio' | 'disks' | 'rng'>;

/** Transport and devices; nothing when the run has no device. */
export function virtioPlugins(options: VirtioRunOptions): VmPlugin[] {
  const devices = [...options.disks.map(disk), ...(options.rng ? [virtioRng()] : [])];
  const transport = options.virtio === 'pci' ? virtioPci : virtioMmio;
  return devices.length === 0 ? [] : [transport(), ...devices];
}

function disk({ file, readOnly, overlay, serial }: DiskChoice, index: number): VmPlugin {
  return virtioBlk({
    name: `blk${index}`,
    ...(serial === undefined ? {} : { serial }),
    disk: () =>
      overlay === undefined ? fileDisk(file, { readOnly }) : overlayDisk({ base: file, overlay }),
  });
}
