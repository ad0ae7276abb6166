/**
 * `cloister measure`: launch digests, and what belongs to them, over @cloister/sev.
 */
import { VmmError } from '@cloister/core';
import {
  explain,
  type LaunchDescription,
  type LaunchMode,
  type MeasuredPage,
  measureIgvm,
  measure as measureLaunch,
  type VmmName,
  vmmProfile,
  vmsaPages,
} from '@cloister/sev/measure';
import { EXIT } from './exit-status.js';
import {
  CLOISTER,
  LAUNCH_MEASURE_FLAGS,
  type MeasureFlags,
  type MeasureInvocation,
} from './measure-arguments.js';
import {
  bigNumber,
  digestOf,
  dumpVmsa,
  type Inputs,
  inputsOf,
  meaningless,
  missing,
  refuse,
  smallNumber,
} from './measure-input.js';
import { type Result, report } from './measure-output.js';
import { hmac, idBlock, secret } from './measure-tools.js';
import type { RunFlags } from './run-arguments.js';

export interface MeasurePorts {
  readonly cwd: string;
  /** Writes a result to standard output. */
  readonly print: (text: string) => Promise<void>;
}

/** The status for something that was checked and is not so. */
const DIFFERS = 1;

/** Runs the command; resolves to the exit status. */
export async function measure(invocation: MeasureInvocation, ports: MeasurePorts): Promise<number> {
  const { text, ok } = await resultOf(invocation, ports.cwd);
  await ports.print(text);
  return ok ? EXIT.ok : DIFFERS;
}

async function resultOf(invocation: MeasureInvocation, cwd: string): Promise<Result> {
  const inputs = inputsOf(cwd);
  switch (invocation.action) {
    case 'launch': {
      const { flags, run } = invocation;
      if (flags.vmmType?.toLowerCase() !== CLOISTER) {
        refuseOthers(flags, run);
        return launch(flags, inputs);
      }
      // The machine is loaded only where it is needed.
      const { measureRun } = await import('./measure-run.js');
      return measureRun(flags, run, { inputs, cwd });
    }
    case 'id-block':
      return idBlock(invocation.flags, inputs);
    case 'hmac':
      return hmac(invocation.flags, inputs);
    case 'secret':
      return secret(invocation.flags, inputs);
  }
}

function launch(flags: MeasureFlags, inputs: Inputs): Result {
  const pages: MeasuredPage[] = [];
  const listener = flags.pages ? (page: MeasuredPage) => void pages.push(page) : undefined;
  if (flags.igvm !== undefined) {
    refuse(flags, ['mode', 'ovmf', 'kernel', 'svsm', 'explain', 'dumpVmsa'], 'with --igvm');
    const { nativeZero = false } = flags;
    const digest = measureIgvm(inputs.file('IGVM file', flags.igvm), { nativeZero }, listener);
    return { text: report(flags, { mode: 'igvm', digest, pages }), ok: true };
  }
  const described = launchOf(flags, inputs);
  const digest = measureLaunch(described, listener);
  if (flags.dumpVmsa) dump(described, inputs);
  const measured = { mode: described.mode, digest, pages };
  if (flags.explain === undefined) return { text: report(flags, measured), ok: true };
  const observed = digestOf('--explain', flags.explain, digest.length);
  const explanation = explain(described, observed);
  return { text: report(flags, { ...measured, explanation }), ok: explanation.matches };
}

function launchOf(flags: MeasureFlags, inputs: Inputs): LaunchDescription {
  const { mode, ovmf } = flags;
  if (mode === undefined) throw missing('--mode', 'sev, seves, snp, snp:ovmf-hash or snp:svsm');
  if (ovmf === undefined) throw missing('--ovmf', 'the firmware image of the guest');
  if (flags.vcpus === undefined && mode !== 'sev' && mode !== 'snp:ovmf-hash') {
    throw missing('--vcpus', 'the digest depends on the number of vCPUs');
  }
  const optional = <K extends keyof LaunchDescription>(
    name: K,
    value: LaunchDescription[K] | undefined,
  ) => (value === undefined ? {} : { [name]: value });
  const file = (what: string, name: string | undefined) =>
    name === undefined ? undefined : inputs.file(what, name);
  const hash = flags.snpOvmfHash;
  const firmwareDigest = hash === undefined ? undefined : digestOf('--snp-ovmf-hash', hash, 48);
  const features = flags.guestFeatures;
  return {
    mode,
    firmware: inputs.file('firmware', ovmf),
    vmm: vmmOf(flags),
    ...optional('kernel', file('kernel', flags.kernel)),
    ...optional('initrd', file('initrd', flags.initrd)),
    ...optional('append', flags.append),
    ...optional('svsm', file('SVSM image', flags.svsm)),
    ...optional('varsSize', varsSize(flags, inputs)),
    ...optional('firmwareDigest', firmwareDigest),
    ...(features === undefined ? {} : { features: bigNumber('--guest-features', features) }),
    ...(flags.vcpus === undefined ? {} : { vcpus: smallNumber('--vcpus', flags.vcpus) }),
    ...vcpuOf(flags, mode),
  } as LaunchDescription;
}

function vmmOf({ vmmType = 'QEMU' }: MeasureFlags): VmmName {
  const name = vmmType.toLowerCase();
  vmmProfile(name);
  return name as VmmName;
}

function varsSize({ varsSize, varsFile }: MeasureFlags, inputs: Inputs): number | undefined {
  if (varsSize !== undefined && varsFile !== undefined) {
    throw new VmmError('invalid-argument', '--vars-size and --vars-file say the same thing twice');
  }
  if (varsSize !== undefined) return smallNumber('--vars-size', varsSize);
  return varsFile === undefined ? undefined : inputs.file('variables', varsFile).length;
}

/** The modes without vCPUs take the options that describe one, and have no use for them. */
function vcpuOf(flags: MeasureFlags, mode: LaunchMode): Partial<LaunchDescription> {
  if (mode === 'sev' || mode === 'snp:ovmf-hash') return {};
  const { vcpuType, vcpuSig, vcpuFamily, vcpuModel, vcpuStepping } = flags;
  const numbers = [vcpuFamily, vcpuModel, vcpuStepping];
  const given = numbers.filter((each) => each !== undefined).length;
  if (given !== 0 && given !== numbers.length) {
    throw missing('--vcpu-family, --vcpu-model, --vcpu-stepping', 'all three go together');
  }
  return {
    ...(vcpuType === undefined ? {} : { vcpuType }),
    ...(vcpuSig === undefined ? {} : { vcpuSignature: smallNumber('--vcpu-sig', vcpuSig) }),
    ...(given === 0
      ? {}
      : {
          vcpuModel: {
            family: smallNumber('--vcpu-family', vcpuFamily!),
            model: smallNumber('--vcpu-model', vcpuModel!),
            stepping: smallNumber('--vcpu-stepping', vcpuStepping!),
          },
        }),
  };
}

/** What describes a run of ours says nothing about another VMM. */
function refuseOthers(flags: MeasureFlags, run: RunFlags): void {
  const other = Object.keys(run).find((name) => !(name in flags));
  const ours = LAUNCH_MEASURE_FLAGS.find((name) => flags[name] !== undefined);
  if (other !== undefined) throw meaningless(other, 'without --vmm-type cloister');
  if (ours === undefined) return;
  const remedy = 'give the digest to cloister measure hmac';
  throw meaningless(ours, 'without --vmm-type cloister', remedy);
}

function dump(launch: LaunchDescription, inputs: Inputs): void {
  for (const [index, page] of vmsaPages(launch).entries()) dumpVmsa(index, page, inputs);
}
