/**
 * The virtio devices of a run: its options as plugins.
 */
import type { VmPlugin } from '@cloister/core';
import {
  type ConsoleEnd,
  virtioBalloon,
  virtioBlk,
  virtioConsole,
  virtioMmio,
  virtioPci,
  virtioRng,
} from '@cloister/virtio';
import { fileDisk, overlayDisk } from '@cloister/virtio/node';
import type { DiskChoice } from './disk-option.js';
import type { RunOptions } from './run-options.js';

type VirtioRunOptions = Pick<RunOptions, 'virtio' | 'disks' | 'rng' | 'balloon' | 'console'>;

/**
 * Transport and devices; `terminal` is for the console, if the run has one. Nothing when the run
 * has no device.
 */
export function virtioPlugins(options: VirtioRunOptions, terminal: ConsoleEnd): VmPlugin[] {
  const devices = [
    ...options.disks.map(disk),
    ...(options.rng ? [virtioRng()] : []),
    ...(options.balloon === undefined ? [] : [virtioBalloon({ size: options.balloon })]),
    ...(options.console === 'virtio' ? [virtioConsole(terminal)] : []),
  ];
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
