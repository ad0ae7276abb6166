/**
 * `@cloister/sev/launch`: protects VMs with SEV.
 */
export { EmulatedPlatform, type PlatformOptions } from './emulated-platform.js';
export { DEFAULT_SEV_POLICY, type SevOptions, sev } from './sev.js';
export {
  type LaunchMeasurement,
  type LaunchOptions,
  type LaunchSecret,
  type OwnerSession,
  SevGuest,
} from './sev-launch.js';
