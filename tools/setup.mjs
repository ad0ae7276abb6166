// What a fresh clone needs before anything else runs: the installed packages, then the build.
// Each is done only when missing or stale; when nothing is due this takes a fraction of a second.
// Speaks on standard error only, so that what follows owns standard output.
//
//   node tools/setup.mjs [--no-build]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { installDifference } from './lib/installed.mjs';
import { withLock } from './lib/lock.mjs';
import { readJson, root } from './lib/workspace.mjs';

const NODE_MIN = [20, 19];

function requireNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return;
  throw new Error(`Node ${NODE_MIN.join('.')} or newer is needed; this is ${process.version}`);
}

/** Why npm ci is due, or undefined. */
function installIsDue() {
  const installedPath = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(installedPath)) return 'node_modules is missing';
  const wanted = readJson(join(root, 'package-lock.json')).packages;
  return installDifference(wanted, readJson(installedPath).packages);
}

function install(reason) {
  process.stderr.write(`setup: npm ci (${reason})\n`);
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const { status, error } = spawnSync(npm, ['ci', '--no-audit', '--no-fund'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  });
  if (status !== 0) throw new Error(`npm ci failed (${error?.message ?? `status ${status}`})`);
}

try {
  requireNode();
  if (installIsDue()) {
    await withLock(join(root, '.cache', 'setup.lock'), () => {
      const reason = installIsDue();
      if (reason) install(reason);
    });
  }
  if (!process.argv.includes('--no-build')) {
    const { buildStale } = await import('./build.mjs');
    await buildStale({ types: false });
  }
} catch (error) {
  process.stderr.write(`setup: ${error.message}\n`);
  process.exitCode = 1;
}
