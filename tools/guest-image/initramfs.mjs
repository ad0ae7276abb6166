// Builds an initial root file system: busybox with its applets, an init script, further files, and
// kernel modules with what they depend on, where the guest's modprobe finds them.
//
// The same input gives the same bytes. The archive is not compressed: an emulated processor reads
// it faster than it would expand it.

import { readFileSync } from 'node:fs';
import { cpio } from './cpio.mjs';
import { modulesDep, resolveModules } from './modules.mjs';

/** Applets that get a link unless others are named; `busybox NAME` runs any without one. */
export const APPLETS = [
  ...['awk', 'cat', 'chmod', 'cp', 'cttyhack', 'cut', 'date', 'dd', 'df', 'dmesg', 'echo', 'env'],
  ...['expr', 'false', 'find', 'free', 'grep', 'halt', 'head', 'hexdump', 'hostname', 'id'],
  ...['ifconfig', 'insmod', 'ip', 'kill', 'ln', 'ls', 'lsmod', 'md5sum', 'mkdir', 'mknod'],
  ...['modprobe', 'more', 'mount', 'mv', 'nproc', 'od', 'ping', 'poweroff', 'printf', 'ps', 'pwd'],
  ...['reboot', 'rm', 'rmmod', 'sed', 'seq', 'setsid', 'sh', 'sha256sum', 'sleep', 'sort', 'stat'],
  ...['stty', 'switch_root', 'sync', 'tail', 'tar', 'test', 'top', 'touch', 'tr', 'true', 'umount'],
  ...['uname', 'uniq', 'uptime', 'usleep', 'vi', 'wc', 'wget', 'xargs', 'yes'],
];

const MOUNT_POINTS = ['dev', 'mnt', 'proc', 'root', 'run', 'sys', 'tmp'];

/**
 * @typedef {object} InitramfsOptions
 * @property {string} init the script that becomes /init
 * @property {string} [busybox] path of a static busybox; without it there is no /bin
 * @property {string[]} [applets] commands to link in /bin, `APPLETS` unless told
 * @property {{ path: string, mode?: number, data?: string|Uint8Array, source?: string }[]} [files]
 *   further files, their contents given or read from the file `source`
 * @property {string[]} [modules] kernel modules by name; dependencies come along
 * @property {string} [modulesDir] the kernel's /lib/modules/VERSION, needed for `modules`
 * @property {string} [version] what `uname -r` prints, needed for `modules`
 */

/**
 * @param {InitramfsOptions} options
 * @returns {Promise<Buffer>} a cpio archive
 */
export async function initramfs(options) {
  const { init, busybox, applets = APPLETS, files = [], modules = [] } = options;
  const entries = [
    { path: 'init', mode: 0o755, data: Buffer.from(init) },
    // The kernel opens it as init's standard streams before any devtmpfs is mounted.
    { path: 'dev/console', type: 'character-device', device: [5, 1] },
    ...MOUNT_POINTS.map((path) => ({ path, type: 'directory' })),
    ...files.map(({ path, mode, data, source }) => ({
      path,
      mode,
      data: source === undefined ? Buffer.from(data ?? '') : readFileSync(source),
    })),
  ];
  if (busybox !== undefined) {
    entries.push({ path: 'bin/busybox', mode: 0o755, data: readFileSync(busybox) });
    entries.push(
      ...applets.map((name) => ({ path: `bin/${name}`, type: 'symlink', target: 'busybox' })),
    );
  }
  if (modules.length > 0) entries.push(...(await moduleEntries(options)));
  return cpio(entries);
}

async function moduleEntries({ modules, modulesDir, version }) {
  if (modulesDir === undefined || version === undefined) {
    throw new TypeError('modules need modulesDir and version, as image() returns them');
  }
  const resolved = await resolveModules(modulesDir, modules);
  const folder = `lib/modules/${version}`;
  return [
    ...resolved.map(({ path, data }) => ({ path: `${folder}/${path}`, data })),
    { path: `${folder}/modules.dep`, data: Buffer.from(modulesDep(resolved)) },
  ];
}
