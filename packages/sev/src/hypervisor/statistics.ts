/**
 * How often what came: automatic exits by code, events of the GHCB and requests of the MSR protocol
 * by number. The numbers are the guest's: what has no name is counted, and only the first few are
 * remembered.
 */
import { GHCB_MSR, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';

const REMEMBERED = 16;

const hex = (value: number) => value.toString(16).toUpperCase();

/** Name by number; the first of two names for one number. */
function namesOf(...tables: readonly Readonly<Record<string, number>>[]): Map<number, string> {
  const names = new Map<number, string>();
  for (const table of tables) {
    for (const [name, number] of Object.entries(table)) {
      if (!names.has(number)) names.set(number, name);
    }
  }
  return names;
}

const EXIT_NAMES = namesOf(EXIT);
const EVENT_NAMES = namesOf(NAE, EXIT);
const REQUEST_NAMES = namesOf(GHCB_MSR);

/** Name of an exit code, e.g. `CPUID`, or its digits. */
export function exitName(code: number): string {
  return EXIT_NAMES.get(code) ?? `${hex(code)}h`;
}

/** Name of an event of the GHCB. */
export function eventName(code: number): string {
  return EVENT_NAMES.get(code) ?? `${hex(code)}h`;
}

/** Name of a request of the MSR protocol. */
export function requestName(number: number): string {
  return REQUEST_NAMES.get(number) ?? `${hex(number)}h`;
}

export class Tally {
  readonly #counts = new Map<number, number>();
  #unknown = 0;
  #strangers = new Set<number>();

  constructor(private readonly names: ReadonlyMap<number, string>) {}

  count(number: number): void {
    if (this.names.has(number)) this.#counts.set(number, (this.#counts.get(number) ?? 0) + 1);
    else {
      this.#unknown++;
      if (this.#strangers.size < REMEMBERED) this.#strangers.add(number);
    }
  }

  /** Those without a name. */
  get unknown(): number {
    return this.#unknown;
  }

  of(number: number): number {
    return this.#counts.get(number) ?? 0;
  }

  /** `CPUID 12, IOIO 3`, the most frequent first; `none` where nothing came. */
  toString(): string {
    const known = [...this.#counts].sort(([a, n], [b, m]) => m - n || a - b);
    const parts = known.map(([number, count]) => `${this.names.get(number)} ${count}`);
    if (this.#unknown > 0) {
      const some = [...this.#strangers].map((number) => `${hex(number)}h`).join(' ');
      parts.push(`unknown ${this.#unknown} (${some})`);
    }
    return parts.length === 0 ? 'none' : parts.join(', ');
  }
}

export class Statistics {
  /** Exits but VMGEXIT, by exit code. */
  readonly exits = new Tally(EXIT_NAMES);
  /** VMGEXITs with a GHCB, by SW_EXITCODE. */
  readonly events = new Tally(EVENT_NAMES);
  /** VMGEXITs with the MSR protocol, by request. */
  readonly requests = new Tally(REQUEST_NAMES);

  /** One line each. */
  lines(): string[] {
    return [
      `automatic exits: ${this.exits}`,
      `GHCB events: ${this.events}`,
      `GHCB MSR requests: ${this.requests}`,
    ];
  }
}
