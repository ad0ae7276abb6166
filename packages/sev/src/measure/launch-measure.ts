/**
 * What SEV and SEV-ES firmware returns for a launch: not the digest but an HMAC of it, keyed with
 * the owner's transport integrity key (SEV API 55766, 6.5 "LAUNCH_MEASURE").
 */
import { VmmError } from '@cloister/core';
import { concat, equalBytes, sized, u32 } from '../bytes.js';
import { hashes } from '../hash/port.js';

/** The version of the firmware that launches, as its platform status gives it. */
export interface FirmwareVersion {
  readonly major: number;
  readonly minor: number;
  readonly build: number;
}

export interface LaunchMeasureInputs {
  readonly version: FirmwareVersion;
  /** The SEV guest policy. */
  readonly policy: number;
  /** The SHA-256 launch digest. */
  readonly digest: Uint8Array;
  /** The firmware's nonce, the last 16 bytes of what it returned. */
  readonly nonce: Uint8Array;
  readonly tik: Uint8Array;
}

/** Output of LAUNCH_MEASURE: the measurement, then the nonce. */
export const LAUNCH_MEASURE_SIZE = 48;

/** The measurement, 32 bytes. */
export function launchMeasure(inputs: LaunchMeasureInputs): Uint8Array {
  const { version, policy, digest, nonce, tik } = inputs;
  const text = concat(
    Uint8Array.of(0x04, byte(version.major), byte(version.minor), byte(version.build)),
    u32(policy),
    sized(digest, 32, 'the launch digest'),
    sized(nonce, 16, 'the nonce'),
  );
  return hashes().hmacSha256(sized(tik, 16, 'the TIK'), text);
}

/** Whether the 48 bytes that LAUNCH_MEASURE returned belong to this launch. */
export function checkLaunchMeasure(
  blob: Uint8Array,
  inputs: Omit<LaunchMeasureInputs, 'nonce'>,
): boolean {
  sized(blob, LAUNCH_MEASURE_SIZE, 'the output of LAUNCH_MEASURE');
  const expected = launchMeasure({ ...inputs, nonce: blob.subarray(32) });
  return equalBytes(expected, blob.subarray(0, 32));
}

function byte(value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 0xff) return value;
  throw new VmmError('invalid-argument', `firmware version ${value} is not a byte`);
}
