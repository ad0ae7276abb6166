#!/usr/bin/env node
// The guest-image command: gets Debian's kernel and busybox, builds initial root file systems.
// Results go to standard output, everything else to standard error.

import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  APPLETS,
  cacheDirectory,
  extractVmlinux,
  image,
  initramfs,
  MIRROR_VARIABLE,
  NoImageError,
  SUITE,
} from './index.mjs';
import { BOOT_OK, BOOT_OK_REBOOT, SHELL } from './init-scripts.mjs';

const HELP = `Usage: node tools/guest-image/main.mjs COMMAND [options]

Commands
  fetch               get a kernel, its modules and busybox; print where they are
  vmlinux [BZIMAGE]   extract the uncompressed kernel; of the fetched one unless a file is named
  initramfs           build an initial root file system (cpio)

Which image (all commands)
  --kernel KIND       cloud (default), generic, or 686-pae (i386)
  --suite NAME        Debian's release by code name (default ${SUITE})
  --mirror URL        take packages from this mirror, by https, even where apt is present
  --offline           use what is cached, never the network
  --update            look for newer versions although an image is cached

fetch
  --json              print the paths and versions as JSON

vmlinux, initramfs
  --output FILE       write here (vmlinux: default is the cache, whose path is printed)

initramfs
  --init FILE         the init script; or one of the built-in boot-ok, boot-ok-reboot, shell
                      (default boot-ok)
  --file PATH=SOURCE  add a file; may be given again; executable if SOURCE is
  --module NAME       add a kernel module and what it depends on; may be given again
  --applet NAME       link this busybox applet instead of the usual ones; may be given again

Packages come by apt where it is installed, otherwise from the mirror that --mirror or
${MIRROR_VARIABLE} names. They are kept in CLOISTER_CACHE or the user's cache folder
(here: ${cacheDirectory()}).
`;

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  kernel: { type: 'string', default: 'cloud' },
  suite: { type: 'string', default: SUITE },
  mirror: { type: 'string' },
  offline: { type: 'boolean' },
  update: { type: 'boolean' },
  json: { type: 'boolean' },
  output: { type: 'string', short: 'o' },
  init: { type: 'string', default: 'boot-ok' },
  file: { type: 'string', multiple: true, default: [] },
  module: { type: 'string', multiple: true, default: [] },
  applet: { type: 'string', multiple: true },
};

const BUILT_IN_INITS = { 'boot-ok': BOOT_OK, 'boot-ok-reboot': BOOT_OK_REBOOT, shell: SHELL };

class UsageError extends Error {}

const print = (text) => process.stdout.write(`${text}\n`);
const log = (line) => process.stderr.write(`guest-image: ${line}\n`);

const getImage = ({ kernel, suite, mirror, offline, update }) =>
  image({ kernel, suite, mirror, offline, update, log });

const COMMANDS = { fetch: fetchCommand, vmlinux: vmlinuxCommand, initramfs: initramfsCommand };

async function fetchCommand(values, operands) {
  refuse(operands);
  const guest = await getImage(values);
  const { kernelPath, busyboxPath, modulesDir, version, packages } = guest;
  if (values.json) {
    print(JSON.stringify({ version, kernelPath, busyboxPath, modulesDir, packages }, null, 2));
    return;
  }
  for (const { name, version: each, sha256 } of packages) log(`${name} ${each} SHA-256 ${sha256}`);
  print(`version ${version}\nkernel  ${kernelPath}\nmodules ${modulesDir}\nbusybox ${busyboxPath}`);
}

async function vmlinuxCommand(values, [bzImage, ...rest]) {
  refuse(rest);
  if (bzImage === undefined) {
    const path = await (await getImage(values)).vmlinuxPath();
    if (values.output) writeFileSync(values.output, readFileSync(path));
    print(values.output ?? path);
    return;
  }
  if (!values.output) throw new UsageError('vmlinux of a named file needs --output');
  writeFileSync(values.output, await extractVmlinux(readFileSync(bzImage)));
  print(values.output);
}

async function initramfsCommand(values, operands) {
  refuse(operands);
  if (!values.output) throw new UsageError('initramfs needs --output');
  const guest = await getImage(values);
  const bytes = await initramfs({
    init: BUILT_IN_INITS[values.init] ?? readFileSync(values.init, 'utf8'),
    busybox: guest.busyboxPath,
    applets: values.applet ?? APPLETS,
    files: values.file.map(fileOption),
    modules: values.module,
    modulesDir: guest.modulesDir,
    version: guest.version,
  });
  writeFileSync(values.output, bytes);
  print(values.output);
}

function fileOption(text) {
  const [path, ...source] = text.split('=');
  if (source.length === 0) throw new UsageError(`--file wants PATH=SOURCE, not "${text}"`);
  const sourcePath = source.join('=');
  const executable = (statSync(sourcePath).mode & 0o111) !== 0;
  return { path, source: sourcePath, mode: executable ? 0o755 : 0o644 };
}

function refuse([operand]) {
  if (operand !== undefined) throw new UsageError(`"${operand}" is one argument too many`);
}

async function main(args) {
  const { values, positionals } = parseArgs({ args, options: OPTIONS, allowPositionals: true });
  const [name, ...operands] = positionals;
  if (values.help) return void process.stdout.write(HELP);
  const command = Object.hasOwn(COMMANDS, name ?? '') ? COMMANDS[name] : undefined;
  if (command === undefined) {
    throw new UsageError(name ? `there is no command "${name}"` : 'which command? See --help');
  }
  await command(values, operands);
}

main(process.argv.slice(2)).catch((error) => {
  log(error.message);
  if (error instanceof NoImageError) {
    log(`remedy: install apt, or name a Debian mirror by --mirror or ${MIRROR_VARIABLE}`);
  }
  const isUsage = error instanceof UsageError || error.code?.startsWith('ERR_PARSE_ARGS');
  process.exitCode = isUsage || error instanceof RangeError ? 2 : 1;
});
