/**
 * The owner's side of a launch: transport keys that only one platform can unwrap, and what proves
 * that the platform launched what was meant.
 *
 * An owner checks the platform's certificates (`verifyLegacyChain` of `@cloister/sev/attest`)
 * before it opens a session with its PDH, and the measurement (`checkLaunchMeasure` of
 * `@cloister/sev/measure`) before it sends a secret (`secretPacket` there).
 *
 * Source: SEV API 55766, 2.2.2 "Transport keys", 6.1 "LAUNCH_START".
 */
import { VmmError } from '@cloister/core';
import { parseLegacyCertificate } from '../attest/legacy-certificate.js';
import { certificate } from '../firmware/certificate.js';
import { createSession } from '../firmware/channel.js';
import { generateKey } from '../firmware/ec-key.js';
import { type Entropy, freshEntropy } from '../firmware/entropy.js';
import type { TransportKeys } from '../measure/session.js';
import type { OwnerSession } from '../psp/driver.js';

/** What the owner keeps, and what it hands to the host. */
export interface OpenedSession {
  /** Secret: TEK enciphers secrets, TIK checks measurements. */
  readonly keys: TransportKeys;
  /** For LAUNCH_START. */
  readonly owner: OwnerSession;
}

/**
 * A session with the platform whose PDH certificate this is (0x824 bytes), for a guest of this
 * policy. `VmmError('invalid-file')` for a certificate that is none.
 */
export function openOwnerSession(
  pdh: Uint8Array,
  policy: number,
  entropy: Entropy = freshEntropy,
): OpenedSession {
  const platform = parseLegacyCertificate(pdh);
  const own = generateKey(entropy);
  const { value } = createSession(own, platform, policy, entropy);
  if (value === undefined) {
    throw new VmmError('invalid-file', 'this is no PDH certificate with a key on P-384', {
      remedy: "use what the platform exports as its PDH, not the PEK's or OCA's",
    });
  }
  const [major, minor] = platform.bytes.subarray(4, 6);
  const godh = certificate('PDH', own.point, { major: major!, minor: minor! });
  return { keys: value.keys, owner: { certificate: godh, session: value.session } };
}
