/**
 * `@cloister/sev/measure`: what a launch must measure.
 */
import { offerHashes } from '../hash/port.js';
import { pureHashes } from '../hash/pure-hash.js';

offerHashes(pureHashes);

export { fromHex, toHex } from '../bytes.js';
export { type Hasher, type Hashes, hashes, useHashes } from '../hash/port.js';
export { pureHashes } from '../hash/pure-hash.js';
export { CPU_TYPES, type CpuModel, cpuSignature, cpuTypeSignature } from './cpu-signature.js';
export { type Cause, type Explanation, explain } from './explain.js';
export {
  type FirmwareArea,
  type FirmwareLayout,
  type FirmwareSection,
  parseFirmware,
  SECTION,
} from './firmware-tables.js';
export {
  checkIdAuth,
  createIdAuth,
  decodeIdBlock,
  encodeIdBlock,
  type IdAuthResult,
  type IdBlock,
} from './id-block.js';
export {
  type IdKey,
  importIdKey,
  keyDigest,
  publicKeyBytes,
  signBytes,
  verifyBytes,
} from './id-key.js';
export { type IgvmOptions, measureIgvm } from './igvm.js';
export { type IgvmDirective, type IgvmFile, parseIgvm } from './igvm-file.js';
export {
  hashCmdline,
  type KernelHashes,
  kernelHashes,
  kernelHashesTable,
} from './kernel-hashes.js';
export {
  type LaunchDescription,
  type LaunchMode,
  type LaunchSteps,
  launchSteps,
  MODES,
  VMSA_GPA,
} from './launch.js';
export {
  type LaunchChain,
  type MeasuredPage,
  type MeasuredRegion,
  type PageListener,
  sevChain,
  snpChain,
} from './launch-chain.js';
export {
  checkLaunchMeasure,
  type FirmwareVersion,
  type LaunchMeasureInputs,
  launchMeasure,
} from './launch-measure.js';
export {
  DISK_PASSWORD_GUID,
  type GuestSecret,
  type SecretPacket,
  secretPacket,
  secretTable,
} from './launch-secret.js';
export { measure, vmsaPages } from './measure.js';
export { measurePlan, type PlanOptions, type PlanVmsa, planPages, planVmsas } from './plan.js';
export {
  type Session,
  type SessionInputs,
  type SessionKeys,
  sessionData,
  sessionKeys,
  sharedSecret,
  type TransportKeys,
} from './session.js';
export { describeFeatures, SEV_FEATURES } from './sev-features.js';
export { VMM_PROFILES, type VmmName, type VmmProfile, vmmProfile } from './vmm-profile.js';
export { RESET_PAT, type VmsaExtras, vmsaPage } from './vmsa-page.js';
