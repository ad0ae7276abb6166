/**
 * Steps as a Mermaid sequence diagram with three lanes. Exchanges that repeat are drawn once, in a
 * loop with their number.
 */
import type { Party, Step } from './trace-steps.js';

const LANES: Readonly<Record<Party, string>> = { guest: 'G', cpu: 'C', vmm: 'V' };
/** A guest that never enters again must not gather steps without end. */
const EXCHANGE_MAX = 64;

export class MermaidDiagram {
  readonly #lines: string[] = [];
  readonly #max: number;
  #open: string[] = [];
  #last: readonly string[] = [];
  #times = 0;
  #drawn = 0;

  /** `exchanges`: so many are drawn, a loop counting as one. */
  constructor(exchanges: number) {
    this.#max = exchanges;
  }

  /** Nothing more is drawn. */
  get full(): boolean {
    return this.#drawn >= this.#max;
  }

  add(step: Step): void {
    if (this.full) return;
    const [from, to] = [LANES[step.from], LANES[step.to]];
    const text = clean(step.text);
    if (from === to) this.#open.push(`Note over ${from}: ${text}`);
    else this.#open.push(`${from}${step.entry ? '-->>' : '->>'}${to}: ${text}`);
    if (step.entry || this.#open.length >= EXCHANGE_MAX) this.#close();
  }

  /** The diagram, with what is under way. */
  finish(): string {
    if (this.#open.length > 0 && !this.full) this.#close();
    this.#flush();
    const lanes = ['participant G as guest', 'participant C as CPU', 'participant V as VMM'];
    const end = this.full ? ['Note over G,V: … and so on'] : [];
    return ['sequenceDiagram', ...[...lanes, ...this.#lines, ...end].map((l) => `  ${l}`), ''].join(
      '\n',
    );
  }

  #close(): void {
    const exchange = this.#open;
    this.#open = [];
    if (exchange.join('\n') === this.#last.join('\n')) {
      this.#times++;
      return;
    }
    this.#flush();
    if (this.full) return;
    this.#last = exchange;
    this.#times = 1;
  }

  #flush(): void {
    if (this.#times === 0) return;
    if (this.#times > 1) {
      this.#lines.push(`loop ${this.#times} times`);
      for (const line of this.#last) this.#lines.push(`  ${line}`);
      this.#lines.push('end');
    } else this.#lines.push(...this.#last);
    this.#times = 0;
    this.#drawn++;
  }
}

/** Mermaid ends a message at these. */
const clean = (text: string) => text.replace(/[;#\r\n]/g, ' ').slice(0, 120);
