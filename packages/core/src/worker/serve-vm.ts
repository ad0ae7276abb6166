/**
 * The Worker's side: builds the VM that the host asked for and does what the host says.
 *
 * Console bytes go out as the machine flushes them. When the host's sink is slow the VM stands
 * still between two instructions until it has caught up: nothing is lost, memory stays bounded, and
 * a guest with the instruction-counted clock can't tell.
 */
import { SERIAL_INPUT, type SerialInputPort } from '../devices/serial.js';
import { type Snapshot, VmmError } from '../interfaces/index.js';
import type { Vm } from '../machine/vm.js';
import { parentLine } from './parent-line.js';
import {
  type CallName,
  type Calls,
  CONSOLE_HIGH,
  CONSOLE_LOW,
  costOf,
  type FromWorker,
  type Line,
  marked,
  PROTOCOL,
  type StartMessage,
  type ToWorker,
  unmarked,
} from './protocol.js';
import { RunGate } from './run-gate.js';
import { packError } from './wire-error.js';

/** Assembles a VM from plain data and does not start it. */
export type BuildVm<Options> = (options: Options) => Vm | Promise<Vm>;

/**
 * Serves the VM of a VM module to the host that started this Worker by `runInWorker`. Elsewhere it
 * does nothing: the same module can be imported and its VM built inline. Returns `build`.
 */
export function serveVm<Options>(build: BuildVm<Options>): BuildVm<Options> {
  const line = parentLine();
  if (line !== null) serveOn(line, build);
  return build;
}

/** The same on a line that the caller made. */
export function serveOn<Options>(line: Line, build: BuildVm<Options>): void {
  const send = (message: FromWorker) => line.send(marked(message));
  let served: ServedVm | null = null;
  let starting = false;
  line.onMessage((data) => {
    const message = unmarked<ToWorker>(data);
    if (message === null) return;
    if (message.kind === 'call') served?.call(message.id, message.name, message.args);
    else if (message.kind === 'taken') served?.taken(message.cost);
    else if (!starting) {
      starting = true;
      startVm(message, build, send).then(
        (vm) => {
          served = vm;
          send({ kind: 'started' });
        },
        (error: unknown) => send({ kind: 'failed', error: packError(error, 'plugin-failed') }),
      );
    }
  });
  send({ kind: 'ready', protocol: PROTOCOL });
}

type Send = (message: FromWorker) => void;

async function startVm<Options>(
  start: StartMessage,
  build: BuildVm<Options>,
  send: Send,
): Promise<ServedVm> {
  const vm = await build(start.options as Options);
  if (typeof vm?.run !== 'function') {
    throw new VmmError('invalid-argument', 'the VM module built no VM', {
      remedy: 'return what createVm(…).build() resolves to',
    });
  }
  const served = new ServedVm(vm, send);
  try {
    await served.start(start);
    return served;
  } catch (error) {
    // What failed first is what the host is told.
    await vm.dispose().catch(() => {});
    throw error;
  }
}

class ServedVm {
  private readonly gate: RunGate;
  private underWay = 0;
  private reported: Promise<void> = Promise.resolve();
  private over = false;
  private lastInput: Promise<unknown> = Promise.resolve();
  private lastSave: Promise<unknown> = Promise.resolve();
  private line: SerialInputPort | null = null;
  private roomMade: () => void = () => {};

  constructor(
    private readonly vm: Vm,
    private readonly send: Send,
  ) {
    this.gate = new RunGate(vm);
  }

  async start({ console, liveInput, restore, pauseAt }: StartMessage): Promise<void> {
    const { vm } = this;
    if (console) vm.events.console.subscribe(({ source, bytes }) => this.wrote(source, bytes));
    if (liveInput) this.inputLine().setLive(true);
    if (restore === null) await vm.start();
    else await vm.restore(restore);
    this.reported = vm.run().then(
      (end) => {
        this.finished();
        this.send({ kind: 'ended', end });
      },
      (error: unknown) => {
        this.finished();
        this.send({ kind: 'broken', error: packError(error) });
      },
    );
    // Before the guest's first turn: nothing of it has run yet.
    if (pauseAt !== null) void this.gate.holdAt('host', pauseAt);
    this.gate.settle();
  }

  /** The host's sink has caught up by so much. */
  taken(cost: number): void {
    this.underWay -= cost;
    if (this.underWay <= CONSOLE_LOW) this.gate.release('console');
  }

  call(id: number, name: CallName, args: unknown): void {
    const method = this.methods[name] as (...args: unknown[]) => unknown;
    const answer = async () => method(...(args as unknown[]));
    answer()
      .then((value) => this.send({ kind: 'answer', id, value }))
      // Also what cannot be cloned: a plugin may have put anything into its state.
      .catch((error: unknown) => this.send({ kind: 'refusal', id, error: packError(error) }));
  }

  private readonly methods: {
    readonly [Name in CallName]: (
      ...args: Parameters<Calls[Name]>
    ) => ReturnType<Calls[Name]> | Promise<ReturnType<Calls[Name]>>;
  } = {
    summary: () => this.vm.summary(),
    input: (bytes) => {
      const turn = this.lastInput.then(() => this.type(bytes));
      this.lastInput = turn.catch(() => {});
      return turn;
    },
    closeInput: async () => {
      await this.lastInput;
      this.inputLine().setLive(false);
    },
    pause: async (at) => {
      await (at === undefined ? this.gate.hold('host') : this.gate.holdAt('host', at));
      return this.gate.holds('host');
    },
    resume: () => {
      // The VM says so when it cannot.
      if (this.vm.status !== 'running' && this.vm.status !== 'paused') this.vm.resume();
      this.gate.release('host');
    },
    reset: () => this.vm.reset(),
    stop: (reason, message) => this.vm.stop(reason, message),
    save: () => {
      const turn = this.lastSave.then(() => this.save());
      this.lastSave = turn.catch(() => {});
      return turn;
    },
    dispose: async () => {
      try {
        await this.vm.dispose();
      } finally {
        await this.reported;
      }
    },
  };

  private async save(): Promise<Snapshot> {
    await this.gate.hold('save');
    try {
      return await this.vm.save();
    } finally {
      this.gate.release('save');
    }
  }

  private wrote(source: string, bytes: Uint8Array): void {
    this.send({ kind: 'console', source, bytes });
    this.underWay += costOf(bytes);
    // Not waited for: this is inside of the run that is to stand still.
    if (this.underWay >= CONSOLE_HIGH) void this.gate.hold('console');
  }

  /** Pushes all of `bytes`, waiting for room as often as it takes. */
  private async type(bytes: Uint8Array): Promise<void> {
    const line = this.inputLine();
    let rest = bytes;
    while (rest.length > 0) {
      if (this.over) throw new VmmError('invalid-state', 'the VM has ended and takes no input');
      const room = new Promise<void>((resolve) => {
        this.roomMade = resolve;
      });
      rest = rest.subarray(line.push(rest));
      if (rest.length > 0) await room;
    }
  }

  private inputLine(): SerialInputPort {
    if (this.line === null) {
      this.line = this.vm.get(SERIAL_INPUT);
      this.line.onRoom(() => this.roomMade());
    }
    return this.line;
  }

  private finished(): void {
    this.over = true;
    this.roomMade();
  }
}
