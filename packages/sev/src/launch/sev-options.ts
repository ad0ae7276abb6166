/**
 * What a SEV guest may be given, on whatever processor.
 */
import { POLICY } from '../abi/policy.js';
import type { EmulatedPlatform, PlatformOptions } from './emulated-platform.js';
import type { Receiver } from './guest-stream.js';
import type { LaunchOptions } from './sev-launch.js';

export interface SevOptions extends Pick<LaunchOptions, 'owner' | 'secret'> {
  /** The guest's policy (SEV API 55766, chapter 3); `DEFAULT_SEV_POLICY` unless given. */
  readonly policy?: number;
  /** The emulated platform, or what it is made of; a fresh one unless given. */
  readonly platform?: EmulatedPlatform | PlatformOptions;
  /** For which platform the guest is saved, asked at each save; for its own unless given. */
  readonly sendTo?: () => Receiver;
}

/** No debugging, no key sharing, and neither leaves but for other SEV platforms. */
export const DEFAULT_SEV_POLICY = POLICY.NODBG | POLICY.NOKS | POLICY.SEV;

/** As SEV's, for guests that must have SEV-ES. */
export const DEFAULT_SEV_ES_POLICY = DEFAULT_SEV_POLICY | POLICY.ES;
