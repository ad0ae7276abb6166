/** What virtio devices need of a host that runs Node: files. */
export { type FileDiskOptions, fileDisk } from './file-disk.js';
export { type OverlayOptions, overlayDisk } from './overlay-disk.js';
