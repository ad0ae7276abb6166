/**
 * `cloister run`: one run of one machine, from raw mode to the summary. Whatever happens, the
 * terminal is given back and every file is closed.
 */
import type { VmEnd } from '@cloister/core';
import type { SerialInput } from '@cloister/core/devices';
import { ConsoleOutput } from './console-output.js';
import { errorLines } from './error-report.js';
import type { EscapeAction } from './escape-filter.js';
import { ESCAPE_HELP } from './escape-filter.js';
import { ExitCounts } from './exit-counts.js';
import { blockFile, ExitLog } from './exit-log.js';
import {
  type EndingSignal,
  EXIT,
  SIGNAL_STATUS,
  statusOfEnd,
  statusOfError,
} from './exit-status.js';
import type { Host } from './host.js';
import type { Machine } from './machine.js';
import type { RunOptions } from './run-options.js';
import { endText, type RunSummary, summaryLines } from './summary.js';
import { Terminal } from './terminal.js';

/** What the assembly of a machine gets from the run. */
export interface MachinePorts {
  /** Takes the serial port's output. */
  readonly output: ConsoleOutput;
  /** Feeds the serial port. Absent in a replay. */
  readonly input: SerialInput | undefined;
  /** Calls back with the size of the terminal, now and at each change, where there is one. */
  readonly terminalSize?: (
    listener: (size: { readonly columns: number; readonly rows: number }) => void,
  ) => void;
  /** Called when `--save-at` is reached, between two instructions. */
  readonly reachedSavePoint: () => void;
  /** Called when the file of `--record` can't be written, which is lost then. */
  readonly recordingFailed: (error: unknown) => void;
}

export type Assemble = (options: RunOptions, ports: MachinePorts) => Promise<Machine>;

export interface RunContext {
  readonly host: Host;
  readonly options: RunOptions;
  readonly quiet: boolean;
  readonly debug: boolean;
  readonly assemble: Assemble;
}

/** Faults are shown up to this many; the rest is counted. */
const FAULTS_SHOWN = 20;

/** Returns the exit status. Never throws. */
export async function run(context: RunContext): Promise<number> {
  const session = new Session(context);
  let status: number;
  try {
    status = await session.run();
  } catch (error) {
    session.report(error);
    status = statusOfError(error);
  }
  await session.close();
  return session.status(status);
}

/** Who ended the run, where it was not the guest. */
interface HostEnd {
  readonly reason: 'stopped' | 'timeout';
  readonly message: string;
  readonly status: number;
}

class Session {
  readonly #context: RunContext;
  readonly #terminal: Terminal;
  readonly #output: ConsoleOutput;
  readonly #counts = new ExitCounts();
  /** Undone in reverse order. */
  readonly #undo: (() => void)[] = [];
  #machine: Machine | undefined;
  #hostEnd: HostEnd | undefined;
  #faults = 0;
  /** What the guest touched and nobody answered: usual while a system looks around. */
  readonly #unclaimed: string[] = [];
  #errors = 0;
  #firstError: unknown;
  #saving: Promise<void> = Promise.resolve();
  #ended = false;
  /** It was saved, and goes on elsewhere. */
  #left = false;
  #dumped = false;

