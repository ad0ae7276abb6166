/**
 * The words after `cloister run`: its options as data, for its own help and for commands that take
 * the options of a run. Parsing is commander's.
 */
import { resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { DISK_HELP } from './disk-option.js';
import { ESCAPE_HELP } from './escape-filter.js';
import { NET_HELP } from './net-option.js';
import {
  BACKENDS,
  CLOCKS,
  CONSOLES,
  ENTRIES,
  FLAT_MODES,
  JIT_MODES,
  ON_RESET,
  type OptionSource,
  PROTECTIONS,
  type RawOptions,
  SEV_HOSTS,
  VIRTIO,
} from './run-options.js';

/** Commander's result for `run`: the long options' names in camel case. */
export type RunFlags = Omit<RawOptions, 'flat' | 'plugins' | 'disks' | 'nets' | 'shares'> & {
  readonly flatMode?: 'real' | 'protected' | 'long';
  readonly loadAddress?: string;
  readonly plugin?: readonly string[];
  readonly disk?: readonly string[];
  readonly net?: readonly string[];
  readonly share?: readonly string[];
  readonly config?: string;
  readonly quiet?: boolean;
};

/** Adds `run`. */
export function addRun(program: Command, take: (flags: RunFlags) => void): void {
  const run = program
    .command('run')
    .description('run a virtual machine; its serial port is the terminal')
    .usage('--kernel FILE [options]')
    .allowExcessArguments(false);
  for (const [title, options] of runOptions()) {
    run.optionsGroup(title);
    for (const each of options) run.addOption(each);
  }
  run.addHelpText('after', RUN_EPILOGUE).action(take);
}

/** Every option of a run, by the groups of its help. */
export function runOptions(): readonly (readonly [title: string, options: readonly Option[]])[] {
  return [
    ['Machine:', machineOptions()],
    ['Guest:', guestOptions()],
    ['Protection:', protectionOptions()],
    ['Devices (virtio):', deviceOptions()],
    ['Run:', courseOptions()],
  ];
}

const option = (flags: string, text: string): Option => new Option(flags, text);

const choice = (flag: string, text: string, choices: readonly string[]): Option =>
  option(`${flag} <${choices.join('|')}>`, text).choices(choices);

const repeatable = (flags: string, text: string): Option =>
  option(flags, text).argParser((value: string, list: readonly string[] = []) => [...list, value]);

function machineOptions(): Option[] {
  return [
    choice('--backend', 'what runs instructions (default: emu)', BACKENDS),
    option('--assist', 'with kvm: emulate instructions that the host’s KVM lacks'),
    option('--cpu <model>', 'MODEL[,+feature,-feature]; "cloister probe" lists them'),
    choice('--jit', 'with emu: translate what runs often (default: on)', JIT_MODES),
    option('--memory <size>', 'guest RAM in bytes, or with K, M, G (default: 256M)'),
    option('--cpus <n>', 'number of virtual CPUs (default: 1)'),
    choice('--clock', 'time by instruction count or by the host, see below', CLOCKS),
    option('--seed <n>', 'seed of all that is random; fixes the date (default: fresh)'),
    choice('--on-reset', 'when the guest resets (default: stop)', ON_RESET),
    repeatable('--plugin <module>', 'use a plugin: a path or a package; repeatable'),
    option('--config <file>', 'read options from a JSON file; options here win'),
  ];
}

function guestOptions(): Option[] {
  return [
    option('--kernel <file>', 'Linux bzImage, ELF or flat binary'),
    option('--initrd <file>', 'initial RAM disk (the module of a Multiboot guest)'),
    option('--append <text>', 'kernel command line'),
    choice('--entry', 'how to enter the kernel (default: by file type)', ENTRIES),
    choice('--flat-mode', 'mode of a flat binary (default: real)', FLAT_MODES),
    option('--load-address <n>', 'where a flat binary goes (default: 0x7c00, or 1 MiB)'),
  ];
}

function protectionOptions(): Option[] {
  return [
    choice('--protect', 'encrypt the guest’s memory, and registers', PROTECTIONS),
    choice('--sev-host', 'whose hypervisor it has (default: kvm)', SEV_HOSTS),
    option('--policy <n>', 'what the guest’s owner forbids the host (default: 0x23; sev-es: 0x27)'),
    option('--platform <file>', 'the emulated platform, see cloister psp (default: a fresh one)'),
    option('--session <file>', 'the session that the owner opened with it'),
    option('--dh-cert <file>', 'the owner’s certificate for that session'),
    option('--send-to <dir>', 'with --save: for the platform with these certificates'),
    option('--measure-out <file>', 'write what the launch measured, 32 bytes, and its nonce'),
    option('--require-hardware', 'refuse a protection that is emulated, and none'),
    option('--dump-memory <file>', 'at the end, write guest RAM as the host sees it'),
  ];
}

function deviceOptions(): Option[] {
  return [
    choice('--virtio', 'how a guest finds them (default: mmio)', VIRTIO),
    repeatable('--disk <file>', DISK_HELP),
    repeatable('--net <kind>', NET_HELP),
    option('--vsock <dir>', 'stream sockets to programs of the host: DIR[,cid=N]'),
    repeatable('--share <dir>', 'a directory for the guest: DIR[:ro][,tag=TAG]; repeatable'),
    option('--rng', 'a source of random numbers'),
    option('--balloon [size]', 'give back free memory; ask the guest for so much at the start'),
    choice('--console', 'where the terminal is (default: serial)', CONSOLES),
  ];
}

function courseOptions(): Option[] {
  return [
    option('--timeout <seconds>', 'end the run after so much of the host’s time (status 4)'),
    option('--exits <what>', '"summary", or a file: one JSON object per exit'),
    option('--record <file>', 'record all input'),
    option('--replay <file>', 'take all input from a recording'),
    option('--save <file>', 'save the VM, see below'),
    option('--save-at <n>', 'end the run when n instructions have run, and save'),
    option('--restore <file>', 'go on with a saved VM'),
    option('--quiet', 'no summary'),
    option('--debug', 'print stacks of errors'),
  ];
}

/** The options as a source for `resolveOptions`; files are relative to `cwd`. */
export function flagSource(flags: RunFlags, cwd: string): OptionSource {
  const { flatMode, loadAddress, plugin, disk, net, share, ...others } = flags;
  const { config: _config, quiet: _quiet, ...rest } = others;
  const flat = {
    ...(flatMode === undefined ? {} : { mode: flatMode }),
    ...(loadAddress === undefined ? {} : { loadAddress }),
  };
  return {
    raw: {
      ...rest,
      flat,
      ...(plugin === undefined ? {} : { plugins: plugin }),
      ...(disk === undefined ? {} : { disks: disk }),
      ...(net === undefined ? {} : { nets: net }),
      ...(share === undefined ? {} : { shares: share }),
    },
    code: 'invalid-argument',
    nameOf: flagName,
    resolvePath: (value) => resolve(cwd, value),
    folder: cwd,
  };
}

/** `flat.loadAddress` is `--load-address`, `disks[1]` is `--disk`. */
function flagName(field: string): string {
  const element = /^(.*)s\[\d+\]$/.exec(field);
  if (element !== null) return `--${element[1]}`;
  const last = field.split('.').at(-1)!;
  return `--${last.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

const RUN_EPILOGUE = `
Standard output carries the guest's serial port only; the summary, warnings and
errors go to standard error.

Keys, where standard input is a terminal:
${ESCAPE_HELP.map((line) => `  ${line}`).join('\n')}

The clock is instruction-counted unless a terminal or a network is attached; the same seed then
gives the same run, bit for bit.

--save FILE writes the VM when --timeout, --save-at, Ctrl-A x or a signal ends the
run, and at once on SIGUSR1 or Ctrl-A s.

Exit status:
  0        the guest powered off, or the run ended at --save-at
  (v<<1)|1 the guest wrote v to the debug-exit port
  2        wrong usage, or a bad file
  3        the guest reset or had a triple fault (unless --on-reset reboot)
  4        --timeout
  5        a requested protection is not active
  6        internal error
  130      ended by Ctrl-A x or SIGINT; 129 SIGHUP, 143 SIGTERM, 141 output closed`;
