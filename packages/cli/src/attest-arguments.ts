/**
 * The words after `cloister attest`: what to do with a report. Parsing is commander's.
 */
import { type Command, Option } from 'commander';

const PRODUCTS = ['Milan', 'Genoa', 'Turin'] as const;

export interface AttestFlags {
  readonly json?: boolean;
  readonly product?: (typeof PRODUCTS)[number];
  readonly laterVersions?: boolean;
  readonly certs?: string;
  readonly vek?: string;
  readonly chain?: string;
  readonly crl?: string;
  readonly roots?: string;
  readonly at?: string;
  readonly policy?: string;
  readonly offline?: boolean;
  readonly cache?: string;
  readonly kds?: string;
  readonly out?: string;
}

export interface AttestInvocation {
  readonly command: 'attest';
  readonly action: 'show' | 'verify' | 'fetch';
  readonly report: string;
  readonly flags: AttestFlags;
}

/** Adds `attest show`, `attest verify` and `attest fetch`. */
export function addAttest(program: Command, take: (invocation: AttestInvocation) => void): void {
  const attest = program
    .command('attest')
    .description('look at, verify and find certificates for an SEV-SNP attestation report');
  const action = (name: AttestInvocation['action'], description: string): Command =>
    attest
      .command(name)
      .description(description)
      .argument('<report>', 'the report, 1184 bytes')
      .addOption(
        new Option('--product <name>', 'processor, for reports that do not say').choices(PRODUCTS),
      )
      .option('--later-versions', 'read reports of versions after 5 as version 5')
      .option('--debug', 'print stacks of errors')
      .allowExcessArguments(false)
      .action((report: string, flags: AttestFlags) => {
        take({ command: 'attest', action: name, report, flags });
      });

  action('show', 'print what a report says, without verifying it').option('--json', 'as JSON');

  network(
    action('verify', 'say whether a report is to be trusted, check by check')
      .option('--certs <dir>', 'take every .der and .pem in a folder, whatever their names')
      .option('--vek <file>', 'the certificate of the key that signed')
      .option('--chain <file>', 'the certificates above it, PEM')
      .option('--crl <file>', 'the revocation list')
      .option('--roots <file>', 'trust these root certificates in place of AMD’s')
      .option('--at <time>', 'when the certificates must be valid (default: now)')
      .option('--policy <file>', 'what to demand, a JSON file, see docs/attest.md')
      .option('--json', 'the verdict as JSON'),
  ).addHelpText('after', VERIFY_EPILOGUE);

  network(
    action('fetch', 'fetch the certificates and the revocation list for a report').option(
      '--out <dir>',
      'write them to a folder for --certs (default: only keep them)',
    ),
  );
}

const network = (command: Command): Command =>
  command
    .option('--offline', 'take certificates from the cache only')
    .option('--cache <dir>', 'where certificates are kept (default: the user’s cache folder)')
    .option('--kds <url>', 'another key server than AMD’s, with the same paths');

const VERIFY_EPILOGUE = `
Without --certs and --chain the certificates come from the cache, or from AMD's
key server, and so does the revocation list.

Exit status:
  0  trusted
  1  bad input: a file or an option, or a certificate that cannot be had
  2  the report's signature is wrong
  3  the chain does not lead to a trusted root (also dates, revocation, wrong chip)
  4  the policy refuses the report`;
