/**
 * The streams of one VM, and the one place that turns trouble into fault events.
 */
import type {
  ConsoleEvent,
  FaultEvent,
  LifecycleEvent,
  VmEvents,
  VmExit,
  VmStatus,
  WorldSwitch,
  WorldSwitchSink,
} from '../interfaces/index.js';
import { ConsoleBuffer } from './console-buffer.js';
import { GuardedStream } from './guarded-stream.js';

export class EventHub {
  private readonly switchStream = new GuardedStream<WorldSwitch>();
  readonly exits = new GuardedStream<VmExit>();
  readonly lifecycle = new GuardedStream<LifecycleEvent>();
  readonly faults = new GuardedStream<FaultEvent>();
  private readonly consoles = new GuardedStream<ConsoleEvent>();
  readonly console = new ConsoleBuffer(this.consoles);
  /** Faults reported so far, observed or not. */
  faultCount = 0;
  private counter: () => number = () => 0;

  /** Connects the instruction counter with which events are stamped. */
  attach(instructions: () => number): void {
    this.counter = instructions;
  }

  /** World switches, as extensions tell them. */
  readonly switches: WorldSwitchSink = sinkOf(this.switchStream, () => this.counter());

  /** The streams as `plugin` sees them: its throwing subscribers are reported under its name. */
  viewOf(plugin?: string): VmEvents {
    const reporter = (stream: string) => (error: unknown) =>
      this.pluginFault(plugin, `a subscriber of the ${stream} stream`, error);
    return {
      switches: this.switchStream.observable(reporter('switches')),
      exits: this.exits.observable(reporter('exits')),
      console: this.consoles.observable(reporter('console')),
      lifecycle: this.lifecycle.observable(reporter('lifecycle')),
      faults: this.faults.observable(reporter('faults')),
    };
  }

  status(status: VmStatus, reason?: string): void {
    const instructions = this.counter();
    this.lifecycle.next(Object.freeze({ status, instructions, ...(reason ? { reason } : {}) }));
  }

  fault(fault: Omit<FaultEvent, 'instructions'>): void {
    this.faultCount++;
    this.faults.next(Object.freeze({ ...fault, instructions: this.counter() }));
  }

  /** `who` is what threw, e.g. `the handler x`. */
  pluginFault(plugin: string | undefined, who: string, error: unknown): void {
    const text = error instanceof Error ? error.message : String(error);
    this.fault({
      kind: 'plugin-fault',
      ...(plugin === undefined ? {} : { plugin }),
      message: `${who} threw: ${text}`,
      error,
    });
  }

  complete(): void {
    this.console.flush();
    for (const stream of [
      this.switchStream,
      this.exits,
      this.consoles,
      this.faults,
      this.lifecycle,
    ]) {
      stream.complete();
    }
  }
}

function sinkOf(stream: GuardedStream<WorldSwitch>, instructions: () => number): WorldSwitchSink {
  return {
    get observed() {
      return stream.observed;
    },
    next: (event) => {
      if (!stream.observed) return;
      stream.next(Object.freeze({ ...event, instructions: instructions() }));
    },
  };
}
