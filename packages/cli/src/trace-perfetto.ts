/**
 * Steps as a trace for Perfetto (ui.perfetto.dev) and chrome://tracing.
 *
 * Source: "Trace Event Format" (Google, 2016): complete events (X), instants (i), metadata (M);
 * times in microseconds. A virtual CPU is a process with three threads. Time is the guest's:
 * an instruction is a nanosecond, what the VMM does takes none.
 */
import type { Party, Step } from './trace-steps.js';

const THREADS: Readonly<Record<Party, number>> = { guest: 1, cpu: 2, vmm: 3 };
const NAMES: readonly (readonly [Party, string])[] = [
  ['guest', 'guest'],
  ['cpu', 'CPU'],
  ['vmm', 'VMM'],
];
const NS_PER_US = 1000;

/** What a vCPU's guest is doing, since when. */
interface Doing {
  name: string;
  since: number;
}

export class PerfettoTrace {
  readonly #doing = new Map<number, Doing>();
  #first = true;

  /** What comes before the first step. */
  begin(): string {
    return '{"displayTimeUnit":"ns","traceEvents":[\n';
  }

  add(step: Step): string {
    const { vcpu, text } = step;
    const time = Math.max(0, step.instructions);
    let out = this.#doing.has(vcpu) ? '' : this.#introduce(vcpu);
    const party = step.from === 'guest' ? step.to : step.from;
    if (step.way !== undefined) out += this.#endGuest(vcpu, time);
    if (step.way === 'exception') this.#doing.set(vcpu, { name: `handler: ${text}`, since: time });
    if (step.entry) this.#doing.set(vcpu, { name: 'guest', since: time });
    return `${out}${this.#event({
      ph: 'i',
      s: 't',
      name: text,
      pid: vcpu,
      tid: THREADS[party],
      ts: time / NS_PER_US,
    })}`;
  }

  end(): string {
    return '\n]}\n';
  }

  #introduce(vcpu: number): string {
    this.#doing.set(vcpu, { name: 'guest', since: 0 });
    const process = { ph: 'M', pid: vcpu, name: 'process_name', args: { name: `vCPU ${vcpu}` } };
    const threads = NAMES.map(([party, name]) => ({
      ph: 'M',
      pid: vcpu,
      tid: THREADS[party],
      name: 'thread_name',
      args: { name },
    }));
    return [process, ...threads].map((event) => this.#event(event)).join('');
  }

  #endGuest(vcpu: number, time: number): string {
    const { name, since } = this.#doing.get(vcpu)!;
    this.#doing.set(vcpu, { name, since: time });
    if (time <= since) return '';
    const [ts, dur] = [since / NS_PER_US, (time - since) / NS_PER_US];
    return this.#event({ ph: 'X', name, pid: vcpu, tid: THREADS.guest, ts, dur });
  }

  #event(event: Readonly<Record<string, unknown>>): string {
    const line = JSON.stringify(event);
    const separator = this.#first ? '' : ',\n';
    this.#first = false;
    return separator + line;
  }
}
