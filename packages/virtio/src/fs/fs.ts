/**
 * Plugin: a virtio file system device, a directory of the host's in the guest.
 */
import { VmmError, type VmPlugin } from '@cloister/core';
import { virtioDevice } from '../transport/bus.js';
import { type FsOptions, fsModel, TAG_BYTES } from './fs-model.js';
import { NO_SHARE, type ShareServer } from './share.js';

export interface VirtioFsOptions extends FsOptions {
  /** Opens the share when the VM is assembled, but not in a replay; the device closes it. */
  readonly share: () => ShareServer;
}

const QUEUES_MAX = 64;

export function virtioFs(options: VirtioFsOptions): VmPlugin {
  const { name = 'fs0', tag, queues = 1 } = options;
  const length = new TextEncoder().encode(tag).length;
  if (length === 0 || length > TAG_BYTES || tag.includes('\0')) {
    throw new VmmError('invalid-argument', `${JSON.stringify(tag)} is no tag of a share`, {
      remedy: 'give 1 to 36 bytes',
    });
  }
  if (!Number.isInteger(queues) || queues < 1 || queues > QUEUES_MAX) {
    throw new VmmError('invalid-argument', `${queues} is no number of queues from 1 to 64`);
  }
  return virtioDevice(`virtio-${name}`, ({ input, clock }) => {
    const share = input.replaying ? NO_SHARE : options.share();
    return fsModel({ ...options, name }, { share, input, clock });
  });
}
