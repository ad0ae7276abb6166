/**
 * The command line: what the words after `cloister` ask for. Parsing and help are commander's.
 */
import { resolve } from 'node:path';
import { VmmError } from '@cloister/core';
import { Command, CommanderError, Option } from 'commander';
import { type AttestInvocation, addAttest } from './attest-arguments.js';
import { DISK_HELP } from './disk-option.js';
import { ESCAPE_HELP } from './escape-filter.js';
import { addMeasure, type MeasureInvocation } from './measure-arguments.js';
import { NET_HELP } from './net-option.js';
import { addPsp, type PspInvocation } from './psp-arguments.js';
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
import { addTrace, type TraceInvocation } from './trace-arguments.js';

export type Invocation =
  | { readonly command: 'text'; readonly text: string }
  | { readonly command: 'probe' }
  | MeasureInvocation
  | AttestInvocation
  | PspInvocation
  | TraceInvocation
  | {
      readonly command: 'run';
      readonly flags: OptionSource;
      readonly config: string | undefined;
      readonly quiet: boolean;
    };

/** Commander's result for `run`: the long options' names in camel case. */
type RunFlags = Omit<RawOptions, 'flat' | 'plugins' | 'disks' | 'nets' | 'shares'> & {
  readonly flatMode?: 'real' | 'protected' | 'long';
  readonly loadAddress?: string;
  readonly plugin?: readonly string[];
  readonly disk?: readonly string[];
  readonly net?: readonly string[];
  readonly share?: readonly string[];
  readonly config?: string;
  readonly quiet?: boolean;
};

