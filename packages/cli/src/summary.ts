/**
 * The summary that a run ends with, on standard error.
 */
import { formatCount, formatSeconds } from './quantity.js';

export interface RunSummary {
  /** Why the run ended, one line. */
  readonly ended: string;
  readonly instructions: number;
  /** Seconds of the host's time that the run took, and those of them spent executing. */
  readonly seconds: number;
  readonly busySeconds: number;
  readonly exits: readonly (readonly [string, number])[];
  /** What the machine says of itself: clock, seed, backend, protection, boot time, counters. */
  readonly facts: readonly (readonly [string, string])[];
}

export function summaryLines(summary: RunSummary): string[] {
  const { instructions, seconds, busySeconds } = summary;
  const rate = busySeconds > 0 ? ` (${(instructions / busySeconds / 1e6).toFixed(1)} MIPS)` : '';
  const rows: (readonly [string, string])[] = [
    ['ended', summary.ended],
    ['instructions', `${formatCount(instructions)}${rate}`],
    ['time', `${formatSeconds(seconds)}, ${formatSeconds(busySeconds)} of it executing`],
    ['exits', counts(summary.exits)],
    ...summary.facts,
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return ['cloister: summary', ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)];
}

function counts(exits: readonly (readonly [string, number])[]): string {
  if (exits.length === 0) return 'none';
  const total = exits.reduce((sum, [, count]) => sum + count, 0);
  const kinds = exits.map(([kind, count]) => `${kind} ${formatCount(count)}`).join(', ');
  return `${formatCount(total)}: ${kinds}`;
}
