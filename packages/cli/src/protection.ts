/**
 * The protection of a run, `--protect`, as plugins.
 */
import { writeFileSync } from 'node:fs';
import type { VmPlugin } from '@cloister/core';
import { fileError } from './error-report.js';
import type { RunOptions } from './run-options.js';

type ProtectionOptions = Pick<RunOptions, 'protect' | 'policy' | 'measureOut' | 'seed'>;

/** Nothing without a protection; its package is loaded only then. */
export async function protectionPlugins(options: ProtectionOptions): Promise<VmPlugin[]> {
  const { protect, policy, measureOut, seed } = options;
  if (protect === undefined) return [];
  const { sev } = await import('@cloister/sev/launch');
  return [
    sev({
      ...(policy !== undefined && { policy }),
      // A seed that the user gives makes the run repeatable, keys included.
      ...(seed !== undefined && { platform: { seed: String(seed) } }),
      secret: ({ measure, nonce }) => {
        if (measureOut !== undefined) writeMeasure(measureOut, measure, nonce);
        return null;
      },
    }),
  ];
}

function writeMeasure(path: string, measure: Uint8Array, nonce: Uint8Array): void {
  try {
    writeFileSync(path, Buffer.concat([measure, nonce]));
  } catch (error) {
    throw fileError('launch measure', path, error);
  }
}