/** Reads the words after the command's name. `VmmError('invalid-argument')` on any mistake. */
export function parseArguments(
  args: readonly string[],
  about: { readonly version: string; readonly cwd: string; readonly columns?: number },
): Invocation {
  let invocation: Invocation | undefined;
  let text = '';
  const program = new Command('cloister')
    .description('Runs virtual machines assembled from plugins.')
    .version(`cloister ${about.version}`, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .exitOverride()
    .configureHelp({ optionDescription: ({ description }) => description })
    .showSuggestionAfterError()
    .configureOutput({
      writeOut: (chunk) => {
        text += chunk;
      },
      writeErr: () => {},
      getOutHelpWidth: () => about.columns ?? 80,
      getOutHasColors: () => false,
    })
    .addHelpText('after', EPILOGUE);
  addRun(program, (flags) => {
    invocation = {
      command: 'run',
      flags: flagSource(flags, about.cwd),
      config: flags.config,
      quiet: flags.quiet ?? false,
    };
  });
  addProbe(program, () => {
    invocation = { command: 'probe' };
  });
  addMeasure(program, (found) => {
    invocation = found;
  });
  addAttest(program, (found) => {
    invocation = found;
  });
  addPsp(program, (found) => {
    invocation = found;
  });
  addTrace(program, (found) => {
    invocation = found;
  });
  try {
    program.parse(args, { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { command: 'text', text };
    throw usageError(error);
  }
  if (invocation === undefined) throw new VmmError('internal', 'no command was taken');
  return invocation;
}

function usageError(error: CommanderError): VmmError {
  const remedy = 'see cloister --help';
  if (error.code === 'commander.help') {
    return new VmmError('invalid-argument', 'no command', { remedy });
  }
  const message = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
  return new VmmError('invalid-argument', message, { remedy });
}

function addProbe(program: Command, take: () => void): void {
  program
    .command('probe')
    .description('say which backends this machine has, and what they can do')
    .option('--debug', 'print stacks of errors')
    .allowExcessArguments(false)
    .action(take);
}

function addRun(program: Command, take: (flags: RunFlags) => void): void {
  const run = program
    .command('run')
    .description('run a virtual machine; its serial port is the terminal')
    .usage('--kernel FILE [options]')
    .allowExcessArguments(false);

  run
    .optionsGroup('Machine:')
    .addOption(choice('--backend', 'what runs instructions (default: emu)', BACKENDS))
    .option('--assist', 'with kvm: emulate instructions that the host’s KVM lacks')
    .option('--cpu <model>', 'MODEL[,+feature,-feature]; "cloister probe" lists them')
    .addOption(choice('--jit', 'with emu: translate what runs often (default: on)', JIT_MODES))
    .option('--memory <size>', 'guest RAM in bytes, or with K, M, G (default: 256M)')
    .option('--cpus <n>', 'number of virtual CPUs (default: 1)')
    .addOption(choice('--clock', 'time by instruction count or by the host, see below', CLOCKS))
    .option('--seed <n>', 'seed of all that is random; fixes the date (default: fresh)')
    .addOption(choice('--on-reset', 'when the guest resets (default: stop)', ON_RESET))
    .option('--plugin <module>', 'use a plugin: a path or a package; repeatable', collect)
    .option('--config <file>', 'read options from a JSON file; options here win');

  run
    .optionsGroup('Guest:')
    .option('--kernel <file>', 'Linux bzImage, ELF or flat binary')
    .option('--initrd <file>', 'initial RAM disk (the module of a Multiboot guest)')
    .option('--append <text>', 'kernel command line')
    .addOption(choice('--entry', 'how to enter the kernel (default: by file type)', ENTRIES))
    .addOption(choice('--flat-mode', 'mode of a flat binary (default: real)', FLAT_MODES))
    .option('--load-address <n>', 'where a flat binary goes (default: 0x7c00, or 1 MiB)');

  run
    .optionsGroup('Protection:')
    .addOption(choice('--protect', 'encrypt the guest’s memory, and registers', PROTECTIONS))
    .addOption(choice('--sev-host', 'whose hypervisor it has (default: kvm)', SEV_HOSTS))
    .option('--policy <n>', 'what the guest’s owner forbids the host (default: 0x23)')
    .option('--platform <file>', 'the emulated platform, see cloister psp (default: a fresh one)')
    .option('--session <file>', 'the session that the owner opened with it')
    .option('--dh-cert <file>', 'the owner’s certificate for that session')
    .option('--send-to <dir>', 'with --save: for the platform with these certificates')
    .option('--measure-out <file>', 'write what the launch measured, 32 bytes, and its nonce')
    .option('--require-hardware', 'refuse a protection that is emulated, and none')
    .option('--dump-memory <file>', 'at the end, write guest RAM as the host sees it');

  run
    .optionsGroup('Devices (virtio):')
    .addOption(choice('--virtio', 'how a guest finds them (default: mmio)', VIRTIO))
    .option('--disk <file>', DISK_HELP, collect)
    .option('--net <kind>', NET_HELP, collect)
    .option('--vsock <dir>', 'stream sockets to programs of the host: DIR[,cid=N]')
    .option('--share <dir>', 'a directory for the guest: DIR[:ro][,tag=TAG]; repeatable', collect)
    .option('--rng', 'a source of random numbers')
    .option('--balloon [size]', 'give back free memory; ask the guest for so much at the start')
    .addOption(choice('--console', 'where the terminal is (default: serial)', CONSOLES));

  run
    .optionsGroup('Run:')
    .option('--timeout <seconds>', 'end the run after so much of the host’s time (status 4)')
    .option('--exits <what>', '"summary", or a file: one JSON object per exit')
    .option('--record <file>', 'record all input')
    .option('--replay <file>', 'take all input from a recording')
    .option('--save <file>', 'save the VM, see below')
    .option('--save-at <n>', 'end the run when n instructions have run, and save')
    .option('--restore <file>', 'go on with a saved VM')
    .option('--quiet', 'no summary')
    .option('--debug', 'print stacks of errors')
    .addHelpText('after', RUN_EPILOGUE)
    .action(take);
}

function choice(flag: string, text: string, choices: readonly string[]): Option {
  return new Option(`${flag} <${choices.join('|')}>`, text).choices(choices);
}

const collect = (value: string, list: readonly string[] = []) => [...list, value];

function flagSource(flags: RunFlags, cwd: string): OptionSource {
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

const EPILOGUE = `
Example:
  cloister run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0"

"cloister run --help" lists every option of a run.`;

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
