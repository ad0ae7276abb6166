// What the tests boot: Debian's kernels with initial root file systems of our own.
import { join } from 'node:path';
import {
  cacheDirectory,
  image,
  initramfs,
  NoImageError,
  publishFile,
  sha256,
} from '../../tools/guest-image/index.mjs';
import { BOOT_OK, CPU_REPORT, SHELL } from '../../tools/guest-image/init-scripts.mjs';

export type Guest = Awaited<ReturnType<typeof image>>;

/** A kernel of Debian's, or why there is none here. */
export async function debian(
  kernel: 'cloud' | 'generic' | '686-pae' = 'cloud',
): Promise<Guest | string> {
  try {
    return await image({ kernel });
  } catch (error) {
    if (error instanceof NoImageError) return error.message;
    throw error;
  }
}

/** What the title of a test says that is skipped without `guest`; '' where it is there. */
export function skipped(guest: Guest | string): string {
  return typeof guest === 'string' ? ` (skipped: ${guest})` : '';
}

/** A file of the guest's: `source` is a file of the host's. */
export interface GuestFile {
  readonly path: string;
  readonly mode: number;
  readonly source: string;
}

/** The path of an initial root file system with this init script, kernel modules and files. */
export async function initrd(
  guest: Guest,
  init: string,
  modules: readonly string[] = [],
  files: readonly GuestFile[] = [],
): Promise<string> {
  const { busyboxPath: busybox, modulesDir, version } = guest;
  const parts = { modules: [...modules], files: [...files] };
  const bytes = await initramfs({ init, busybox, ...parts, modulesDir, version });
  const name = `initramfs-${sha256(bytes).slice(0, 16)}.cpio`;
  return publishFile(join(cacheDirectory(), 'tests', name), bytes);
}

export { BOOT_OK, CPU_REPORT, SHELL };

export const COMMAND_LINE = 'console=ttyS0 panic=-1';
