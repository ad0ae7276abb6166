/**
 * A launch as its owner describes it, and what is measured of it, in order.
 */
import { type LaunchPageType, VmmError } from '@cloister/core';
import { part } from '../bytes.js';
import { type CpuModel, cpuSignature, cpuTypeSignature } from './cpu-signature.js';
import {
  type FirmwareLayout,
  type FirmwareSection,
  parseFirmware,
  SECTION,
} from './firmware-tables.js';
import {
  KERNEL_HASHES_SIZE,
  type KernelHashes,
  kernelHashes,
  kernelHashesPage,
  kernelHashesTable,
} from './kernel-hashes.js';
import {
  type LaunchChain,
  type MeasuredRegion,
  PAGE_SIZE,
  sevChain,
  snpChain,
} from './launch-chain.js';
import {
  firmwareVmsa,
  RESET_VECTOR,
  svsmVmsa,
  type VmmName,
  type VmmProfile,
  vmmProfile,
} from './vmm-profile.js';

export const MODES = ['sev', 'seves', 'snp', 'snp:ovmf-hash', 'snp:svsm'] as const;
export type LaunchMode = (typeof MODES)[number];

/** The inputs of a measurement: what `cloister measure` takes, with files read. */
export interface LaunchDescription {
  /** `snp:ovmf-hash` measures the firmware's pages alone. */
  readonly mode: LaunchMode;
  /** The firmware image; only its CODE flash where variables have a flash of their own. */
  readonly firmware?: Uint8Array;
  /** Its tables, where the image is not at hand. */
  readonly layout?: FirmwareLayout;
  /** SNP: the digest after the firmware's pages (`snp:ovmf-hash`), in place of the image. */
  readonly firmwareDigest?: Uint8Array;
  /** Number of vCPUs; 1 if absent. */
  readonly vcpus?: number;
  /** QEMU's CPU model, or CPUID's signature, or family, model and stepping. One of them. */
  readonly vcpuType?: string;
  readonly vcpuSignature?: number;
  readonly vcpuModel?: CpuModel;
  /** SEV_FEATURES of SNP; 1 (SNP) if absent. SEV and SEV-ES have none. */
  readonly features?: number | bigint;
  /** `qemu` if absent. */
  readonly vmm?: VmmName;
  /** Kernel, initrd and command line that are measured through the kernel hashes table. */
  readonly kernel?: Uint8Array;
  readonly initrd?: Uint8Array;
  readonly append?: string;
  /** Their hashes, in place of the three. */
  readonly hashes?: KernelHashes;
  /** `snp:svsm`: the SVSM image, and the bytes of variables between it and the firmware. */
  readonly svsm?: Uint8Array;
  readonly varsSize?: number;
}

/** What is measured, in order. The VMSAs come last, and are made as they are asked for. */
export interface LaunchSteps {
  readonly start: () => LaunchChain;
  readonly regions: readonly MeasuredRegion[];
  /** How many vCPUs have a VMSA. */
  readonly vcpus: number;
  /** The same object for all vCPUs that start alike. */
  readonly vmsa: (index: number) => MeasuredRegion;
}

/** Where KVM, and the firmware of Milan and Genoa, say that a VMSA is. */
export const VMSA_GPA = 0xfffffffff000;

const VCPUS_MAX = 0x10000;

/** Works out the steps. `VmmError` for inputs that no such launch can have. */
export function launchSteps(launch: LaunchDescription): LaunchSteps {
  switch (launch.mode) {
    case 'sev':
      return { ...sevSteps(launch), vcpus: 0, vmsa: noVmsa };
    case 'seves':
      return { ...sevSteps(launch), ...firmwareVcpus(launch, 0n) };
    case 'snp:ovmf-hash':
      return { start: () => snpChain(), regions: [snpFirmware(launch)], vcpus: 0, vmsa: noVmsa };
    case 'snp':
      return snpSteps(launch);
    case 'snp:svsm':
      return svsmSteps(launch);
    default:
      throw new VmmError('invalid-argument', `mode ${JSON.stringify(launch.mode)} is not known`, {
        remedy: `one of ${MODES.join(', ')}`,
      });
  }
}

function noVmsa(): never {
  throw new VmmError('internal', 'this launch has no VMSA');
}

/** The launch's firmware tables. */
export function layoutOf(launch: LaunchDescription): FirmwareLayout {
  return launch.layout ?? parseFirmware(image(launch));
}

function image({ firmware }: LaunchDescription): Uint8Array {
  if (firmware !== undefined) return firmware;
  throw new VmmError('invalid-argument', 'a firmware image is needed');
}

