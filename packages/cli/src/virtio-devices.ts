/**
 * The virtio devices of a run: its options as plugins.
 */
import type { VmPlugin } from '@cloister/core';
import {
  type ConsoleEnd,
  type Disk,
  type DiskUse,
  tapBackend,
  virtioBalloon,
  virtioBlk,
  virtioConsole,
  virtioFs,
  virtioMmio,
  virtioNet,
  virtioPci,
  virtioRng,
  virtioVsock,
} from '@cloister/virtio';
import {
  fileDisk,
  hostShare,
  overlayDisk,
  passt,
  pcapFile,
  unixVsock,
} from '@cloister/virtio/node';
import { openTap } from './backends.js';
import type { DiskChoice } from './disk-option.js';
import type { NetChoice } from './net-option.js';
import type { RunOptions } from './run-options.js';
import { type ShareChoice, tagsOf } from './share-option.js';
import type { VsockChoice } from './vsock-option.js';

type VirtioRunOptions = Pick<
  RunOptions,
  'virtio' | 'disks' | 'nets' | 'vsock' | 'shares' | 'rng' | 'balloon' | 'console'
>;

/**
 * Transport and devices; `terminal` is for the console, if the run has one, `open` opens a disk.
 * Nothing when the run has no device.
 */
export function virtioPlugins(
  options: VirtioRunOptions,
  terminal: ConsoleEnd,
  open: typeof openDisk,
): VmPlugin[] {
  const devices = [
    ...options.disks.map((choice, index) => disk(choice, index, open)),
    ...options.nets.map(net),
    ...(options.vsock === undefined ? [] : [vsock(options.vsock)]),
    ...shares(options.shares),
    ...(options.rng ? [virtioRng()] : []),
    ...(options.balloon === undefined ? [] : [virtioBalloon({ size: options.balloon })]),
    ...(options.console === 'virtio' ? [virtioConsole(terminal)] : []),
  ];
  const transport = options.virtio === 'pci' ? virtioPci : virtioMmio;
  return devices.length === 0 ? [] : [transport(), ...devices];
}

function vsock({ directory, cid }: VsockChoice): VmPlugin {
  return virtioVsock({ ...(cid === undefined ? {} : { cid }), host: unixVsock({ directory }) });
}

function shares(choices: readonly ShareChoice[]): VmPlugin[] {
  const tags = tagsOf(choices);
  return choices.map(({ directory, readOnly }, index) => {
    const share = () => hostShare({ directory, readOnly });
    return virtioFs({ name: `fs${index}`, tag: tags[index]!, share });
  });
}

/** The host's file of a disk. */
export function openDisk({ file, readOnly, overlay }: DiskChoice, use: DiskUse): Disk {
  return overlay === undefined
    ? fileDisk(file, { readOnly, ...use })
    : overlayDisk({ base: file, overlay, ...use });
}

function disk(choice: DiskChoice, index: number, open: typeof openDisk): VmPlugin {
  const { serial, queues, bps, iops, latency } = choice;
  return virtioBlk({
    name: `blk${index}`,
    ...(serial !== undefined && { serial }),
    ...(queues !== undefined && { queues }),
    ...(latency !== undefined && { latency: latency * 1000 }),
    rateLimit: {
      ...(bps !== undefined && { bytesPerSecond: bps }),
      ...(iops !== undefined && { operationsPerSecond: iops }),
    },
    disk: (use) => open(choice, use),
  });
}

function net(choice: NetChoice, index: number): VmPlugin {
  const { tap, mac, mtu, bps, tcp, udp, pcap, pcapLimit } = choice;
  const size = mtu === undefined ? {} : { mtu };
  const limit = pcapLimit === undefined ? {} : { limit: pcapLimit };
  return virtioNet({
    name: `net${index}`,
    ...(mac && { mac }),
    ...(bps !== undefined && { rateLimit: { bytesPerSecond: bps } }),
    backend: () =>
      tap === undefined
        ? passt({ ...size, tcp, udp })
        : tapBackend({ ...size, open: () => openTap(tap) }),
    ...(pcap !== undefined && { capture: (epoch) => pcapFile(pcap, epoch, limit) }),
  });
}
