/**
 * @cloister/virtio: virtio devices, and the transports that put them in front of a guest.
 */
export { BALLOON, type BalloonControl, virtioBalloon } from './balloon/balloon.js';
export {
  BALLOON_DEVICE_ID,
  type BalloonCounters,
  type BalloonModel,
  type BalloonPorts,
  balloonModel,
} from './balloon/balloon-model.js';
export { type VirtioBlkOptions, virtioBlk } from './blk/blk.js';
export { BLK_DEVICE_ID, type BlkOptions, type BlkPorts, blkModel } from './blk/blk-model.js';
export * from './blk/disk.js';
export {
  type ConsoleControl,
  type ConsoleEnd,
  type ConsoleOptions,
  type NamedConsoleEnd,
  VIRTIO_CONSOLE,
  virtioConsole,
} from './console/console.js';
export {
  CONSOLE_DEVICE_ID,
  type ConsoleModel,
  type ConsolePortEnd,
  type ConsolePorts,
  consoleModel,
} from './console/console-model.js';
export * from './device/index.js';
export { type VirtioFsOptions, virtioFs } from './fs/fs.js';
export { FS_DEVICE_ID, type FsOptions, type FsPorts, fsModel } from './fs/fs-model.js';
export type { ShareServer } from './fs/share.js';
export type { FrameSink, NetBackend, NetPort } from './net/backend.js';
export { batchOf, formatMac, framesOf, parseMac } from './net/frames.js';
export { type VirtioNetOptions, virtioNet } from './net/net.js';
export {
  NET_DEVICE_ID,
  type NetModel,
  type NetOptions,
  type NetPorts,
  netModel,
} from './net/net-model.js';
export { pcapHeader, pcapRecord } from './net/pcap.js';
export { type NetSwitch, netSwitch, type SwitchOptions, type SwitchPort } from './net/switch.js';
export { type TapDevice, type TapOptions, tapBackend } from './net/tap.js';
export * from './queue/index.js';
export { virtioRng } from './rng/rng.js';
export { RNG_DEVICE_ID, type RngOptions, rngModel } from './rng/rng-model.js';
export * from './transport/bus.js';
export * from './transport/mmio.js';
export { type PciPorts, pciDevice, type VirtioPciFunction } from './transport/pci.js';
export * from './transport/virtio-mmio.js';
export { virtioPci } from './transport/virtio-pci.js';
export { type VsockOptions, virtioVsock } from './vsock/vsock.js';
export type {
  VsockEvent,
  VsockHost,
  VsockHostPorts,
} from './vsock/vsock-host.js';
export { VSOCK_CID, VSOCK_DEVICE_ID, type VsockModel, vsockModel } from './vsock/vsock-model.js';