function normal(name: string, gpa: number, bytes: Uint8Array): MeasuredRegion {
  return { name, gpa, size: bytes.length, type: 'normal', bytes };
}

function sevSteps(launch: LaunchDescription): Pick<LaunchSteps, 'start' | 'regions'> {
  const firmware = image(launch);
  const regions = [normal('firmware', 2 ** 32 - firmware.length, firmware)];
  const values = hashesOf(launch);
  if (values !== undefined) {
    const { hashTable } = layoutOf(launch);
    if (hashTable === undefined) throw noKernelHashes();
    if (hashTable.size < KERNEL_HASHES_SIZE) throw noKernelHashes();
    regions.push(normal('kernel-hashes', hashTable.base, kernelHashesTable(values)));
  }
  return { start: sevChain, regions };
}

function noKernelHashes(): VmmError {
  return new VmmError('invalid-file', 'the firmware does not take kernel hashes', {
    remedy: 'use a build that does (OvmfPkg/AmdSev), or leave the kernel out',
  });
}

function hashesOf(launch: LaunchDescription): KernelHashes | undefined {
  if (launch.hashes !== undefined) return launch.hashes;
  const { kernel, initrd, append } = launch;
  if (kernel !== undefined) return kernelHashes({ kernel, initrd, append });
  if (initrd === undefined && append === undefined) return undefined;
  throw new VmmError('invalid-argument', 'an initrd or a command line needs a kernel');
}

function snpFirmware(launch: LaunchDescription): MeasuredRegion {
  const firmware = image(launch);
  if (firmware.length === 0 || firmware.length % PAGE_SIZE !== 0) {
    const message = `the firmware has ${firmware.length} bytes, which are not whole pages`;
    throw new VmmError('invalid-file', message);
  }
  return normal('firmware', 2 ** 32 - firmware.length, firmware);
}

function snpSteps(launch: LaunchDescription): LaunchSteps {
  const { firmwareDigest } = launch;
  const firmware = firmwareDigest === undefined ? [snpFirmware(launch)] : [];
  const layout = layoutOf(launch);
  return {
    start: () => snpChain(firmwareDigest),
    regions: [...firmware, ...metadataRegions(launch, layout)],
    ...firmwareVcpus(launch, featuresOf(launch)),
  };
}

const SECTION_NAME: Readonly<Record<number, string>> = {
  [SECTION.secMem]: 'firmware-memory',
  [SECTION.secrets]: 'secrets',
  [SECTION.cpuid]: 'cpuid',
  [SECTION.svsmCaa]: 'svsm-caa',
  [SECTION.kernelHashes]: 'kernel-hashes',
};

function metadataRegions(launch: LaunchDescription, layout: FirmwareLayout): MeasuredRegion[] {
  const profile = vmmProfile(launch.vmm ?? 'qemu');
  const values = hashesOf(launch);
  if (values !== undefined && !layout.sections.some(({ type }) => type === SECTION.kernelHashes)) {
    throw noKernelHashes();
  }
  const region = (section: FirmwareSection): MeasuredRegion => {
    const { gpa, size, type } = section;
    const name = SECTION_NAME[type]!;
    if (type === SECTION.kernelHashes && values !== undefined) {
      return hashesRegion(name, section, layout, values);
    }
    return { name, gpa, size, type: pageType(section, profile) };
  };
  const { sections } = layout;
  if (!profile.cpuidLast) return sections.map(region);
  const isCpuid = ({ type }: FirmwareSection) => type === SECTION.cpuid;
  return [...sections.filter((each) => !isCpuid(each)), ...sections.filter(isCpuid)].map(region);
}

function pageType({ type, size }: FirmwareSection, profile: VmmProfile): LaunchPageType {
  if (type === SECTION.secMem) return profile.secMem;
  if (type !== SECTION.secrets && type !== SECTION.cpuid) return 'zero';
  const kind = type === SECTION.cpuid ? 'cpuid' : 'secrets';
  if (size === PAGE_SIZE) return kind;
  throw new VmmError('invalid-file', `firmware: its ${kind} section has ${size} bytes, not a page`);
}

function hashesRegion(
  name: string,
  { gpa, size }: FirmwareSection,
  { hashTable }: FirmwareLayout,
  values: KernelHashes,
): MeasuredRegion {
  if (hashTable === undefined) throw noKernelHashes();
  if (size !== PAGE_SIZE) {
    const message = `firmware: its kernel hashes section has ${size} bytes, not a page`;
    throw new VmmError('invalid-file', message);
  }
  return normal(name, gpa, kernelHashesPage(values, hashTable.base));
}