  constructor(context: RunContext) {
    const { host } = context;
    this.#context = context;
    this.#terminal = new Terminal(host.stdin, (action) => this.#act(action));
    this.#output = new ConsoleOutput(host.stdout, (flush) => host.soon(flush), {
      failed: () => this.#end('standard output was closed', SIGNAL_STATUS.SIGPIPE),
      full: () => this.#machine?.pause(),
      room: () => this.#machine?.resume(),
    });
  }

  async run(): Promise<number> {
    const { host, options, assemble } = this.#context;
    this.#undo.push(
      host.onExit(() => {
        this.#terminal.close();
        this.#machine?.dropRecording();
      }),
    );
    this.#listenForSignals();
    host.stdout.on('error', (error) => this.#output.fail(error));
    const input = options.replay === undefined ? this.#terminal : undefined;
    // A terminal stays as it is until the guest runs.
    if (!input?.live) input?.open();
    const machine = await assemble(options, {
      output: this.#output,
      input,
      terminalSize: (listener) => this.#followSize(listener),
      reachedSavePoint: () => this.#end('reached --save-at', EXIT.ok),
      recordingFailed: (error) => {
        this.report(error);
        this.#end('the recording could not be written', EXIT.usage);
      },
    });
    this.#machine = machine;
    this.#observe(machine, options);
    if (options.timeout !== undefined) {
      const expire = () => this.#end(`timeout after ${options.timeout} s`, EXIT.timeout, 'timeout');
      this.#undo.push(host.after(options.timeout * 1000, expire));
    }
    if (input?.live && !this.#context.quiet) this.#say('Ctrl-A x ends the run');
    if (input?.live) input.open();
    const start = host.now();
    const before = machine.instructions();
    // A signal may have come during assembly.
    if (this.#hostEnd) machine.stop(this.#hostEnd.reason, this.#hostEnd.message);
    const end = await machine.run();
    const seconds = (host.now() - start) / 1000;
    this.#ended = true;
    this.#attempt(() => machine.finishRecording());
    this.#dumpMemory();
    await this.#saveAtEnd(machine, end);
    this.#terminal.close();
    await this.#output.drained();
    this.#summarize(machine, end, { seconds, executed: machine.instructions() - before });
    return this.#hostEnd?.status ?? statusOfEnd(end);
  }

  /** `status`, unless it is 0 although something went wrong on the way. */
  status(status: number): number {
    if (this.#errors === 0 || status !== EXIT.ok) return status;
    return statusOfError(this.#firstError);
  }

  report(error: unknown): void {
    if (this.#errors++ === 0) this.#firstError = error;
    this.#ownLine();
    for (const line of errorLines(error, this.#context)) this.#context.host.warn(line);
  }

  async close(): Promise<void> {
    this.#ended = true;
    this.#terminal.close();
    this.#dumpMemory();
    for (const undo of this.#undo.reverse()) this.#attempt(undo);
    try {
      await this.#machine?.dispose();
    } catch (error) {
      this.report(error);
    }
  }

  /** Once, whatever ended the run: what it was about may be seen there. */
  #dumpMemory(): void {
    if (this.#dumped || this.#machine === undefined) return;
    this.#dumped = true;
    this.#attempt(() => this.#machine?.dumpMemory());
  }

  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.report(error);
    }
  }

  #observe(machine: Machine, options: RunOptions): void {
    this.#undo.push(
      machine.faults((fault) => {
        if (fault.kind === 'unclaimed') this.#unclaimed.push(fault.message);
        else if (++this.#faults > FAULTS_SHOWN) return;
        else this.#say(`${fault.kind} at instruction ${fault.instructions}: ${fault.message}`);
      }),
    );
    if (options.exits === undefined) return;
    if (options.exits === 'summary') {
      this.#undo.push(machine.switches((each) => this.#counts.addSwitch(each)));
      this.#undo.push(machine.exits((exit) => this.#counts.add(exit)));
      return;
    }
    const log = new ExitLog(blockFile('exit log', options.exits), (error) => {
      this.report(error);
      this.#end('the exit log could not be written', EXIT.usage);
    });
    this.#undo.push(() => log.close());
    this.#undo.push(machine.switches((each) => log.addSwitch(each)));
    this.#undo.push(machine.exits((exit) => log.add(exit)));
  }

  #followSize(listener: (size: { columns: number; rows: number }) => void): void {
    const { stdout } = this.#context.host;
    const tell = () => {
      const { columns, rows } = stdout;
      if (columns !== undefined && rows !== undefined) listener({ columns, rows });
    };
    stdout.on('resize', tell);
    tell();
  }

  #listenForSignals(): void {
    const { host, options } = this.#context;
    for (const signal of Object.keys(SIGNAL_STATUS) as EndingSignal[]) {
      const listener = () => {
        // The second one finds a run that does not end: leave at once.
        if (this.#hostEnd !== undefined) {
          this.#terminal.close();
          host.exit(SIGNAL_STATUS[signal]);
        }
        this.#leave(signal, SIGNAL_STATUS[signal]);
      };
      this.#undo.push(host.onSignal(signal, listener));
    }
    if (options.save !== undefined) {
      this.#undo.push(host.onSignal('SIGUSR1', () => this.#saveNow()));
    }
  }

  #act(action: EscapeAction): void {
    if (action === 'quit') this.#leave('Ctrl-A x', SIGNAL_STATUS.SIGINT);
    else if (action === 'save') this.#saveNow();
    else for (const line of ESCAPE_HELP) this.#say(line);
  }

  #end(message: string, status: number, reason: HostEnd['reason'] = 'stopped'): void {
    this.#hostEnd ??= { reason, message, status };
    this.#machine?.stop(reason, message);
  }

  /**
   * Ends the run of a guest that is saved first, where it is: it goes on if that fails, and whoever
   * ended it can do so again.
   */
  #leave(message: string, status: number): void {
    const { save } = this.#context.options;
    const machine = this.#machine;
    const started = machine !== undefined && machine.instructions() > 0;
    if (save === undefined || !started || this.#ended || this.#hostEnd !== undefined) {
      this.#end(message, status);
      return;
    }
    this.#hostEnd = { reason: 'stopped', message, status };
    this.#saving = this.#saving.then(async () => {
      if (this.#ended) return;
      try {
        await machine.save(save, { leave: true });
      } catch (error) {
        this.report(error);
        this.#say('not saved: the guest goes on; end it again to try again');
        this.#hostEnd = undefined;
        return;
      }
      this.#left = true;
      machine.stop('stopped', message);
    });
  }

  /** Saves while the guest goes on afterwards. */
  #saveNow(): void {
    const { save } = this.#context.options;
    const machine = this.#machine;
    if (save === undefined) this.#say('not saved: --save FILE was not given');
    if (save === undefined || machine === undefined || this.#ended) return;
    this.#saving = this.#saving.then(async () => {
      if (this.#left) return;
      try {
        await machine.save(save);
        this.#say(`saved at instruction ${machine.instructions()}`);
      } catch (error) {
        this.report(error);
      }
    });
  }

  /** Saves a guest that the host stopped, unless it was saved for that. */
  async #saveAtEnd(machine: Machine, end: VmEnd): Promise<void> {
    await this.#saving;
    const { save } = this.#context.options;
    if (save === undefined || this.#left) return;
    if (end.reason !== 'stopped' && end.reason !== 'timeout') {
      if (this.#context.options.saveAt !== undefined) this.#say('not saved: the guest has ended');
      return;
    }
    try {
      await machine.save(save, { leave: true });
    } catch (error) {
      this.report(error);
      this.#say('not saved: the guest ends with this run');
    }
  }

  #summarize(machine: Machine, end: VmEnd, run: Pick<RunSummary, 'executed' | 'seconds'>): void {
    if (this.#context.quiet) return;
    const { host, options } = this.#context;
    this.#ownLine();
    if (this.#faults > FAULTS_SHOWN) {
      this.#say(`${this.#faults - FAULTS_SHOWN} further faults are not shown`);
    }
    const lines = summaryLines({
      ended: this.#hostEnd?.message ?? endText(end),
      ...run,
      instructions: machine.instructions(),
      busySeconds: machine.busySeconds(),
      exits: machine.exitCounts(),
      facts: machine.facts(),
      unclaimed: this.#unclaimed,
    });
    if (options.exits === 'summary') lines.push(...this.#counts.table());
    for (const line of lines) host.warn(line);
  }

  #say(message: string): void {
    this.#ownLine();
    this.#context.host.warn(`cloister: ${message}`);
  }

  /** In raw mode, and after a guest's prompt, the cursor is not at the start of a line. */
  #ownLine(): void {
    if (!this.#context.host.stdout.isTTY || this.#output.lastByte === 0x0a) return;
    this.#output.lastByte = 0x0a;
    this.#context.host.warn('');
  }
}
