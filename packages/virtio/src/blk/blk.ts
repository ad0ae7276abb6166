/**
 * Plugin: a virtio block device over a disk of the host's.
 */
import { VmmError, type VmPlugin } from '@cloister/core';
import { virtioDevice } from '../transport/bus.js';
import { type BlkOptions, blkModel } from './blk-model.js';
import type { Disk, DiskUse } from './disk.js';

export interface VirtioBlkOptions extends BlkOptions {
  /**
   * Opens the disk when the VM is assembled; the device closes it. Pass `use` on to what opens it:
   * `(use) => fileDisk('disk.img', use)`.
   */
  readonly disk: (use: DiskUse) => Disk;
}

const QUEUES_MAX = 64;

export function virtioBlk(options: VirtioBlkOptions): VmPlugin {
  const { name = 'blk0', serial, queues = 1 } = options;
  if (!Number.isInteger(queues) || queues < 1 || queues > QUEUES_MAX) {
    throw new VmmError('invalid-argument', `${queues} is no number of queues from 1 to 64`);
  }
  if (serial !== undefined && !/^[\x20-\x7e]{0,20}$/.test(serial)) {
    throw new VmmError('invalid-argument', 'a serial number has at most 20 ASCII characters');
  }
  return virtioDevice(`virtio-${name}`, ({ input, clock }) => {
    const disk = options.disk({ replaying: input.replaying });
    return blkModel({ ...options, name }, { disk, input, clock });
  });
}
