// Builds the small guests from their sources with GNU binutils, byte for byte as committed:
// nothing in the output depends on the version of the tools or on where they run.
//
//   node examples/guests/build.mjs            writes every image
//   node examples/guests/build.mjs --check    compares, and fails on a difference
//
// A fresh clone needs none of this: the images are committed.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));

/** Every guest: its source, what is made of it, and the address at which its first byte lies. */
export const GUESTS = [
  { source: '../guest-hello/guest-hello.s', image: '../guest-hello/guest-hello.bin', at: 0x7c00 },
  { source: 'real-mode.s', image: 'real-mode.bin', at: 0x7c00 },
  { source: 'protected-mode.s', image: 'protected-mode.bin', at: 0x100000 },
  { source: 'long-mode.s', image: 'long-mode.bin', at: 0x100000 },
  { source: 'multiboot.s', image: 'multiboot.elf', at: 0x100000 },
  { source: 'pvh.s', image: 'pvh.elf', at: 0x100000 },
];

/** The path of a file that `GUESTS` names. */
export const guestPath = (/** @type {string} */ name) => join(folder, name);

/** Why the guests cannot be built here, or null. */
export function whyNoTools() {
  const assembler = spawnSync('as', ['--version'], { encoding: 'utf8' });
  if (assembler.status !== 0) return 'there is no assembler `as`';
  if (!/GNU assembler/.test(assembler.stdout)) return '`as` is not the GNU assembler';
  if (!/`x86_64-/.test(assembler.stdout)) return '`as` is not one for x86-64';
  return spawnSync('ld', ['--version']).status === 0 ? null : 'there is no linker `ld`';
}

/**
 * Assembles and links one guest; returns the image's bytes.
 * @param {{ source: string, at: number }} guest
 */
export function buildGuest({ source, at }) {
  const scratch = mkdtempSync(join(tmpdir(), 'cloister-guest-'));
  try {
    const [object, output] = [join(scratch, 'guest.o'), join(scratch, 'guest')];
    const flags = ['--64', '-mx86-used-note=no', '-I', folder];
    execFileSync('as', [...flags, '-o', object, guestPath(source)]);
    // The sources are whole files, ELF headers included: what is linked is taken as it lies.
    const place = ['-Ttext', `0x${at.toString(16)}`, '-e', '_start'];
    const link = ['-m', 'elf_x86_64', '--oformat', 'binary', '--build-id=none', ...place];
    execFileSync('ld', [...link, '-o', output, object]);
    return readFileSync(output);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

function main(/** @type {string[]} */ args) {
  const reason = whyNoTools();
  if (reason !== null) throw new Error(`guests can't be built: ${reason} (install binutils)`);
  for (const guest of GUESTS) {
    const bytes = buildGuest(guest);
    const path = guestPath(guest.image);
    if (!args.includes('--check')) writeFileSync(path, bytes);
    else if (!bytes.equals(readFileSync(path))) throw new Error(`${guest.image} is out of date`);
    process.stdout.write(`${guest.image}: ${bytes.length} bytes\n`);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  }
}
