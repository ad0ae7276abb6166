// Builds the addon from its one C file with gcc, byte for byte as committed: Debian 12's gcc and
// binutils give the same bytes wherever they run.
//
//   node packages/backend-kvm/native/build.mjs            writes the addon and its SHA-256
//   node packages/backend-kvm/native/build.mjs --check    compares, and fails on a difference
//
// A user needs none of this: the addon is in the package, and nothing runs at installation.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const folder = dirname(fileURLToPath(import.meta.url));
export const ADDON = join(folder, 'cloister-kvm.linux-x64.node');
export const CHECKSUM = `${ADDON}.sha256`;

/** What the committed bytes were made with; another version may well give others. */
export const GCC = '12.2.0';
export const LD = '2.40';

const FLAGS = [
  '-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-m64', '-march=x86-64',
  '-shared', '-fPIC', '-fvisibility=hidden',
  // No C library, and nothing in the output that depends on where or when it was made.
  '-nostdlib', '-ffreestanding', '-fno-builtin', '-fno-stack-protector', '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables', '-fno-ident', '-frandom-seed=cloister',
  '-Wl,--build-id=none', '-Wl,-z,noexecstack', '-Wl,-z,relro', '-Wl,-z,now', '-Wl,--hash-style=gnu',
  '-Wl,-soname,cloister-kvm.node', '-Wl,--strip-all',
]; // biome-ignore format: flags in groups

const firstLine = (command, args) =>
  spawnSync(command, args, { encoding: 'utf8' }).stdout?.split('\n')[0] ?? '';

/** Why these tools cannot give the committed bytes, or null. */
export function whyNotHere() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'this is not Linux on x64';
  const gcc = firstLine('gcc', ['-dumpfullversion']).trim();
  if (gcc === '') return 'there is no gcc';
  if (gcc !== GCC) return `gcc is ${gcc}, not ${GCC}`;
  const ld = firstLine('ld', ['--version']);
  return ld.endsWith(` ${LD}`) ? null : `ld is not ${LD}`;
}

/** The addon's bytes as the source gives them now. */
export function buildAddon() {
  const scratch = mkdtempSync(join(tmpdir(), 'cloister-addon-'));
  try {
    const output = join(scratch, 'cloister-kvm.node');
    execFileSync('gcc', [...FLAGS, '-o', output, 'cloister-kvm.c'], { cwd: folder });
    return readFileSync(output);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** The line of a checksum file, as sha256sum writes it. */
export function checksumLine(bytes) {
  const sum = createHash('sha256').update(bytes).digest('hex');
  return `${sum}  cloister-kvm.linux-x64.node\n`;
}

function main(args) {
  const reason = whyNotHere();
  if (reason !== null) throw new Error(`the addon can't be built: ${reason}`);
  const bytes = buildAddon();
  if (!args.includes('--check')) {
    writeFileSync(ADDON, bytes);
    writeFileSync(CHECKSUM, checksumLine(bytes));
  } else if (!bytes.equals(readFileSync(ADDON))) throw new Error('the addon is out of date');
  process.stdout.write(`${bytes.length} bytes\n`);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
