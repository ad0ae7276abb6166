/**
 * Checks: each thing that was looked at, with what was expected and what was found.
 */

/** What a check belongs to; a verdict's failure is the first of these that has a failed check. */
export type Stage = 'signature' | 'chain' | 'policy';

export const STAGES: readonly Stage[] = ['signature', 'chain', 'policy'];

export interface Check {
  /** `stage.name`, e.g. `policy.debug`. */
  readonly id: `${Stage}.${string}`;
  readonly ok: boolean;
  readonly expected: string;
  readonly found: string;
}

/** The first stage in which a check failed; undefined when none did. */
export function failureOf(checks: readonly Check[]): Stage | undefined {
  return STAGES.find((stage) => checks.some(({ id, ok }) => !ok && id.startsWith(`${stage}.`)));
}

export function check(id: Check['id'], ok: boolean, expected: string, found: string): Check {
  return { id, ok, expected, found };
}
