/**
 * The summary that a run ends with, on standard error.
 */
import type { VmEnd } from '@cloister/core';
import { formatCount, formatSeconds } from './quantity.js';

const UNCLAIMED_SHOWN = 8;

export interface RunSummary {
  /** Why the run ended, one line. */
  readonly ended: string;
  /** Instructions since the VM's start, and those of them in this run. */
  readonly instructions: number;
  readonly executed: number;
  /** Seconds of the host's time that the run took, and those of them spent executing. */
  readonly seconds: number;
  readonly busySeconds: number;
  readonly exits: readonly (readonly [string, number])[];
  /** What the machine says of itself: clock, seed, backend, protection, boot time, counters. */
  readonly facts: readonly (readonly [string, string])[];
  /** Accesses that nobody answered, each place once. */
  readonly unclaimed: readonly string[];
}

/** Why a run ended, as a sentence for a person. */
export function endText({ reason, status, message }: VmEnd): string {
  switch (reason) {
    case 'power-off':
      return `the guest powered off (${message})`;
    case 'debug-exit':
      return `the guest asked for exit status ${status} (${message})`;
    case 'reset':
      return `the guest reset (${message})`;
    case 'error':
      return `the processor cannot go on: ${message}`;
    default:
      return message;
  }
}

export function summaryLines(summary: RunSummary): string[] {
  const { seconds, busySeconds, unclaimed } = summary;
  const rows: (readonly [string, string])[] = [
    ['ended', summary.ended],
    ['instructions', instructionText(summary)],
    ['time', `${formatSeconds(seconds)}, ${formatSeconds(busySeconds)} of it executing`],
    ['exits', counts(summary.exits)],
    ...summary.facts,
    ...unclaimed.slice(0, UNCLAIMED_SHOWN).map((each) => ['unclaimed', each] as const),
  ];
  const more = unclaimed.length - UNCLAIMED_SHOWN;
  if (more > 0) rows.push(['unclaimed', `${more} further places`]);
  const width = Math.max(...rows.map(([name]) => name.length));
  return ['cloister: summary', ...rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`)];
}

function instructionText({ instructions, executed, busySeconds }: RunSummary): string {
  if (busySeconds === 0) return formatCount(instructions);
  // Whoever counts them has executed some in that time.
  if (instructions === 0) return 'not counted';
  return `${formatCount(instructions)} (${(executed / busySeconds / 1e6).toFixed(1)} MIPS)`;
}

function counts(exits: readonly (readonly [string, number])[]): string {
  if (exits.length === 0) return 'none';
  const total = exits.reduce((sum, [, count]) => sum + count, 0);
  const kinds = exits.map(([kind, count]) => `${kind} ${formatCount(count)}`).join(', ');
  return `${formatCount(total)}: ${kinds}`;
}
