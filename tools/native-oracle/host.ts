/**
 * What the host's processor is: its vendor and features, as Linux says.
 */
import { existsSync, readFileSync } from 'node:fs';

const CPUINFO = '/proc/cpuinfo';

function field(name: string): string {
  const text = existsSync(CPUINFO) ? readFileSync(CPUINFO, 'utf8') : '';
  return new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? '';
}

/** Features that Linux names otherwise than the instruction table. */
const RENAMED: Readonly<Record<string, string>> = { sse3: 'pni' };

const flags = new Set(field('flags').split(' '));

/** Whether the host's processor has a feature of the instruction table. */
export function hostHas(feature: string): boolean {
  return feature === '' || flags.has(RENAMED[feature] ?? feature);
}

/** Whether it decodes as the emulated model's vendor does; see `isa/vendor-differences.ts`. */
export const hostIsAmd = field('vendor_id') === 'AuthenticAMD';
