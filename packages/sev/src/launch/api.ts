/**
 * What `@cloister/sev/launch` offers, wherever its ciphers, hashes and curves come from.
 */
export type { OwnerSession } from '../psp/driver.js';
export { EmulatedPlatform, type PlatformOptions } from './emulated-platform.js';
export { type Receiver, receiverOf } from './guest-stream.js';
export { type KvmLaunch, launchOnKvm } from './kvm-launch.js';
export { type OpenedSession, openOwnerSession } from './owner.js';
export { decodePlatform, encodePlatform, type KeptPlatform } from './platform-file.js';
export { sev } from './sev.js';
export { type SevEsOptions, sevEs } from './sev-es.js';
export {
  type LaunchMeasurement,
  type LaunchOptions,
  type LaunchSecret,
  type LaunchVmsa,
  SevGuest,
} from './sev-launch.js';
export { DEFAULT_SEV_ES_POLICY, DEFAULT_SEV_POLICY, type SevOptions } from './sev-options.js';
