/**
 * Digests of launches: the steps, walked.
 */

import { type LaunchDescription, type LaunchSteps, launchSteps } from './launch.js';
import type { LaunchChain, PageListener } from './launch-chain.js';

/**
 * The digest that a launch must have: 48 bytes for SNP, as in the report's MEASUREMENT field; 32
 * for SEV and SEV-ES, of which LAUNCH_MEASURE gives an HMAC (see `launchMeasure`).
 */
export function measure(launch: LaunchDescription, listener?: PageListener): Uint8Array {
  return walk(launchSteps(launch), listener).digest();
}

/** Adds all steps to a chain of their own. */
export function walk(steps: LaunchSteps, listener?: PageListener): LaunchChain {
  const chain = steps.start();
  for (const region of steps.regions) chain.add(region, listener);
  for (let index = 0; index < steps.vcpus; index++) chain.add(steps.vmsa(index), listener);
  return chain;
}

/** The VMSA pages of a launch, by vCPU. */
export function vmsaPages(launch: LaunchDescription): Uint8Array[] {
  const { vcpus, vmsa } = launchSteps(launch);
  return Array.from({ length: vcpus }, (_, index) => vmsa(index).bytes!);
}
