/**
 * Exits counted by what caused them: the table of `--exits summary`.
 */
import type { VmExit, WorldSwitch } from '@cloister/core';
import { isGuestExit } from './exit-record.js';
import { formatCount } from './quantity.js';

/** More different causes than this are counted together: a guest must not grow the table. */
const CAUSES_MAX = 4096;

export class ExitCounts {
  readonly #causes = new Map<string, number>();

  add(exit: VmExit): void {
    if (!isGuestExit(exit)) return;
    this.#count(causeOf(exit), exit.kind);
  }

  /** What is no exit of its own: exceptions in place of exits, exits without a device's part. */
  addSwitch({ kind, name, code }: WorldSwitch): void {
    if (kind === 'entry') return;
    this.#count(`switch ${kind} 0x${code.toString(16)} ${name}`, `switch ${kind}`);
  }

  #count(cause: string, others: string): void {
    if (this.#causes.has(cause) || this.#causes.size < CAUSES_MAX) increment(this.#causes, cause);
    else increment(this.#causes, `${others} (others)`);
  }

  /** The table's lines: count and cause, most frequent first, at most `limit` of them. */
  table(limit = 40): string[] {
    const rows = sorted(this.#causes);
    const shown = rows.slice(0, limit).map(([cause, count]) => row(formatCount(count), cause));
    const rest = rows.slice(limit).reduce((sum, [, count]) => sum + count, 0);
    if (rest > 0) shown.push(row(formatCount(rest), `${rows.length - limit} further causes`));
    return shown.length > 0 ? [row('count', 'exit'), ...shown] : ['no exits'];
  }
}

const row = (count: string, cause: string): string => `  ${count.padStart(12)}  ${cause}`;

function increment(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/** By count, then by name, so that equal runs print equal tables. */
function sorted(map: ReadonlyMap<string, number>): [string, number][] {
  return [...map].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
}

function causeOf(exit: VmExit): string {
  switch (exit.kind) {
    case 'io':
      return `io ${exit.direction} 0x${exit.port.toString(16)}`;
    case 'mmio': {
      // By page: a device's registers lie together.
      const page = (exit.gpa - (exit.gpa % 4096)).toString(16);
      return `mmio ${exit.direction} page 0x${page}`;
    }
    case 'msr':
      return `msr ${exit.direction} 0x${exit.index.toString(16)}`;
    case 'cpuid':
      return `cpuid 0x${exit.leaf.toString(16)}`;
    case 'hypercall':
      return `hypercall ${exit.number}`;
    case 'shutdown':
      return `shutdown ${exit.reason}`;
    case 'system-event':
      return `system-event ${exit.event}`;
    case 'error':
      return `error ${exit.code}`;
    default:
      return exit.kind;
  }
}
