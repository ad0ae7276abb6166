/**
 * `cloister measure --vmm-type cloister`: what a launch by `cloister run` with the same options
 * measures. The plan is made by the assembly that the run has.
 */
import { VmmError } from '@cloister/core';
import { DEFAULT_VERSION } from '@cloister/sev/firmware';
import { DEFAULT_SEV_ES_POLICY, DEFAULT_SEV_POLICY } from '@cloister/sev/launch';
import { type MeasuredPage, measurePlan, planVmsas } from '@cloister/sev/measure';
import { planRun } from './assemble.js';
import { CLOISTER, LAUNCH_MEASURE_FLAGS, type MeasureFlags } from './measure-arguments.js';
import { digestOf, dumpVmsa, type Inputs, missing, refuse, smallNumber } from './measure-input.js';
import { type Measured, type Result, report } from './measure-output.js';
import { explainRun, MODE, type ProtectedRun } from './measure-run-explain.js';
import { measurementOf } from './measure-tools.js';
import { flagSource, type RunFlags } from './run-arguments.js';
import { type Protection, resolveOptions } from './run-options.js';

/** What the modes are as `--protect`. */
const PROTECTION = { sev: 'sev', seves: 'sev-es' } as const;

const POLICY: Readonly<Record<Protection, number>> = {
  sev: DEFAULT_SEV_POLICY,
  'sev-es': DEFAULT_SEV_ES_POLICY,
};

/** What describes the launches of other VMMs. */
const OTHERS = [
  ...['ovmf', 'vcpus', 'vcpuType', 'vcpuSig', 'vcpuFamily', 'vcpuModel', 'vcpuStepping'],
  ...['guestFeatures', 'snpOvmfHash', 'svsm', 'varsSize', 'varsFile', 'igvm', 'nativeZero'],
] as (keyof MeasureFlags)[];

export async function measureRun(
  flags: MeasureFlags,
  run: RunFlags,
  { inputs, cwd }: { readonly inputs: Inputs; readonly cwd: string },
): Promise<Result> {
  refuse(flags, OTHERS, `with --vmm-type ${CLOISTER}`);
  const launch = await protectedRun(flags, run, cwd);
  const { options, given } = launch;
  const mode = MODE[options.protect];
  const plan = await planRun(options, given);
  const pages: MeasuredPage[] = [];
  const listener = flags.pages ? (page: MeasuredPage) => void pages.push(page) : undefined;
  const digest = measurePlan(plan, { mode }, listener);
  if (flags.dumpVmsa && mode === 'seves') {
    for (const { index, bytes } of planVmsas(plan, 0n)) dumpVmsa(index, bytes, inputs);
  }
  const measurement = launchMeasurement(flags, launch, digest, inputs);
  const measured: Measured = { mode, digest, pages, ...(measurement && { measurement }) };
  const ok = measurement?.matches ?? true;
  if (flags.explain === undefined) return { text: report(flags, measured), ok };
  const observed = digestOf('--explain', flags.explain, digest.length);
  const explanation = await explainRun(launch, digest, observed);
  return { text: report(flags, { ...measured, explanation }), ok: ok && explanation.matches };
}

/** The options of the run, with a protection. */
async function protectedRun(
  { mode }: MeasureFlags,
  run: RunFlags,
  cwd: string,
): Promise<ProtectedRun> {
  const protect = protectionOf(mode, run.protect);
  const source = flagSource({ ...run, ...(protect && { protect }) }, cwd);
  const layers =
    run.config === undefined
      ? [source]
      : [(await import('./config-file.js')).loadConfig(source.resolvePath(run.config)), source];
  const { options, given } = resolveOptions(layers);
  if (options.protect === undefined) throw missing('--mode', 'sev or seves, as --protect has it');
  if (options.restore !== undefined) {
    throw new VmmError('invalid-argument', '--restore: a guest that goes on is not launched', {
      remedy: 'measure the run that launched it',
    });
  }
  // Whose platform and session it is does not change the plan, and the owner has not all of it.
  const none = { platform: undefined, session: undefined, dhCert: undefined, sendTo: undefined };
  return { options: { ...options, ...none, protect: options.protect }, given };
}

function protectionOf(
  mode: MeasureFlags['mode'],
  protect: Protection | undefined,
): Protection | undefined {
  if (mode === undefined) return protect;
  if (mode !== 'sev' && mode !== 'seves') {
    throw new VmmError('invalid-argument', `--mode ${mode}: cloister run has no such protection`, {
      remedy: 'sev or seves',
    });
  }
  const named = PROTECTION[mode];
  if (protect === undefined || protect === named) return named;
  const message = `--mode ${mode} and --protect ${protect} contradict each other`;
  throw new VmmError('invalid-argument', message);
}

/** What the secure processor makes of the digest. */
function launchMeasurement(
  flags: MeasureFlags,
  { options }: ProtectedRun,
  digest: Uint8Array,
  inputs: Inputs,
): Measured['measurement'] {
  const { tik, apiMajor, apiMinor, buildId } = flags;
  if (tik === undefined) {
    if (LAUNCH_MEASURE_FLAGS.every((name) => flags[name] === undefined)) return undefined;
    throw missing('--tik', 'the key of the owner’s session, or 32 zeros where there is none');
  }
  const { major, minor, build } = DEFAULT_VERSION;
  const launch = {
    version: {
      major: smallNumber('--api-major', apiMajor ?? String(major), 0xff),
      minor: smallNumber('--api-minor', apiMinor ?? String(minor), 0xff),
      build: smallNumber('--build-id', buildId ?? String(build), 0xff),
    },
    policy: options.policy ?? POLICY[options.protect],
    digest,
    tik: inputs.bytes('--tik', tik, 16),
  };
  return measurementOf(launch, flags, inputs);
}
