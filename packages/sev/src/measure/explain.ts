/**
 * Why a digest is not the expected one: tries the variants of a launch that people get wrong, alone
 * and two at a time, and names the inputs of the one that gives the observed digest.
 */
import { VmmError } from '@cloister/core';
import { equalBytes } from '../bytes.js';
import { CPU_TYPES, cpuSignature } from './cpu-signature.js';
import { hashCmdline, kernelHashes } from './kernel-hashes.js';
import { type LaunchDescription, type LaunchSteps, launchSteps } from './launch.js';
import type { LaunchChain, MeasuredRegion } from './launch-chain.js';
import { describeFeatures, SEV_FEATURES } from './sev-features.js';
import { VMM_PROFILES, type VmmName } from './vmm-profile.js';

/** An input that is not as described. */
export interface Cause {
  readonly input: string;
  readonly given: string;
  readonly found: string;
}

export interface Explanation {
  /** The launch as described gives the observed digest. */
  readonly matches: boolean;
  /** The inputs at fault; empty if it matches, and if no variant does. */
  readonly causes: readonly Cause[];
  /** How many digests were compared. */
  readonly tried: number;
}

interface Variant extends Cause {
  readonly change?: Partial<LaunchDescription>;
  readonly regions?: (regions: readonly MeasuredRegion[]) => readonly MeasuredRegion[];
}

const VCPUS_TRIED = 64;
const LARGE = 0x10000;

/** Looks for the described launch, or the nearest variant of it, that gives `observed`. */
export function explain(launch: LaunchDescription, observed: Uint8Array): Explanation {
  const size = launch.mode.startsWith('snp') ? 48 : 32;
  if (observed.length !== size) {
    throw new VmmError('invalid-argument', `a ${launch.mode} digest has ${size} bytes`, {
      remedy: 'of a LAUNCH_MEASURE blob, only an HMAC is known: see measure hmac',
    });
  }
  return new Search(withHashes(launch), observed).run(variantsOf(launch));
}

/** Files are hashed once, not once for each variant. */
function withHashes(launch: LaunchDescription): LaunchDescription {
  const { kernel, initrd, append, ...rest } = launch;
  if (kernel === undefined || launch.hashes !== undefined) return launch;
  return { ...rest, hashes: kernelHashes({ kernel, initrd, append }) };
}

class Search {
  readonly #launch: LaunchDescription;
  readonly #observed: Uint8Array;
  /** Chains after each large region, by all that was added before. */
  readonly #prefixes = new Map<string, LaunchChain>();
  readonly #contents = new Map<Uint8Array, number>();
  #tried = 0;

  constructor(launch: LaunchDescription, observed: Uint8Array) {
    this.#launch = launch;
    this.#observed = observed;
  }

  run(variants: readonly Variant[]): Explanation {
    const none = this.#attempt([], true);
    const matches = none?.length === 0;
    const causes = none ?? this.#first(singles(variants)) ?? this.#first(pairs(variants)) ?? [];
    return { matches, causes, tried: this.#tried };
  }

  #first(sets: Iterable<readonly Variant[]>): readonly Cause[] | undefined {
    let other: readonly Cause[] | undefined;
    for (const set of sets) {
      const causes = this.#attempt(set, false);
      if (causes?.length === set.length) return causes;
      other ??= causes;
    }
    return other;
  }

  /** The causes, if the launch with these variants and some number of vCPUs fits. */
  #attempt(set: readonly Variant[], strict: boolean): readonly Cause[] | undefined {
    const steps = this.#steps(set, strict);
    if (steps === undefined) return undefined;
    const chain = this.#prefix(steps.regions, steps.start);
    const causes = set.map(({ input, given, found }) => ({ input, given, found }));
    if (steps.vcpus === 0) return this.#fits(chain) ? causes : undefined;
    const most = Math.max(VCPUS_TRIED, 2 * steps.vcpus);
    for (let count = 1; count <= most; count++) {
      chain.add(steps.vmsa(count - 1));
      if (!this.#fits(chain)) continue;
      if (count === steps.vcpus) return causes;
      return [...causes, { input: 'vcpus', given: `${steps.vcpus}`, found: `${count}` }];
    }
    return undefined;
  }

  #steps(set: readonly Variant[], strict: boolean): LaunchSteps | undefined {
    const changes = set.map(({ change }) => change);
    const changed: LaunchDescription = Object.assign({}, this.#launch, ...changes);
    try {
      const steps = launchSteps(changed);
      const regions = set.reduce((list, each) => each.regions?.(list) ?? list, steps.regions);
      return { ...steps, regions };
    } catch (error) {
      // The launch as described has to be possible; a variant of it need not be.
      if (strict) throw error;
      return undefined;
    }
  }

  #prefix(regions: readonly MeasuredRegion[], start: () => LaunchChain): LaunchChain {
    let key = '';
    let chain = start();
    for (const region of regions) {
      key += `${region.type} ${region.gpa} ${region.size} ${this.#identity(region.bytes)};`;
      const known = this.#prefixes.get(key);
      if (known !== undefined) {
        chain = known.fork();
        continue;
      }
      chain.add(region);
      if (region.size >= LARGE) this.#prefixes.set(key, chain.fork());
    }
    return chain;
  }

  #identity(bytes: Uint8Array | undefined): number {
    if (bytes === undefined) return 0;
    const known = this.#contents.get(bytes) ?? this.#contents.size + 1;
    this.#contents.set(bytes, known);
    return known;
  }

  #fits(chain: LaunchChain): boolean {
    this.#tried++;
    return equalBytes(chain.digest(), this.#observed);
  }
}

function* singles(variants: readonly Variant[]): Iterable<readonly Variant[]> {
  for (const variant of variants) yield [variant];
}

