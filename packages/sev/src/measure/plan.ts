/**
 * Measurement of a `LaunchPlan` of core: what a boot source lays out in memory, page by page, and
 * the vCPUs that it starts. This is what our own direct boots hand over.
 *
 * A plan is made of regions, a measurement of pages. Regions that share a page are measured as
 * one page, with the contents that the last of them leaves, at the place of the first.
 */
import { type LaunchPlan, type LaunchRegion, VmmError } from '@cloister/core';
import { VMSA_GPA } from './launch.js';
import {
  type LaunchChain,
  type MeasuredRegion,
  PAGE_SIZE,
  type PageListener,
  sevChain,
  snpChain,
} from './launch-chain.js';
import { stateVmsa, type VmmName, vmmProfile } from './vmm-profile.js';

export interface PlanOptions {
  readonly mode: 'sev' | 'seves' | 'snp';
  /** SEV_FEATURES of SNP; 1 (SNP) if absent. */
  readonly features?: bigint;
  /** Whose FPU defaults the VMSAs have: `qemu` (of any VMM on a kernel with KVM_SEV_INIT2). */
  readonly vmm?: VmmName;
}

/** The digest of a launch of this plan. */
export function measurePlan(
  plan: LaunchPlan,
  options: PlanOptions,
  listener?: PageListener,
): Uint8Array {
  const { mode } = options;
  const chain: LaunchChain = mode === 'snp' ? snpChain() : sevChain();
  for (const region of planPages(plan.regions)) chain.add(region, listener);
  if (mode === 'sev') return chain.digest();
  const features = mode === 'snp' ? (options.features ?? 1n) : 0n;
  for (const { index, bytes } of planVmsas(plan, features, options.vmm)) {
    const region = { name: `vmsa-${index}`, gpa: VMSA_GPA, size: PAGE_SIZE, bytes };
    chain.add({ ...region, type: 'vmsa' }, listener);
  }
  return chain.digest();
}

export interface PlanVmsa {
  /** Of the vCPU. */
  readonly index: number;
  /** 4096 bytes. */
  readonly bytes: Uint8Array;
}

/** The VMSAs of a plan's vCPUs, in the order in which they are measured. */
export function planVmsas(
  plan: LaunchPlan,
  features: bigint,
  vmm: VmmName = 'qemu',
): readonly PlanVmsa[] {
  const profile = vmmProfile(vmm);
  const vcpus = [...plan.vcpus].sort(([a], [b]) => a - b);
  return vcpus.map(([index, state]) => ({
    index,
    bytes: stateVmsa(state, { features, profile }),
  }));
}

interface PlanPage {
  readonly first: LaunchRegion;
  readonly names: string[];
  bytes: Uint8Array | undefined;
}

/** A plan's regions as whole pages, in the order in which they are first touched. */
export function planPages(regions: readonly LaunchRegion[]): MeasuredRegion[] {
  const pages = new Map<number, PlanPage>();
  for (const region of regions) {
    const end = region.gpa + region.bytes.length;
    for (let gpa = region.gpa - (region.gpa % PAGE_SIZE); gpa < end; gpa += PAGE_SIZE) {
      const known = pages.get(gpa);
      if (known === undefined) {
        pages.set(gpa, { first: region, names: [region.name], bytes: contents(region, gpa) });
      } else {
        merge(known, region, gpa);
      }
    }
  }
  return [...pages].map(([gpa, { first, names, bytes }]) => ({
    name: names.join('+'),
    gpa,
    size: PAGE_SIZE,
    type: first.type,
    ...(bytes === undefined ? {} : { bytes }),
    ...(first.permissions === undefined ? {} : { permissions: first.permissions }),
  }));
}

function contents(region: LaunchRegion, gpa: number): Uint8Array | undefined {
  if (region.type !== 'normal' && region.type !== 'vmsa') return undefined;
  const skip = gpa - region.gpa;
  if (skip >= 0 && region.bytes.length - skip >= PAGE_SIZE) {
    return region.bytes.subarray(skip, skip + PAGE_SIZE);
  }
  const page = new Uint8Array(PAGE_SIZE);
  overlay(page, region, gpa);
  return page;
}

function merge(page: PlanPage, region: LaunchRegion, gpa: number): void {
  const { first } = page;
  if (first.type !== region.type || !samePermissions(first, region)) {
    const where = `page 0x${gpa.toString(16)}`;
    const message = `${first.name} and ${region.name} share ${where} with different types`;
    throw new VmmError('invalid-config', message, { remedy: 'align them to pages of their own' });
  }
  page.names.push(region.name);
  if (page.bytes === undefined) return;
  // The page may still be a window of the first region's own bytes.
  page.bytes = Uint8Array.from(page.bytes);
  overlay(page.bytes, region, gpa);
}

function overlay(page: Uint8Array, { gpa: start, bytes }: LaunchRegion, gpa: number): void {
  const from = Math.max(0, gpa - start);
  const to = Math.min(bytes.length, gpa - start + PAGE_SIZE);
  page.set(bytes.subarray(from, to), start + from - gpa);
}

function samePermissions({ permissions: a }: LaunchRegion, { permissions: b }: LaunchRegion) {
  return (['vmpl1', 'vmpl2', 'vmpl3'] as const).every(
    (name) => (a?.[name] ?? 0) === (b?.[name] ?? 0),
  );
}
