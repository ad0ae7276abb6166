// Builds the guest's image with GNU gcc and binutils, byte for byte as committed.
//
//   node examples/guest/build.mjs            writes guest.bin
//   node examples/guest/build.mjs --check    compares, and fails on a difference
//
// What a compiler makes of C differs from version to version: the committed image is that of
// Debian 12's. A fresh clone needs none of this.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));

/** The committed image. */
export const GUEST_IMAGE = join(folder, 'guest.bin');

/** Whose code the committed image is. */
const COMPILER = '12.2.0';
const LINKER = '2.40';

const FLAGS = [
  '-m64 -O2 -std=gnu11 -Wall -Wextra -Werror -ffreestanding -nostdinc',
  // Exceptions come at any instruction, on the same stack, and nobody saves vector registers.
  '-mno-red-zone -mgeneral-regs-only -fno-stack-protector',
  '-fno-pic -fno-pie -mcmodel=small -fcf-protection=none -fno-asynchronous-unwind-tables',
  // The guest's own memcpy must not become a call of itself; one function is one piece of text.
  '-fno-tree-loop-distribute-patterns -fno-strict-aliasing -fno-common -Wa,--fatal-warnings',
]
  .join(' ')
  .split(' ');

/** Why the image cannot be built here byte for byte, or null. */
export function whyNoCompiler() {
  const gcc = spawnSync('gcc', ['--version'], { encoding: 'utf8' });
  if (gcc.status !== 0) return 'there is no gcc';
  if (!gcc.stdout.includes(` ${COMPILER}`)) return `gcc is not ${COMPILER}, Debian 12's`;
  const machine = spawnSync('gcc', ['-dumpmachine'], { encoding: 'utf8' }).stdout;
  if (!machine.startsWith('x86_64-')) return 'gcc is not one for x86-64';
  const ld = spawnSync('ld', ['--version'], { encoding: 'utf8' });
  if (ld.status !== 0) return 'there is no linker `ld`';
  return ld.stdout.includes(` ${LINKER}`) ? null : `binutils are not ${LINKER}, Debian 12's`;
}

/** Compiles and links the guest; returns the image's bytes. */
export function buildGuest() {
  const scratch = mkdtempSync(join(tmpdir(), 'cloister-guest-'));
  try {
    const names = readdirSync(join(folder, 'src')).sort();
    const sources = (/** @type {string} */ kind) =>
      names.filter((name) => name.endsWith(kind)).map((name) => join(folder, 'src', name));
    const flags = [...FLAGS, '-isystem', join(compilerFolder(), 'include'), '-c'];
    run('gcc', [...flags, ...sources('.c')], scratch);
    // The assembly shares a header with the C code.
    run('gcc', [...flags, '-x', 'assembler-with-cpp', ...sources('.s')], scratch);
    const objects = [...sources('.c'), ...sources('.s')]
      .map((path) => join(scratch, basename(path).replace(/[cs]$/, 'o')))
      .sort();
    const [linked, output] = [join(scratch, 'guest.elf'), join(scratch, 'guest.bin')];
    const link = ['-m', 'elf_x86_64', '-T', 'guest.ld', '--build-id=none', '-z', 'noexecstack'];
    const words = [...link, '--no-warn-rwx-segments', '-o', linked, ...objects];
    run('ld', words, folder);
    run('objcopy', ['-O', 'binary', linked, output], folder);
    return readFileSync(output);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

const run = (
  /** @type {string} */ tool,
  /** @type {string[]} */ words,
  /** @type {string} */ cwd,
) => execFileSync(tool, words, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });

const compilerFolder = () =>
  dirname(execFileSync('gcc', ['-print-libgcc-file-name'], { encoding: 'utf8' }).trim());

function main(/** @type {string[]} */ args) {
  const reason = whyNoCompiler();
  if (reason !== null) throw new Error(`the guest can't be built: ${reason}`);
  const bytes = buildGuest();
  if (!args.includes('--check')) writeFileSync(GUEST_IMAGE, bytes);
  else if (!bytes.equals(readFileSync(GUEST_IMAGE))) throw new Error('guest.bin is out of date');
  process.stdout.write(`guest.bin: ${bytes.length} bytes\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}
