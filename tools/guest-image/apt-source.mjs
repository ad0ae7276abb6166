// Packages by way of apt, where it is installed: it knows the user's sources and proxies and checks
// the archive's signatures. Nothing of the system is changed: where apt's own lists are missing or
// stale, `apt-get update` runs on a folder of ours.
//
// Sources: apt-get(8), apt-cache(8), apt.conf(5).

import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { withTemporaryFolder } from './cache.mjs';
import { describe, newest, parsePackages } from './package-index.mjs';

const run = promisify(execFile);
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

/** The archives that together are one suite. */
const POCKETS = ['', '-updates', '-security'];

/** Whether apt is installed here. */
export async function aptIsPresent() {
  try {
    await run('apt-get', ['--version']);
    await run('apt-cache', ['--version']);
    return true;
  } catch {
    return false;
  }
}

/**
 * Runs `work(source)` with a source that finds and downloads packages; a second time, on freshly
 * fetched lists, when the first fails. The system's lists are those of amd64 alone.
 */
export async function withApt({ suite, architecture, scratch, log }, work) {
  try {
    if (architecture !== 'amd64')
      throw new Error(`the lists here are not those of ${architecture}`);
    return await withLists({ suite, scratch, options: [] }, work);
  } catch (error) {
    log(`apt: ${error.message}; fetching fresh package lists`);
  }
  return withTemporaryFolder(scratch, async (folder) => {
    const lists = join(folder, 'lists');
    const cache = join(folder, 'cache');
    mkdirSync(join(lists, 'partial'), { recursive: true });
    mkdirSync(join(cache, 'archives', 'partial'), { recursive: true });
    // The guest is what it is, whatever this machine is.
    const guest = [`APT::Architecture=${architecture}`, `APT::Architectures=${architecture}`];
    const options = [`Dir::State::lists=${lists}`, `Dir::Cache=${cache}`, ...guest];
    // One archive that fails (a mirror that is being updated) need not be the one that counts.
    let failure;
    await apt('apt-get', [...options, 'APT::Update::Error-Mode=any'], ['update']).catch((error) => {
      failure = error;
      log(`apt: ${error.message}; going on with the lists that came`);
    });
    try {
      return await withLists({ suite, scratch, options }, work);
    } catch (error) {
      throw failure ?? error;
    }
  });
}

function withLists({ suite, scratch, options }, work) {
  return work({
    signature: 'checked by apt',
    find: (name, version) => find({ suite, options }, name, version),
    download: (entry) => download({ scratch, options }, entry),
  });
}

async function find({ suite, options }, name, version) {
  const queries = POCKETS.map((pocket) => `${name}/${suite}${pocket}`);
  const found = [];
  for (const query of queries) {
    const text = await apt('apt-cache', options, ['show', query]).catch(() => '');
    found.push(...parsePackages(text, (candidate) => candidate === name));
  }
  const entry = newest(found.filter((each) => version === undefined || each.version === version));
  if (entry === undefined) {
    throw new Error(`no ${describe(name, version)} of suite ${suite} among apt's sources`);
  }
  return entry;
}

/** apt authenticates what it downloads; the caller compares the checksum once more. */
async function download({ scratch, options }, entry) {
  return withTemporaryFolder(scratch, async (folder) => {
    await apt('apt-get', options, ['download', `${entry.name}=${entry.version}`], folder);
    const file = readdirSync(folder).find((name) => name.endsWith('.deb'));
    if (file === undefined) throw new Error(`apt downloaded no ${entry.name}`);
    return readFileSync(join(folder, file));
  });
}

async function apt(program, options, args, cwd) {
  // Run by root, apt would drop to a user that may not write into the caller's cache folder.
  const sandbox = process.getuid?.() === 0 ? ['APT::Sandbox::User=root'] : [];
  const flags = [...options, ...sandbox].flatMap((option) => ['-o', option]);
  try {
    const { stdout } = await run(program, [...flags, '-q', ...args], {
      cwd,
      env: { ...process.env, LC_ALL: 'C' },
      maxBuffer: OUTPUT_BYTES_MAX,
    });
    return stdout;
  } catch (error) {
    const reason = String(error.stderr ?? error.message).match(/^E: (.*)$/m)?.[1];
    throw new Error(`${program} ${args[0]}: ${reason ?? error.message.split('\n')[0]}`);
  }
}
