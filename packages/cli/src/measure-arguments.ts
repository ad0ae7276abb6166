/**
 * The words after `cloister measure`: what to predict. The options are those of sev-snp-measure,
 * and some more. Parsing is commander's.
 */
import { type Command, Option } from 'commander';
import { type RunFlags, runOptions } from './run-arguments.js';

const MODES = ['sev', 'seves', 'snp', 'snp:ovmf-hash', 'snp:svsm'] as const;
const VMMS = ['QEMU', 'QEMU-legacy', 'ec2', 'ec2-rdx0', 'gce', 'krun', 'cloister'] as const;

/** The `--vmm-type` that is `cloister run`. */
export const CLOISTER = 'cloister';

export interface OutputFlags {
  readonly json?: boolean;
  readonly outputFormat?: 'hex' | 'base64';
}

export interface MeasureFlags extends OutputFlags {
  readonly mode?: (typeof MODES)[number];
  readonly vcpus?: string;
  readonly vcpuType?: string;
  readonly vcpuSig?: string;
  readonly vcpuFamily?: string;
  readonly vcpuModel?: string;
  readonly vcpuStepping?: string;
  readonly ovmf?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly guestFeatures?: string;
  readonly snpOvmfHash?: string;
  readonly vmmType?: string;
  readonly svsm?: string;
  readonly varsSize?: string;
  readonly varsFile?: string;
  readonly igvm?: string;
  readonly nativeZero?: boolean;
  readonly dumpVmsa?: boolean;
  readonly explain?: string;
  readonly pages?: boolean;
  readonly tik?: string;
  readonly nonce?: string;
  readonly launchMeasureBlob?: string;
  readonly apiMajor?: string;
  readonly apiMinor?: string;
  readonly buildId?: string;
}

/** What makes a measurement of a digest. */
export const LAUNCH_MEASURE_FLAGS = [
  'tik',
  'nonce',
  'launchMeasureBlob',
  'apiMajor',
  'apiMinor',
  'buildId',
] as const satisfies readonly (keyof MeasureFlags)[];

export interface IdBlockFlags extends OutputFlags {
  readonly measurement?: string;
  readonly idKey?: string;
  readonly authorKey?: string;
  readonly familyId?: string;
  readonly imageId?: string;
  readonly guestSvn?: string;
  readonly policy?: string;
  readonly block?: string;
  readonly auth?: string;
}

export interface HmacFlags extends OutputFlags {
  readonly digest: string;
  readonly tik: string;
  readonly apiMajor: string;
  readonly apiMinor: string;
  readonly buildId: string;
  readonly policy: string;
  readonly nonce?: string;
  readonly launchMeasureBlob?: string;
}

export interface SecretFlags extends OutputFlags {
  readonly tik: string;
  readonly tek: string;
  readonly launchMeasureBlob: string;
  readonly secret: readonly string[];
  readonly iv?: string;
  readonly headerFile?: string;
  readonly secretFile?: string;
}

export type MeasureInvocation = { readonly command: 'measure' } & (
  | {
      readonly action: 'launch';
      readonly flags: MeasureFlags;
      /** Options of `cloister run`; those that have the name of a flag are among the flags too. */
      readonly run: RunFlags;
    }
  | { readonly action: 'id-block'; readonly flags: IdBlockFlags }
  | { readonly action: 'hmac'; readonly flags: HmacFlags }
  | { readonly action: 'secret'; readonly flags: SecretFlags }
);

/** Adds `measure`, `measure id-block`, `measure hmac` and `measure secret`. */
export function addMeasure(program: Command, take: (invocation: MeasureInvocation) => void): void {
  const measure = program
    .command('measure')
    .description('predict what the launch of a confidential guest measures')
    .usage(
      '--mode MODE --ovmf FILE [options]\n' +
        '       cloister measure --vmm-type cloister --mode MODE [options of cloister run]',
    )
    .enablePositionalOptions()
    .allowExcessArguments(false);
  launchOptions(measure);
  const own = measure.options.map((option) => option.attributeName());
  const run = addRunOptions(measure);
  measure.addHelpText('after', EPILOGUE).action((all: MeasureFlags & RunFlags) =>
    take({
      command: 'measure',
      action: 'launch',
      flags: pick<MeasureFlags>(all, own),
      run: pick<RunFlags>(all, run),
    }),
  );
  addIdBlock(measure, take);
  addHmac(measure, take);
  addSecret(measure, take);
}

/** Options like `--json` may stand before the command as well. */
function flagsOf<T>(command: Command): T {
  return command.optsWithGlobals() as T;
}

/** Takes the options of a run, which have a help of their own; returns their names. */
function addRunOptions(measure: Command): string[] {
  const names = new Set(measure.options.map((option) => option.attributeName()));
  const options = runOptions().flatMap(([, group]) => group);
  for (const option of options) {
    if (!names.has(option.attributeName())) measure.addOption(option.hideHelp());
  }
  return options.map((option) => option.attributeName()).filter((name) => name !== 'debug');
}

const pick = <T>(flags: object, names: readonly string[]): T =>
  Object.fromEntries(Object.entries(flags).filter(([name]) => names.includes(name))) as T;

