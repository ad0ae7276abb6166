/**
 * How `cloister measure` prints bytes and results.
 */
import type { Explanation, MeasuredPage } from '@cloister/sev/measure';
import type { MeasureFlags, OutputFlags } from './measure-arguments.js';

/** A result, and whether it is as the user said it would be. */
export interface Result {
  readonly text: string;
  readonly ok: boolean;
}

export function encode(bytes: Uint8Array, { outputFormat = 'hex' }: OutputFlags): string {
  return Buffer.from(bytes).toString(outputFormat);
}

export const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** What is known of a launch. */
export interface Measured {
  readonly mode: string;
  readonly digest: Uint8Array;
  /** Listed with `--pages`. */
  readonly pages: readonly MeasuredPage[];
  readonly explanation?: Explanation;
  /** What LAUNCH_MEASURE returns, and whether that is what it has returned. */
  readonly measurement?: { readonly mac: Uint8Array; readonly matches: boolean | undefined };
}

export function report(
  flags: MeasureFlags,
  { mode, digest, pages, explanation, measurement }: Measured,
): string {
  if (flags.json) {
    const list = pages.map((page) => ({ ...page, digest: encode(page.digest, flags) }));
    const { mac, matches } = measurement ?? {};
    return jsonText({
      mode,
      digest: encode(digest, flags),
      ...(mac === undefined ? {} : { measurement: encode(mac, flags) }),
      ...(matches === undefined ? {} : { matches }),
      ...(flags.pages ? { pages: list } : {}),
      ...(explanation === undefined ? {} : { explanation }),
    });
  }
  const lines = pages.map(
    ({ gpa, type, name, digest }) =>
      `0x${gpa.toString(16).padStart(12, '0')} ${type.padEnd(10)} ${name.padEnd(16)} ` +
      encode(digest, flags),
  );
  lines.push(encode(digest, flags));
  if (measurement !== undefined) {
    const { mac, matches } = measurement;
    lines.push(encode(mac, flags));
    if (matches !== undefined) lines.push(verdict(matches));
  }
  if (explanation !== undefined) lines.push(...explained(explanation));
  return `${lines.join('\n')}\n`;
}

const verdict = (matches: boolean): string =>
  matches
    ? 'this launch was measured'
    : 'another launch was measured, or with another key, policy or firmware version';

function explained({ matches, causes, tried }: Explanation): string[] {
  if (matches) return ['the digest is the one that this launch has'];
  if (causes.length === 0) {
    return [`the digest is another one; none of ${tried} variants of this launch has it`];
  }
  return [
    'the digest is another one; it is that of this launch with',
    ...causes.map(({ input, given, found }) => `  ${input}: given ${given}, found ${found}`),
  ];
}
