/**
 * The words after `cloister psp`: what to do with an emulated platform. Parsing is commander's.
 */
import type { Command } from 'commander';

export interface PspInvocation {
  readonly command: 'psp';
  readonly action: 'init' | 'status' | 'export' | 'session';
  /** The platform's file; for `session` its PDH certificate. */
  readonly file: string;
  readonly flags: {
    readonly out?: string;
    readonly maker?: string;
    readonly policy?: string;
    readonly json?: boolean;
  };
}

/** Adds `psp init`, `psp status`, `psp export` and `psp session`. */
export function addPsp(program: Command, take: (invocation: PspInvocation) => void): void {
  const psp = program
    .command('psp')
    .description('make and look at the emulated platforms that launch SEV guests');
  const action = (name: PspInvocation['action'], argument: string, description: string): Command =>
    psp
      .command(name)
      .description(description)
      .argument(argument)
      .option('--debug', 'print stacks of errors')
      .allowExcessArguments(false)
      .action((file: string, flags: PspInvocation['flags']) => {
        take({ command: 'psp', action: name, file, flags });
      });

  action('init', '<platform>', 'make a platform, and write its chip and keys to a file').option(
    '--maker <platform>',
    'with the root of that platform: guests for SEV platforms only may go from one to the other',
  );
  action('status', '<platform>', 'say what a platform is').option('--json', 'as JSON');
  action('export', '<platform>', 'write its certificates to a folder').requiredOption(
    '--out <dir>',
    'pdh, pek, oca, cek, ask and ark, each a .cert file',
  );
  action('session', '<pdh>', 'for an owner: open a session with the platform of a PDH certificate')
    .requiredOption(
      '--out <dir>',
      'godh.cert and session.bin for the host; tek.bin, tik.bin secret',
    )
    .option('--policy <n>', 'of the guest that it is for (default: 0x23); 0x27 for sev-es');
}
