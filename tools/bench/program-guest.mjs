// A guest of the benchmarks: Debian's cloud kernel, and an initial RAM disk with busybox, modules
// and a static program that is built from a C file beside this one.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { image, initramfs } from '../guest-image/index.mjs';

/** Makes it in `folder`; `name` is the program's, `init` the script that runs as /init. */
export async function programGuest({ folder, name, init, modules, log }) {
  const guest = await image({ log });
  const program = join(folder, name);
  const source = new URL(`${name}.c`, import.meta.url).pathname;
  execFileSync('gcc', ['-O2', '-static', source, '-o', program]);
  const initrd = join(folder, 'initrd');
  const { busyboxPath: busybox, kernelPath, modulesDir, version } = guest;
  const files = [{ path: name, mode: 0o755, data: readFileSync(program) }];
  writeFileSync(initrd, await initramfs({ init, busybox, files, modules, modulesDir, version }));
  return { kernel: kernelPath, initrd, version };
}
