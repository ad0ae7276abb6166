// A guest of the benchmarks: Debian's cloud kernel, and an initial RAM disk with busybox, modules
// and a static program that is built from a C file beside this one.
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { image, initramfs } from '../guest-image/index.mjs';

/**
 * Makes it in `folder`; `name` is the program's, `init` the script that runs as /init, `files` are
 * further ones. Program and busybox are there for the host as well.
 */
export async function programGuest({ folder, name, init, modules, files = [], log }) {
  const guest = await image({ log });
  const program = join(folder, name);
  const source = new URL(`${name}.c`, import.meta.url).pathname;
  execFileSync('gcc', ['-O2', '-static', '-fno-math-errno', source, '-o', program]);
  const initrd = join(folder, 'initrd');
  const { busyboxPath: busybox, kernelPath: kernel, modulesDir, version } = guest;
  const all = [{ path: name, mode: 0o755, data: readFileSync(program) }, ...files];
  const bytes = await initramfs({ init, busybox, files: all, modules, modulesDir, version });
  writeFileSync(initrd, bytes);
  // As it is kept it is data, not a program.
  const shell = join(folder, 'busybox');
  copyFileSync(busybox, shell);
  chmodSync(shell, 0o755);
  return { kernel, initrd, version, program, busybox: shell };
}
