/**
 * What a summary says of a launch.
 */
import { toHex } from '../bytes.js';
import type { LaunchMeasurement } from './sev-launch.js';

/** A guest that was received has no measurement. */
export function launchLines(
  policy: number,
  measurement: LaunchMeasurement | null,
  pages: number,
): (readonly [string, string])[] {
  const lines: [string, string][] = [['policy', `0x${policy.toString(16)}`]];
  if (measurement !== null) {
    lines.push(['launch measure', `${toHex(measurement.measure)} (${pages} pages)`]);
    lines.push(['launch nonce', toHex(measurement.nonce)]);
  }
  return lines;
}
