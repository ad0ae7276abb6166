// What a release would publish, looked at from outside: the changesets are in order, every package
// packs, its tarball holds what it must and nothing else, publint and are-the-types-wrong are
// content, and all tarballs install together into an empty project without running any script,
// where they can be imported and the README's monitor boots Linux, and a flat guest on KVM.
// Publishes nothing.
//
//   node tools/release-check.mjs [--no-install]
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildStale } from './build.mjs';
import { image, initramfs, NoImageError } from './guest-image/index.mjs';
import { BOOT_OK } from './guest-image/init-scripts.mjs';
import { packages, root } from './lib/workspace.mjs';
import { tryKvm } from './release-kvm.mjs';

const REQUIRED = ['LICENSE', 'README.md', 'package.json'];
const FORBIDDEN = /\.test\.|(^|\/)(src|node_modules|\.build)\/|tsconfig|\.tgz$/;

const failures = [];

function run(title, command, args, { cwd = root, quiet = false } = {}) {
  process.stdout.write(`release: ${title}\n`);
  const shell = process.platform === 'win32';
  const stdio = ['ignore', 'pipe', quiet ? 'pipe' : 'inherit'];
  const result = spawnSync(command, args, { cwd, stdio, shell, encoding: 'utf8' });
  if (!quiet || result.status !== 0) process.stdout.write(result.stdout ?? '');
  if (result.status === 0) return result.stdout;
  if (quiet) process.stdout.write(result.stderr ?? '');
  failures.push(title);
  return undefined;
}

const tool = (path) => join(root, 'node_modules', ...path);
const changesets = tool(['@changesets', 'cli', 'bin.js']);
const publint = tool(['publint', 'src', 'cli.js']);
const attw = tool(['@arethetypeswrong', 'cli', 'dist', 'index.js']);

/** Compared with main; a checkout without that branch (CI, detached) compares with itself. */
function since() {
  const { status } = spawnSync('git', ['rev-parse', '-q', '--verify', 'main'], { cwd: root });
  return status === 0 ? [] : ['--since', 'HEAD'];
}

function pack({ dir, manifest }, destination) {
  const args = ['pack', '--json', '--pack-destination', destination];
  const title = `${manifest.name}: pack`;
  const output = run(title, 'npm', args, { cwd: dir, quiet: true });
  if (output === undefined) return undefined;
  // npm 12 keys the list by package name; earlier ones give an array.
  const [packed] = Object.values(JSON.parse(output));
  const paths = packed.files.map(({ path }) => path);
  const missing = REQUIRED.filter((path) => !paths.includes(path));
  const surplus = paths.filter((path) => FORBIDDEN.test(path));
  for (const path of missing) failures.push(`${manifest.name} lacks ${path}`);
  const local = paths.filter((path) => readFileSync(join(dir, path), 'utf8').includes(root));
  for (const path of surplus) failures.push(`${manifest.name} must not contain ${path}`);
  for (const path of local) failures.push(`${manifest.name}: ${path} names a path of this machine`);
  const kilobytes = Math.round(packed.size / 1024);
  process.stdout.write(`  ${packed.filename}: ${paths.length} files, ${kilobytes} KiB\n`);
  return join(destination, packed.filename);
}

/** Every entry point of every package, imported by name from a project that has only tarballs. */
function tryInstalled(tarballs, all, directory) {
  const manifest = { name: 'empty', version: '0.0.0', private: true, type: 'module' };
  writeFileSync(join(directory, 'package.json'), JSON.stringify(manifest));
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...tarballs];
  const where = { cwd: directory, quiet: true };
  if (run('install into an empty project', 'npm', args, where) === undefined) return;
  const names = all.flatMap(({ manifest: { name, exports, bin } }) =>
    Object.keys(exports)
      .filter((entry) => !bin && !entry.endsWith('package.json'))
      .map((entry) => name + entry.slice(1)),
  );
  const script = names.map((name) => `await import(${JSON.stringify(name)});`).join('\n');
  writeFileSync(join(directory, 'import-all.js'), script);
  run('import every entry point', process.execPath, ['import-all.js'], where);
  for (const command of all.flatMap(({ manifest: { bin } }) => Object.keys(bin ?? {}))) {
    run(`${command} --help`, 'npx', ['--no-install', command, '--help'], where);
  }
}

/** The monitor that the README shows, as a user has it, on Debian's kernel. */
async function tryMonitor(directory) {
  const title = "the README's monitor boots Linux";
  try {
    const guest = await image();
    copyFileSync(join(root, 'examples/twenty-line-vmm/vmm.js'), join(directory, 'vmm.js'));
    const bytes = await initramfs({ init: BOOT_OK, busybox: guest.busyboxPath });
    writeFileSync(join(directory, 'initrd'), bytes);
    const args = ['vmm.js', guest.kernelPath, 'initrd'];
    const output = run(title, process.execPath, args, { cwd: directory, quiet: true });
    if (output !== undefined && !/^BOOT-OK\r?$/m.test(output)) failures.push(title);
  } catch (error) {
    if (!(error instanceof NoImageError)) throw error;
    process.stdout.write(`release: ${title}: not tried, ${error.message}\n`);
  }
}

const destination = mkdtempSync(join(tmpdir(), 'cloister-pack-'));
try {
  await buildStale();
  const all = packages();
  run('changesets', process.execPath, [changesets, 'status', ...since()], { quiet: true });
  const tarballs = [];
  for (const pkg of all) {
    const { name } = pkg.manifest;
    const tarball = pack(pkg, destination);
    if (tarball === undefined) continue;
    tarballs.push(tarball);
    run(`${name}: publint`, process.execPath, [publint, tarball, '--strict']);
    const profile = ['--profile', 'esm-only', '--format', 'ascii'];
    run(`${name}: types`, process.execPath, [attw, tarball, ...profile], { quiet: true });
  }
  if (tarballs.length === all.length && !process.argv.includes('--no-install')) {
    tryInstalled(tarballs, all, destination);
    await tryMonitor(destination);
    tryKvm(destination, run, (title) => void failures.push(title));
  }
} catch (error) {
  failures.push(error.message);
} finally {
  rmSync(destination, { recursive: true, force: true });
}
for (const failure of failures) process.stdout.write(`release: failed: ${failure}\n`);
if (failures.length === 0) process.stdout.write('release: ready; nothing was published\n');
process.exitCode = failures.length > 0 ? 1 : 0;
