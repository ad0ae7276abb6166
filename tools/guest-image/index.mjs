// Guest images for tests, benchmarks and `npm start`: Debian's kernel, modules and busybox by
// package name, and initial root file systems made of them.
//
//   const guest = await image({ kernel: 'cloud' });
//   const bytes = await initramfs({
//     init: '#!/bin/sh\nmodprobe virtio_blk\n…',
//     busybox: guest.busyboxPath,
//     modules: ['virtio_blk'],
//     ...guest, // modulesDir and version
//   });
export { cacheDirectory, publishFile, sha256 } from './cache.mjs';
export { cpio } from './cpio.mjs';
export { image, MIRROR_VARIABLE, NoImageError, SUITE } from './image.mjs';
export { APPLETS, initramfs } from './initramfs.mjs';
export { extractVmlinux } from './vmlinux.mjs';