function launchOptions(measure: Command): Command {
  measure
    .optionsGroup('Launch:')
    .addOption(new Option('--mode <mode>', MODES.join(', ')).choices(MODES))
    .addOption(vmmOption())
    .option('--ovmf <file>', 'firmware; only its CODE where variables are apart')
    .option('--kernel <file>', 'kernel that the firmware checks, or that cloister run boots')
    .option('--initrd <file>', 'initial RAM disk')
    .option('--append <text>', 'kernel command line')
    .option('--snp-ovmf-hash <digest>', 'digest of --mode snp:ovmf-hash: do not hash the firmware')
    .option('--svsm <file>', 'SVSM image, for --mode snp:svsm')
    .option('--vars-size <n>', 'bytes of variables between the SVSM and the firmware')
    .option('--vars-file <file>', 'the same, as the size of a file')
    .option('--igvm <file>', 'measure an IGVM file, in place of all these')
    .option('--native-zero', 'IGVM: measure pages of zeros as ZERO pages');
  measure
    .optionsGroup('vCPUs:')
    .option('--vcpus <n>', 'number of vCPUs')
    .option('--vcpu-type <name>', 'CPU model of QEMU, e.g. EPYC-v4')
    .option('--vcpu-sig <n>', 'or CPUID Fn0000_0001 EAX')
    .option('--vcpu-family <n>', 'or family,')
    .option('--vcpu-model <n>', 'model')
    .option('--vcpu-stepping <n>', 'and stepping')
    .option('--guest-features <n>', 'SEV_FEATURES (default: 0x1; without effect on sev, seves)');
  measure
    .optionsGroup('What LAUNCH_MEASURE returns (--vmm-type cloister):')
    .option('--tik <key>', 'transport integrity key: a file, or 32 hex digits')
    .option('--nonce <hex>', 'nonce of the measurement')
    .option('--launch-measure-blob <blob>', 'check this: base64, hex or a file')
    .option('--api-major <n>', 'firmware (default: that of an emulated platform)')
    .option('--api-minor <n>', 'its minor version')
    .option('--build-id <n>', 'its build');
  return output(measure.optionsGroup('Output:'))
    .option('--explain <digest>', 'say which input is at fault, given the digest of the machine')
    .option('--pages', 'list what is measured, with running digests')
    .option('--dump-vmsa', 'write the VMSA of each vCPU to vmsa<n>.bin');
}

function vmmOption(): Option {
  const names = VMMS.join(', ');
  return new Option('--vmm-type <name>', `${names} (default: QEMU)`).argParser((value) => value);
}

function output(command: Command): Command {
  return command
    .addOption(
      new Option('--output-format <hex|base64>', 'of digests (default: hex)').choices([
        'hex',
        'base64',
      ]),
    )
    .option('--json', 'print JSON')
    .option('--debug', 'print stacks of errors');
}

function addIdBlock(measure: Command, take: (invocation: MeasureInvocation) => void): void {
  output(
    measure
      .command('id-block')
      .description('make, or check, an ID block and its ID authentication')
      .option('--measurement <digest>', 'the digest that the launch must have')
      .option('--id-key <file>', 'private key on P-384 that signs the block (PEM or DER)')
      .option('--author-key <file>', 'private key that signs the ID key')
      .option('--family-id <hex>', '16 bytes (default: zeros)')
      .option('--image-id <hex>', '16 bytes (default: zeros)')
      .option('--guest-svn <n>', 'security version number of the guest (default: 0)')
      .option('--policy <n>', 'SNP guest policy (default: 0x30000)')
      .option('--block <file>', 'check this ID block, raw or base64')
      .option('--auth <file>', 'against this ID authentication')
      .allowExcessArguments(false),
  ).action((_, command: Command) =>
    take({ command: 'measure', action: 'id-block', flags: flagsOf(command) }),
  );
}

function addHmac(measure: Command, take: (invocation: MeasureInvocation) => void): void {
  output(
    measure
      .command('hmac')
      .description('what LAUNCH_MEASURE returns for a digest (SEV and SEV-ES), or a check of it')
      .requiredOption('--digest <digest>', 'the launch digest')
      .requiredOption('--tik <key>', 'transport integrity key: a file, or 32 hex digits')
      .requiredOption('--api-major <n>', 'version of the firmware, as the platform status has it')
      .requiredOption('--api-minor <n>', 'its minor version')
      .requiredOption('--build-id <n>', 'its build')
      .requiredOption('--policy <n>', 'SEV guest policy')
      .option('--nonce <hex>', 'nonce of the measurement')
      .option('--launch-measure-blob <blob>', 'check this: base64, hex or a file')
      .allowExcessArguments(false),
  ).action((_, command: Command) =>
    take({ command: 'measure', action: 'hmac', flags: flagsOf(command) }),
  );
}

function addSecret(measure: Command, take: (invocation: MeasureInvocation) => void): void {
  const collect = (value: string, list: readonly string[] = []) => [...list, value];
  output(
    measure
      .command('secret')
      .description('encrypt secrets for a guest that was measured (SEV and SEV-ES)')
      .requiredOption('--tik <key>', 'transport integrity key: a file, or 32 hex digits')
      .requiredOption('--tek <key>', 'transport encryption key')
      .requiredOption('--launch-measure-blob <blob>', 'of LAUNCH_MEASURE: base64, hex or a file')
      .requiredOption('--secret <guid:file>', 'a secret and what it is; repeatable', collect)
      .option('--iv <hex>', '16 bytes, never used before (default: random)')
      .option('--header-file <file>', 'write the header here')
      .option('--secret-file <file>', 'write the encrypted secrets here')
      .allowExcessArguments(false),
  ).action((_, command: Command) =>
    take({ command: 'measure', action: 'secret', flags: flagsOf(command) }),
  );
}

const EPILOGUE = `
Numbers are decimal or 0x. The digest and a newline is all that is printed,
without --json, --pages, --explain and --tik. krun and IGVM are unconfirmed: no
digest of a machine is known for them.

--vmm-type cloister predicts a launch by cloister run, and takes all its options,
also in place of --mode (--protect sev or sev-es). Of the host's files it reads the
guest's alone: kernel, initrd, --config and plugins.

Exit status:
  0  done; with --explain, --block or --launch-measure-blob: it is as described
  1  it is not
  2  wrong usage, or a bad file`;
