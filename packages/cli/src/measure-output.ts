/**
 * How `cloister measure` prints bytes and results.
 */
import type { OutputFlags } from './measure-arguments.js';

/** A result, and whether it is as the user said it would be. */
export interface Result {
  readonly text: string;
  readonly ok: boolean;
}

export function encode(bytes: Uint8Array, { outputFormat = 'hex' }: OutputFlags): string {
  return Buffer.from(bytes).toString(outputFormat);
}

export const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;
