/** What virtio devices need of a host that runs Node: files, sockets, and passt. */
export { type FileDiskOptions, fileDisk } from './file-disk.js';
export { type OverlayOptions, overlayDisk } from './overlay-disk.js';
export { type PasstOptions, passt } from './passt.js';
export { type PcapOptions, pcapFile } from './pcap-file.js';
export { type HostShareOptions, hostShare } from './share/host-share.js';
export { type UnixVsockOptions, unixVsock } from './unix-vsock.js';
