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

/** The path of an initial root file system with this init script and these kernel modules. */
export async function initrd(
  guest: Guest,
  init: string,
  modules: readonly string[] = [],
): Promise<string> {
  const { busyboxPath: busybox, modulesDir, version } = guest;
  const bytes = await initramfs({ init, busybox, modules: [...modules], modulesDir, version });
  const name = `initramfs-${sha256(bytes).slice(0, 16)}.cpio`;
  return publishFile(join(cacheDirectory(), 'tests', name), bytes);
}

export { BOOT_OK, CPU_REPORT, SHELL };

export const COMMAND_LINE = 'console=ttyS0 panic=-1';
