// `npm start`: boots Debian's own kernel to user space on the emulated processor. Where no kernel
// can be had it says so and boots the project's own tiny guest, so that it always runs something.
//
//   npm start [-- --shell] [-- further options of `cloister run`]

import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { join } from 'node:path';
import {
  cacheDirectory,
  image,
  initramfs,
  MIRROR_VARIABLE,
  NoImageError,
  publishFile,
  sha256,
} from './guest-image/index.mjs';
import { BOOT_OK, SHELL } from './guest-image/init-scripts.mjs';
import { root } from './lib/workspace.mjs';

const CLOISTER = join(root, 'packages/cli/bin/cloister.js');
const OWN_GUEST = join(root, 'examples/guest-hello/guest-hello.bin');
const COMMAND_LINE = 'console=ttyS0 panic=-1';

const HELP = `Usage: npm start [-- --shell] [-- OPTION…]

Boots Debian Linux on the emulated processor, as far as user space, and switches it off.

  --shell   a shell on the serial line instead; Ctrl-A x leaves the emulator
  --help    this text

Other options go to \`cloister run\`, e.g. \`npm start -- --exits summary\`.
`;

const say = (line) => process.stderr.write(`start: ${line}\n`);

async function linuxArguments(shell) {
  const guest = await image({ log: say });
  const bytes = await initramfs({ init: shell ? SHELL : BOOT_OK, busybox: guest.busyboxPath });
  // Named by its content: runs side by side, and runs of other versions, don't disturb each other.
  const name = `initramfs-${sha256(bytes).slice(0, 16)}.cpio`;
  const initrdPath = await publishFile(join(cacheDirectory(), 'start', name), bytes);
  say(`Debian's kernel ${guest.version}`);
  return ['--kernel', guest.kernelPath, '--initrd', initrdPath, '--append', COMMAND_LINE];
}

async function guestArguments(shell) {
  try {
    return await linuxArguments(shell);
  } catch (error) {
    if (!(error instanceof NoImageError)) throw error;
    say(`no Debian kernel can be had (${error.message})`);
    say(`remedy: install apt or set ${MIRROR_VARIABLE}; booting the project's own guest instead`);
    return ['--kernel', OWN_GUEST, '--entry', 'flat'];
  }
}

/** Runs the command on this terminal and returns its exit status. */
function cloister(args) {
  const child = spawn(process.execPath, [CLOISTER, ...args], { stdio: 'inherit' });
  // An interrupt typed at the terminal reaches the child as well; it decides what to do with it.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (status, signal) => resolve(status ?? 128 + constants.signals[signal]));
  });
}

async function main(args) {
  if (args.includes('--help')) return void process.stdout.write(HELP);
  const shell = args.includes('--shell');
  const others = args.filter((arg) => arg !== '--shell');
  const guest = await guestArguments(shell);
  process.exitCode = await cloister(['run', '--memory', '256M', ...guest, ...others]);
}

main(process.argv.slice(2)).catch((error) => {
  say(error.message);
  process.exitCode = 1;
});