function* pairs(variants: readonly Variant[]): Iterable<readonly Variant[]> {
  for (const [index, a] of variants.entries()) {
    for (const b of variants.slice(index + 1)) if (a.input !== b.input) yield [a, b];
  }
}

function variantsOf(launch: LaunchDescription): Variant[] {
  const { mode } = launch;
  const snp = mode === 'snp' || mode === 'snp:svsm';
  return [
    ...(snp ? featureVariants(launch) : []),
    ...(mode === 'sev' || mode === 'snp:ovmf-hash' ? [] : vcpuVariants(launch)),
    ...hashVariants(launch),
    ...(snp ? sectionVariants() : []),
    ...firmwareVariants(launch),
    ...modeVariants(launch),
  ];
}

/** Every known bit, and every two of them, turned over. */
function featureVariants({ features = 1n }: LaunchDescription): Variant[] {
  const given = BigInt(features);
  const bits = Object.keys(SEV_FEATURES).map((bit) => 1n << BigInt(bit));
  const flips = [...bits, ...bits.flatMap((a, at) => bits.slice(at + 1).map((b) => a | b))];
  return flips.map((flip) => ({
    input: 'guest features',
    given: describeFeatures(given),
    found: describeFeatures(given ^ flip),
    change: { features: given ^ flip },
  }));
}

function vcpuVariants(launch: LaunchDescription): Variant[] {
  const { vmm = 'qemu', vcpuType, vcpuSignature, vcpuModel } = launch;
  const known = new Map<number, string>();
  for (const [name, model] of Object.entries(CPU_TYPES)) {
    const signature = cpuSignature(model);
    if (!known.has(signature)) known.set(signature, name);
  }
  const hex = (signature: number) => `0x${signature.toString(16)}`;
  const given =
    vcpuType ??
    (vcpuSignature !== undefined ? hex(vcpuSignature) : vcpuModel && hex(cpuSignature(vcpuModel)));
  const types = [...known].map(([vcpuSignature, name]) => ({
    input: 'vCPU type',
    given: given ?? 'none',
    found: `${name} (${hex(vcpuSignature)})`,
    change: { vcpuSignature },
  }));
  const vmms = (Object.keys(VMM_PROFILES) as VmmName[])
    .filter((name) => name !== vmm)
    .map((name) => ({
      input: vmmInput(vmm, name),
      given: `${vmm}: ${VMM_PROFILES[vmm].what}`,
      found: `${name}: ${VMM_PROFILES[name].what}`,
      change: { vmm: name },
    }));
  const withoutType = types.map((each) => ({ ...each, change: only(each.change.vcpuSignature) }));
  return [...vmms, ...withoutType];
}

/** What the difference between two VMMs comes from, where it is one thing. */
function vmmInput(a: VmmName, b: VmmName): string {
  const both = [a, b].sort().join(' ');
  if (both === 'qemu qemu-legacy') return 'VMM (FPU defaults of the VMSA)';
  if (both === 'ec2 ec2-rdx0') return 'VMM (rdx of the VMSA)';
  return 'VMM';
}

/** The signature takes the place of whatever described the CPU. */
function only(vcpuSignature: number): Partial<LaunchDescription> {
  return { vcpuSignature, vcpuType: undefined, vcpuModel: undefined } as never;
}

function hashVariants(launch: LaunchDescription): Variant[] {
  const { kernel, append = '' } = launch;
  if (kernel === undefined) return [];
  const values = withHashes(launch).hashes!;
  const given = JSON.stringify(append);
  const none = { hashes: undefined } as unknown as Partial<LaunchDescription>;
  const line = (found: string, text: string): Variant => ({
    input: 'command line',
    given,
    found,
    change: { hashes: { ...values, cmdline: hashCmdline(text) } },
  });
  const noInitrd = kernelHashes({ kernel: new Uint8Array() }).initrd;
  return [
    { input: 'kernel hashes', given: 'on', found: 'off, or not measured', change: none },
    line('without the NUL at its end', append),
    line('with two NULs at its end', `${append}\0\0`),
    line('with a newline at its end', `${append}\n\0`),
    line('without spaces around it', `${append.trim()}\0`),
    line('empty', '\0'),
    {
      input: 'initrd',
      given: 'a file',
      found: 'none',
      change: { hashes: { ...values, initrd: noInitrd } },
    },
  ];
}

/** VMMs that do not know a kind of section leave it out, or give it as something else. */
function sectionVariants(): Variant[] {
  const caa = ({ name }: MeasuredRegion) => name === 'svsm-caa';
  const input = 'SVSM_CAA section';
  const given = 'a zero page';
  const as = (type: MeasuredRegion['type']) => (regions: readonly MeasuredRegion[]) =>
    regions.map((each) => (caa(each) ? { ...each, type } : each));
  return [
    { input, given, found: 'not measured', regions: (all) => all.filter((each) => !caa(each)) },
    { input, given, found: 'an unmeasured page', regions: as('unmeasured') },
  ];
}

/** Where variables have a flash of their own, only the code is measured. */
function firmwareVariants({ firmware, mode }: LaunchDescription): Variant[] {
  if (firmware === undefined || mode === 'snp:svsm') return [];
  return [128, 528]
    .map((kilobytes) => kilobytes * 1024)
    .filter((vars) => vars < firmware.length)
    .map((vars) => ({
      input: 'firmware',
      given: `all ${firmware.length} bytes`,
      found: `without the ${vars} bytes of variables before the code`,
      change: { firmware: firmware.subarray(vars) },
    }));
}

function modeVariants({ mode }: LaunchDescription): Variant[] {
  if (mode !== 'sev' && mode !== 'seves') return [];
  const found = mode === 'sev' ? 'seves' : 'sev';
  return [{ input: 'mode', given: mode, found, change: { mode: found } }];
}
