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

/** What decides whether a processor can be asked about a form. */
export interface Host {
  readonly amd: boolean;
  /** Whether it has a feature of the instruction table. */
  has(feature: string): boolean;
}

const flags = new Set(field('flags').split(' '));

/** Whether it decodes as the emulated model's vendor does; see `isa/vendor-differences.ts`. */
export const hostIsAmd = field('vendor_id') === 'AuthenticAMD';

export const HOST: Host = {
  amd: hostIsAmd,
  has: (feature) => feature === '' || flags.has(RENAMED[feature] ?? feature),
};

/** A processor of the model's vendor that has everything: what can be compared at all. */
export const FULL_HOST: Host = { amd: true, has: () => true };
