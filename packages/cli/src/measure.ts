/**
 * `cloister measure`: launch digests, and what belongs to them, over @cloister/sev.
 */
import { writeFileSync } from 'node:fs';
import { VmmError } from '@cloister/core';
import {
  type Explanation,
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
import { fileError } from './error-report.js';
import { EXIT } from './exit-status.js';
import type { MeasureFlags, MeasureInvocation } from './measure-arguments.js';
import { bigNumber, digestOf, type Inputs, inputsOf, smallNumber } from './measure-input.js';
import { encode, jsonText, type Result } from './measure-output.js';
import { hmac, idBlock, secret } from './measure-tools.js';

export interface MeasurePorts {
  readonly cwd: string;
  /** Writes a result to standard output. */
  readonly print: (text: string) => Promise<void>;
}

/** The status for something that was checked and is not so. */
const DIFFERS = 1;

/** Runs the command; resolves to the exit status. */
export async function measure(invocation: MeasureInvocation, ports: MeasurePorts): Promise<number> {
  const { text, ok } = await resultOf(invocation, inputsOf(ports.cwd));
  await ports.print(text);
  return ok ? EXIT.ok : DIFFERS;
}

function resultOf(invocation: MeasureInvocation, inputs: Inputs): Result | Promise<Result> {
  switch (invocation.action) {
    case 'launch':
      return launch(invocation.flags, inputs);
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
    return { text: report(flags, digest, pages, undefined), ok: true };
  }
  const described = launchOf(flags, inputs);
  const digest = measureLaunch(described, listener);
  if (flags.dumpVmsa) dump(described, inputs);
  if (flags.explain === undefined) return { text: report(flags, digest, pages), ok: true };
  const observed = digestOf('--explain', flags.explain, digest.length);
  const explanation = explain(described, observed);
  return { text: report(flags, digest, pages, explanation), ok: explanation.matches };
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

function missing(option: string, remedy: string): VmmError {
  return new VmmError('invalid-argument', `${option} is needed`, { remedy });
}

function refuse(flags: MeasureFlags, names: readonly (keyof MeasureFlags)[], why: string): void {
  const wrong = names.find((name) => flags[name] !== undefined);
  if (wrong === undefined) return;
  const option = wrong.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new VmmError('invalid-argument', `--${option} has no meaning ${why}`);
}

function dump(launch: LaunchDescription, inputs: Inputs): void {
  for (const [index, page] of vmsaPages(launch).entries()) {
    const path = inputs.path(`vmsa${index}.bin`);
    try {
      writeFileSync(path, page);
    } catch (cause) {
      throw fileError('VMSA', path, cause);
    }
  }
}

function report(
  flags: MeasureFlags,
  digest: Uint8Array,
  pages: readonly MeasuredPage[],
  explanation?: Explanation,
): string {
  if (flags.json) {
    const { mode = 'igvm' } = flags;
    const list = pages.map((page) => ({ ...page, digest: encode(page.digest, flags) }));
    return jsonText({
      mode,
      digest: encode(digest, flags),
      ...(flags.pages ? { pages: list } : {}),
      ...(explanation === undefined ? {} : { explanation }),
    });
  }
  const lines = pages.map(
    ({ gpa, type, name, digest }) =>
      `0x${gpa.toString(16).padStart(12, '0')} ${type.padEnd(10)} ${name.padEnd(16)} ` +
      encode(digest, flags),
  );
  lines.push(encode(digest, flags));
  if (explanation !== undefined) lines.push(...explained(explanation));
  return `${lines.join('\n')}\n`;
}

function explained({ matches, causes, tried }: Explanation): string[] {
  if (matches) return ['the digest is the one that this launch has'];
  if (causes.length === 0) {
    return [`the digest is another one; none of ${tried} variants of this launch has it`];
  }
  return [
    'the digest is another one; it is that of this launch with',
    ...causes.map(({ input, given, found }) => `  ${input}: given ${given}, found ${found}`),
  ];
}
