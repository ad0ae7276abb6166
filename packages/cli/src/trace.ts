/**
 * `cloister trace`: an exit log as a selection of its lines, as a trace for Perfetto, or as a
 * sequence diagram. The log is read line by line; but a diagram, nothing is kept.
 */
import { createReadStream, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { isVmmError, VmmError } from '@cloister/core';
import { fileError } from './error-report.js';
import { type BlockWriter, blockFile } from './exit-log.js';
import { EXIT } from './exit-status.js';
import type { TraceInvocation } from './trace-arguments.js';
import { MermaidDiagram } from './trace-mermaid.js';
import { PerfettoTrace } from './trace-perfetto.js';
import { parseRecord, type TraceRecord } from './trace-record.js';
import { Steps } from './trace-steps.js';

export interface TracePorts {
  readonly cwd: string;
  /** Writes a result to standard output. */
  readonly print: (text: string) => Promise<void>;
}

/** Text is gathered up to so many characters before it is written. */
const GATHERED = 1 << 16;
const STEPS = 100;

/** What becomes of the log: text for each record, and at both ends. */
interface Form {
  begin(): string;
  add(record: TraceRecord): string;
  end(): string;
  /** No further record changes anything. */
  readonly full: boolean;
}

/** Runs the command; resolves to the exit status. */
export async function trace(invocation: TraceInvocation, ports: TracePorts): Promise<number> {
  const { file, flags } = invocation;
  const path = resolve(ports.cwd, file);
  const from = count('--from', flags.from, 0);
  const to = count('--to', flags.to, Number.POSITIVE_INFINITY);
  const form = formOf(flags);
  const vcpu = flags.vcpu === undefined ? undefined : count('--vcpu', flags.vcpu, 0);
  const only = (flags.format ?? 'mermaid') === 'mermaid' ? (vcpu ?? 0) : vcpu;
  const out = flags.out && resolve(ports.cwd, flags.out);
  if (out && isSameFile(path, out)) {
    throw new VmmError('invalid-argument', `--out: ${out} is the exit log itself`, {
      remedy: 'give another file',
    });
  }
  const output = Output.open(out, ports);
  try {
    await output.put(form.begin());
    for await (const record of records(path)) {
      if (form.full || record.instructions > to) break;
      if (record.instructions < from || (only !== undefined && record.vcpu !== only)) continue;
      await output.put(form.add(record));
    }
    await output.put(form.end());
    await output.flush();
  } finally {
    output.close();
  }
  return EXIT.ok;
}

/** Whether both names lead to one file: it would be emptied before it is read. */
function isSameFile(one: string, other: string): boolean {
  const [a, b] = [one, other].map((path) => {
    try {
      return statSync(path);
    } catch {
      // What is wrong with it opening it will tell.
      return undefined;
    }
  });
  return a !== undefined && b !== undefined && a.isFile() && a.dev === b.dev && a.ino === b.ino;
}

function count(option: string, value: string | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (/^\d{1,15}$/.test(value)) return Number(value);
  throw new VmmError('invalid-argument', `${option}: ${JSON.stringify(value)} is no number`, {
    remedy: 'give a decimal number',
  });
}

function formOf({ format, steps }: TraceInvocation['flags']): Form {
  const parties = new Steps();
  if (format === 'jsonl') {
    return { full: false, begin: () => '', add: ({ line }) => `${line}\n`, end: () => '' };
  }
  if (format === 'perfetto') {
    const perfetto = new PerfettoTrace();
    return {
      full: false,
      begin: () => perfetto.begin(),
      add: (record) =>
        parties
          .of(record)
          .map((step) => perfetto.add(step))
          .join(''),
      end: () => perfetto.end(),
    };
  }
  const diagram = new MermaidDiagram(count('--steps', steps, STEPS));
  return {
    get full() {
      return diagram.full;
    },
    begin: () => '',
    add: (record) => {
      for (const step of parties.of(record)) diagram.add(step);
      return '';
    },
    end: () => diagram.finish(),
  };
}

async function* records(path: string): AsyncGenerator<TraceRecord> {
  const input = createReadStream(path, 'utf8');
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  let number = 0;
  try {
    for await (const line of lines) {
      number++;
      if (line !== '') yield parseRecord(line, path, number);
    }
  } catch (error) {
    throw isVmmError(error) ? error : fileError('exit log', path, error);
  } finally {
    input.destroy();
  }
}

/** Standard output, or a file that is made at once. */
class Output {
  #gathered = '';

  private constructor(
    private readonly file: BlockWriter | undefined,
    private readonly ports: TracePorts,
  ) {}

  static open(path: string | undefined, ports: TracePorts): Output {
    return new Output(path === undefined ? undefined : blockFile('trace', path), ports);
  }

  async put(text: string): Promise<void> {
    this.#gathered += text;
    if (this.#gathered.length >= GATHERED) await this.flush();
  }

  async flush(): Promise<void> {
    const text = this.#gathered;
    this.#gathered = '';
    if (text === '') return;
    if (this.file === undefined) await this.ports.print(text);
    else this.file.write(new TextEncoder().encode(text));
  }

  close(): void {
    this.file?.close();
  }
}
