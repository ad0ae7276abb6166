/**
 * The command line: what the words after `cloister` ask for. Parsing and help are commander's.
 */
import { VmmError } from '@cloister/core';
import { Command, CommanderError } from 'commander';
import { type AttestInvocation, addAttest } from './attest-arguments.js';
import { addMeasure, type MeasureInvocation } from './measure-arguments.js';
import { addPsp, type PspInvocation } from './psp-arguments.js';
import { addRun, flagSource } from './run-arguments.js';
import type { OptionSource } from './run-options.js';
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
    // What stands behind a command is its own: some options mean something else elsewhere.
    .enablePositionalOptions()
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

const EPILOGUE = `
Example:
  cloister run --kernel vmlinuz --initrd initrd.img --append "console=ttyS0"

"cloister run --help" lists every option of a run.`;