function featuresOf({ features = 1n }: LaunchDescription): bigint {
  const value = Number.isInteger(features) || typeof features === 'bigint' ? BigInt(features) : -1n;
  if (value >= 0n && value < 2n ** 64n) return value;
  throw new VmmError('invalid-argument', `guest features ${features} are not a 64-bit number`);
}

function vcpusOf({ vcpus = 1 }: LaunchDescription): number {
  if (Number.isInteger(vcpus) && vcpus >= 1 && vcpus <= VCPUS_MAX) return vcpus;
  throw new VmmError('invalid-argument', `${vcpus} is not a number of vCPUs (1 to ${VCPUS_MAX})`);
}

function signatureOf(launch: LaunchDescription, profile: VmmProfile): number {
  const given = [
    launch.vcpuSignature,
    launch.vcpuType === undefined ? undefined : cpuTypeSignature(launch.vcpuType),
    launch.vcpuModel === undefined ? undefined : cpuSignature(launch.vcpuModel),
  ].filter((each) => each !== undefined);
  const remedy = 'give a vCPU type, or a signature, or family, model and stepping';
  if (given.length > 1) {
    throw new VmmError('invalid-argument', 'the vCPU is described twice', { remedy });
  }
  const [signature] = given;
  if (signature === undefined) {
    if (profile.rdx !== 'signature') return 0;
    throw new VmmError('invalid-argument', 'the digest depends on the vCPU type', { remedy });
  }
  if (Number.isInteger(signature) && signature >= 0 && signature < 2 ** 32) return signature;
  throw new VmmError('invalid-argument', `vCPU signature ${signature} is not a 32-bit number`);
}

function vmsaRegion(index: number, bytes: Uint8Array): MeasuredRegion {
  return { name: `vmsa-${index}`, gpa: VMSA_GPA, size: PAGE_SIZE, type: 'vmsa', bytes };
}

function firmwareVcpus(
  launch: LaunchDescription,
  features: bigint,
): Pick<LaunchSteps, 'vcpus' | 'vmsa'> {
  const { resetEip } = layoutOf(launch);
  if (resetEip === undefined) {
    throw new VmmError('invalid-file', 'the firmware has no SEV-ES reset block', {
      remedy: 'use an OVMF build with support for SEV-ES',
    });
  }
  const profile = vmmProfile(launch.vmm ?? 'qemu');
  const signature = signatureOf(launch, profile);
  const page = (first: boolean) => {
    const eip = first ? RESET_VECTOR : resetEip;
    return firmwareVmsa({ profile, first, eip, signature, features });
  };
  const first = page(true);
  const other = page(false);
  return {
    vcpus: vcpusOf(launch),
    vmsa: (index) => vmsaRegion(index, index === 0 ? first : other),
  };
}

/** The firmware, below it its variables, below them the SVSM, whose own tables count. */
function svsmSteps(launch: LaunchDescription): LaunchSteps {
  const { svsm, varsSize, kernel, hashes } = launch;
  if (svsm === undefined || varsSize === undefined) {
    throw new VmmError('invalid-argument', 'mode snp:svsm needs an SVSM image and the vars size');
  }
  if (kernel !== undefined || hashes !== undefined) {
    throw new VmmError('unsupported', 'an SVSM takes no kernel hashes', { remedy: 'no kernel' });
  }
  const firmware = snpFirmware(launch);
  const gpa = firmware.gpa - varsSize - svsm.length;
  if (!Number.isInteger(varsSize) || varsSize < 0 || varsSize % PAGE_SIZE !== 0 || gpa < 0) {
    throw new VmmError('invalid-argument', `the vars size ${varsSize} is not whole pages`);
  }
  const layout = parseFirmware(svsm);
  if (layout.svsmEntry === undefined) {
    throw new VmmError('invalid-file', 'the SVSM image does not say where it starts');
  }
  part(svsm, layout.svsmEntry, 0, "the SVSM's entry point");
  const profile = vmmProfile(launch.vmm ?? 'qemu');
  const vmsa = svsmVmsa({
    profile,
    entry: gpa + layout.svsmEntry,
    signature: signatureOf(launch, profile),
    features: featuresOf(launch),
  });
  return {
    start: () => snpChain(),
    regions: [firmware, normal('svsm', gpa, svsm), ...metadataRegions(launch, layout)],
    vcpus: vcpusOf(launch),
    vmsa: (index) => vmsaRegion(index, vmsa),
  };
}
