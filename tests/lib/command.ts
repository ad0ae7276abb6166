// The built command as a process: what it writes, its exit status, and a terminal where one is
// wanted (util-linux's `script` makes it).
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const CLOISTER = fileURLToPath(
  new URL('../../packages/cli/bin/cloister.js', import.meta.url),
);

export interface Finished {
  /** Exit status, or null when a signal ended the process. */
  readonly status: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface CommandOptions {
  /** Written to standard input, which is then closed. Without it there is no standard input. */
  readonly input?: string;
  readonly cwd?: string;
}

const SILENCE_MS_MAX = 90_000;

const underWay = new Set<ChildProcess>();

/** Ends what a failed test has left running. */
export function endAll(): void {
  for (const child of underWay) child.kill();
}

/** A process under way. */
export class Running {
  readonly child: ChildProcess;
  readonly finished: Promise<Finished>;
  readonly #stdout: Buffer[] = [];
  #stderr = '';
  #changed: () => void = () => {};

  constructor(child: ChildProcess) {
    this.child = child;
    underWay.add(child);
    child.on('close', () => underWay.delete(child));
    child.stdout!.on('data', (chunk: Buffer) => {
      this.#stdout.push(chunk);
      this.#changed();
    });
    child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString();
      this.#changed();
    });
    this.finished = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', (status) => {
        resolve({ status, stdout: Buffer.concat(this.#stdout), stderr: this.#stderr });
        this.#changed();
      });
    });
  }

  /** Everything on both streams so far. */
  get text(): string {
    return Buffer.concat(this.#stdout).toString('latin1') + this.#stderr;
  }

  type(text: string): void {
    this.child.stdin!.write(text);
  }

  /** Waits until `text` matches; fails when the process ends before, or says nothing for long. */
  async until(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.text)) {
      const ended = this.child.exitCode !== null || this.child.signalCode !== null;
      if (ended || !(await this.#change())) {
        throw new Error(`no ${pattern} in what was printed: ${this.text.slice(-1000)}`);
      }
    }
  }

  /** Resolves to true when something was printed, to false after a while without. */
  #change(): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), SILENCE_MS_MAX);
      this.#changed = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}

/** Starts `cloister` with its standard streams on pipes. */
export function start(args: readonly string[], options: CommandOptions = {}): Running {
  const child = spawn(process.execPath, [CLOISTER, ...args], {
    cwd: options.cwd,
    stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  if (options.input !== undefined) child.stdin!.end(options.input);
  return new Running(child);
}

export function cloister(args: readonly string[], options?: CommandOptions): Promise<Finished> {
  return start(args, options).finished;
}

/**
 * Whether a run with these options, and no owner's session, measured what `cloister measure`
 * predicts for the same words: status 0, or 1 if it did not. `measured` is from `--measure-out`.
 */
export function measuresAsRun(options: readonly string[], measured: string): Promise<Finished> {
  const nobody = ['--tik', '00'.repeat(16), '--launch-measure-blob', measured];
  return cloister(['measure', '--vmm-type', 'cloister', ...options, ...nobody]);
}

/** Starts `cloister` on a terminal of its own; both its streams come out of it. */
export function startOnTerminal(args: readonly string[]): Running {
  const words = [process.execPath, CLOISTER, ...args];
  const line = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  return new Running(spawn('script', ['-qefc', `exec ${line}`, '/dev/null']));
}
