/**
 * The run loop: slices of guest instructions, and between them timers, input and requests.
 *
 * At every boundary the order is: requests, due timers, input, requests again, then the next CPU
 * runs. A slice ends at the latest where the next timer, input of a replay or pause is due, so
 * that each falls on its exact instruction. Several CPUs take turns with a fixed quantum on one
 * virtual time. The event loop gets a turn at least every 10 ms; that has no effect on the guest.
 */
import type { EventHub } from '../events/event-hub.js';
import { copyExit } from '../events/exit-copy.js';
import type { MachineInput } from '../input/machine-input.js';
import type { RecordedEnd } from '../input/recording.js';
import type { BackendVm, ExitSink, Snapshot, VmEnd, VmExit } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { Router } from '../routing/exit-router.js';
import type { ExitCounters } from '../summary/exit-counters.js';
import type { HostPort } from '../time/host-port.js';
import type { MachineClock } from '../time/machine-clock.js';
import type { ControlRequests, Request } from './control.js';
import type { Sleeper } from './sleeper.js';
import type { Unclaimed } from './unclaimed.js';

export interface MachineParts {
  readonly vm: BackendVm;
  readonly clock: MachineClock;
  readonly input: MachineInput;
  readonly events: EventHub;
  readonly router: Router;
  readonly counters: ExitCounters;
  readonly unclaimed: Unclaimed;
  readonly control: ControlRequests;
  readonly sleeper: Sleeper;
  readonly host: HostPort;
  readonly onReset: 'stop' | 'reboot';
  /** Most instructions in one slice. */
  readonly slice: number;
  /** Instructions of one CPU before the next one's turn, where there are several. */
  readonly quantum: number;
  /** Whether the protection, if there is one, lets the guest run. */
  mayRun(): boolean;
  /** Puts the guest back to its first instruction. */
  reboot(): Promise<void>;
}

/** The event loop gets a turn at least this often. */
const TURN_MS = 10;
/** Slice and turn of one CPU where the backend counts no instructions, in nanoseconds. */
const SLICE_NS = TURN_MS * 1e6;
const QUANTUM_NS = 1e6;
/** Virtual time without an instruction after which CPUs that nothing can wake count as dead. */
const DEAD_AFTER_NS = 1e9;

/** Its key is gone, or it has been sent away. */
const PROTECTION_GONE: Omit<VmEnd, 'instructions'> = {
  reason: 'error',
  status: 0,
  message: 'the protection does not let the guest run any more',
};

type Step =
  | 'again'
  | 'turn'
  | 'sleep'
  | 'stall'
  | 'paused'
  | 'reboot'
  | { readonly end: Omit<VmEnd, 'instructions'> };

const TYPE = 'machine';

export class Machine {
  private current = 0;
  private quantumLeft: number;
  private pauseWanted = false;
  private pauseAt = Number.POSITIVE_INFINITY;
  private wakeAt = 0;
  /** By CPU: false once it halts with interrupts disabled or waits for SIPI: no device wakes it. */
  private readonly interruptible: boolean[];
  private idleSince: number | null = null;
  private errorMessage = '';
  private replayEnd: RecordedEnd | null = null;
  private running = false;
  private endDue: Omit<VmEnd, 'instructions'> | null = null;
  /** Whether the backend counts instructions; otherwise slices are in nanoseconds. */
  private readonly counts: boolean;
  private readonly counters: ExitCounters;
  private readonly router: Router;
  private readonly exits: EventHub['exits'];
  /** Host milliseconds spent executing. */
  busyMs = 0;

  constructor(private readonly parts: MachineParts) {
    this.counters = parts.counters;
    this.router = parts.router;
    this.exits = parts.events.exits;
    this.counts = parts.vm.instructions() >= 0;
    this.interruptible = parts.vm.vcpus.map((_, index) => index === 0);
    this.quantumLeft = this.fullQuantum();
  }

  /** Ends the run where the recorded one ended. */
  endReplayAt(end: RecordedEnd): void {
    this.replayEnd = end;
  }

  /** Asks the loop to stop as soon as possible. */
  requestPause(): void {
    this.pauseWanted = true;
    this.interrupt();
  }

  cancelPause(): void {
    this.pauseWanted = false;
  }

  /** The loop stops before instruction `at` of the VM; Infinity for nowhere. */
  setPausePoint(at: number): void {
    this.pauseAt = at;
    this.interrupt();
  }

  /** Ends the slice or the sleep under way: something is to be looked at. */
  interrupt(): void {
    if (this.running) this.parts.vm.vcpus[this.current]!.shorten(0);
    else this.parts.sleeper.wake();
  }

  /** Runs until paused (null) or ended. */
  async run(): Promise<VmEnd | null> {
    const { clock, host, events, sleeper } = this.parts;
    clock.resume();
    try {
      let turnAt = host.now() + TURN_MS;
      for (;;) {
        sleeper.arm();
        const step = this.step();
        events.console.flush();
        if (typeof step === 'object') return this.ended(step.end);
        if (step === 'paused') return null;
        if (step === 'reboot') {
          this.park();
          await this.parts.reboot();
        }
        if (step === 'sleep') await this.sleep();
        else if (step === 'stall') await sleeper.sleep(Number.POSITIVE_INFINITY);
        // A guest that resets without end must not starve the event loop either.
        else if (step === 'reboot' || step === 'turn' || host.now() >= turnAt) await host.turn();
        else continue;
        turnAt = host.now() + TURN_MS;
      }
    } finally {
      this.park();
      clock.pause();
    }
  }

  /** Stops the CPUs that execute in threads of their own. */
  private park(): void {
    this.parts.vm.park?.(this.sink);
  }

  /** Who runs next; the rest of a machine's state is in its parts. */
  snapshot(): Snapshot {
    const { current, quantumLeft, interruptible } = this;
    const left = Number.isFinite(quantumLeft) ? quantumLeft : -1;
    return {
      type: TYPE,
      version: 1,
      state: { current, quantumLeft: left, interruptible: [...interruptible] },
    };
  }

  restore({ type, version, state }: Snapshot): void {
    const record = state as Partial<Record<string, unknown>> | null;
    const { current, quantumLeft, interruptible } = record ?? {};
    const good =
      type === TYPE &&
      version === 1 &&
      Number.isInteger(current) &&
      Number.isInteger(quantumLeft) &&
      Array.isArray(interruptible) &&
      interruptible.length === this.interruptible.length &&
      (current as number) >= 0 &&
      (current as number) < interruptible.length;
    if (!good) throw new VmmError('snapshot-mismatch', 'the state of the run loop is damaged');
    this.current = current as number;
    this.quantumLeft = Math.min(this.fullQuantum(), quantumLeft as number);
    if (this.quantumLeft <= 0) this.quantumLeft = this.fullQuantum();
    interruptible.forEach((value, i) => {
      this.interruptible[i] = value === true;
    });
    this.idleSince = null;
  }

  private ended(end: Omit<VmEnd, 'instructions'>): VmEnd {
    return Object.freeze({ ...end, instructions: this.instructions() });
  }

  private instructions(): number {
    return Math.max(0, this.parts.vm.instructions());
  }

  private fullQuantum(): number {
    const { vm } = this.parts;
    // Those that execute at the same time take no turns.
    if (vm.vcpus.length === 1 || vm.park !== undefined) return Number.POSITIVE_INFINITY;
    return this.counts ? this.parts.quantum : QUANTUM_NS;
  }

  /** One boundary and, unless something else is due, one slice. */
  private step(): Step {
    const { clock, input } = this.parts;
    const asked = this.answer();
    if (asked !== null) return asked;
    clock.fireDue();
    input.deliver(this.instructions(), clock.now());
    // A pause waits for the next boundary: a VM that stands still is always before its input.
    const request = this.parts.control.take();
    if (request !== null) return this.obey(request);
    const over = this.replayOver();
    if (over !== null) return { end: over };
    if (input.stalled) return 'stall';
    const cpu = this.pick();
    if (cpu < 0) return this.idle();
    this.idleSince = null;
    return this.slice(cpu);
  }

  /** What requests of guest and host come to, null without one. */
  private answer(): Step | null {
    const asked = this.asked();
    if (asked !== null) return asked;
    if (this.pauseWanted || this.instructions() >= this.pauseAt) {
      this.pauseWanted = false;
      return 'paused';
    }
    return null;
  }

  /** What ends the run or starts the guest again, null without it. */
  private asked(): Step | null {
    const request = this.parts.control.take();
    if (request !== null) return this.obey(request);
    return this.endDue === null ? null : { end: this.endDue };
  }

  private obey(request: Request): Step {
    if (request.kind === 'end') return { end: request.end };
    if (request.byHost || this.parts.onReset === 'reboot') return this.rebooting();
    return { end: { reason: 'reset', status: 0, message: request.reason } };
  }

  private rebooting(): Step {
    this.endDue = null;
    this.idleSince = null;
    this.current = 0;
    this.quantumLeft = this.fullQuantum();
    this.interruptible.fill(false);
    return 'reboot';
  }

  /** The next CPU that can run, in turn; -1 if all sleep. */
  private pick(): number {
    const { vcpus } = this.parts.vm;
    for (let i = 0; i < vcpus.length; i++) {
      const cpu = (this.current + i) % vcpus.length;
      if (!vcpus[cpu]!.runnable) continue;
      if (i > 0) {
        this.current = cpu;
        this.quantumLeft = this.fullQuantum();
      }
      return cpu;
    }
    return -1;
  }

  private slice(cpu: number): Step {
    const { vm, clock, host } = this.parts;
    if (!this.parts.mayRun()) return { end: PROTECTION_GONE };
    const vcpu = vm.vcpus[cpu]!;
    const length = this.sliceLength();
    const before = vm.instructions();
    const startMs = host.now();
    clock.beginSlice(vcpu, clock.mode === 'icount' ? clock.now() + length : clock.next());
    this.running = true;
    this.interruptible[cpu] = true;
    let end: ReturnType<typeof vcpu.run>;
    let ms = 0;
    try {
      end = vcpu.run(length, this.sink);
    } finally {
      this.running = false;
      ms = host.now() - startMs;
      this.busyMs += ms;
      clock.endSlice(vm.instructions() - before, ms);
    }
    this.quantumLeft -= this.counts ? vm.instructions() - before : ms * 1e6;
    if (end === 'shutdown') return this.tripleFault();
    if (end === 'error') {
      this.endDue = { reason: 'error', status: 0, message: this.errorMessage };
    }
    if (end === 'waiting') this.interruptible[cpu] = false;
    if (this.quantumLeft <= 0 || end === 'halted' || end === 'waiting') this.rotate();
    return end === 'kicked' ? 'turn' : 'again';
  }

  /** Instructions (nanoseconds where they are not counted) until something is due. */
  private sliceLength(): number {
    const { clock, input, slice } = this.parts;
    if (!this.counts) {
      const timer = clock.next() - clock.now();
      return Math.max(1, Math.min(SLICE_NS, this.quantumLeft, timer));
    }
    const count = this.instructions();
    let length = Math.min(slice, this.quantumLeft, this.pauseAt - count);
    const timer = clock.next();
    if (timer < Number.POSITIVE_INFINITY) length = Math.min(length, clock.instructionsUntil(timer));
    const next = input.nextReplayed;
    if (next !== null) length = Math.min(length, next.at - count);
    if (this.replayEnd !== null && this.replayEnd.at > count) {
      length = Math.min(length, this.replayEnd.at - count);
    }
    return Math.max(1, length);
  }

  private rotate(): void {
    this.current = (this.current + 1) % this.parts.vm.vcpus.length;
    this.quantumLeft = this.fullQuantum();
  }

  /** Unless an exit handler asked for something else, a triple fault is a reset. */
  private tripleFault(): Step {
    const asked = this.asked();
    if (asked !== null) return asked;
    if (this.parts.onReset === 'reboot') return this.rebooting();
    return { end: { reason: 'triple-fault', status: 0, message: 'the guest triple-faulted' } };
  }

  /** Every CPU sleeps: jumps to, or waits for, what can wake one. */
  private idle(): Step {
    const { clock, input } = this.parts;
    const now = clock.now();
    let wake = clock.next();
    const next = input.nextReplayed;
    if (next !== null && next.at === this.instructions()) wake = Math.min(wake, next.time);
    const end = this.replayEnd;
    if (end !== null && end.at === this.instructions()) wake = Math.min(wake, end.time);
    this.idleSince ??= now;
    const deaf = this.isDeaf();
    if (deaf) wake = Math.min(wake, this.idleSince + DEAD_AFTER_NS);
    const nothing = wake === Number.POSITIVE_INFINITY && !input.live;
    if (nothing || (deaf && now >= this.idleSince + DEAD_AFTER_NS)) {
      const message = deaf
        ? 'every CPU is halted with interrupts disabled'
        : 'every CPU is halted and nothing can wake one';
      return { end: { reason: 'stopped', status: 0, message } };
    }
    if (clock.mode === 'icount' && !input.live) {
      clock.skipTo(wake);
      return 'again';
    }
    this.wakeAt = wake;
    return 'sleep';
  }

  /** No interrupt can wake any CPU; only an NMI could. */
  private isDeaf(): boolean {
    return this.interruptible.every((value) => !value);
  }

  private async sleep(): Promise<void> {
    const { clock, host, sleeper } = this.parts;
    const since = host.now();
    const from = clock.now();
    await sleeper.sleep((this.wakeAt - from) / 1e6);
    // A sleeping guest's time goes on; awake, it counts instructions again.
    const elapsed = Math.round((host.now() - since) * 1e6);
    clock.skipTo(Math.min(this.wakeAt, from + elapsed));
  }

  /** Runs at every exit, mostly of `io` and `mmio`: looks at no more than it needs. */
  private readonly sink: ExitSink = (exit: VmExit) => {
    this.counters.count(exit);
    if (exit.kind !== 'io' && exit.kind !== 'mmio') this.note(exit);
    if (!this.router.route(exit)) this.parts.unclaimed.take(exit);
    if (this.exits.observed) this.exits.next(copyExit(exit));
  };

  private note(exit: VmExit): void {
    if (exit.kind === 'hlt') this.interruptible[exit.vcpu] = exit.interruptible;
    else if (exit.kind === 'error') this.errorMessage = `${exit.code}: ${exit.message}`;
  }

  /** In a replay: the end, once the place is reached where the recorded run ended. */
  private replayOver(): Omit<VmEnd, 'instructions'> | null {
    const end = this.replayEnd;
    if (end === null) return null;
    const byHost = end.reason === 'timeout' || end.reason === 'stopped';
    const at = this.instructions();
    const time = this.parts.clock.now();
    if (byHost && at === end.at && time === end.time) {
      return { reason: end.reason, status: 0, message: 'the recorded run ended here' };
    }
    // What the guest did itself happens in the instruction behind the stamp at the latest.
    if (at > end.at + 1) {
      throw new VmmError(
        'replay-diverged',
        `the recorded run ended at instruction ${end.at}; the replay is at ${at}`,
        { remedy: 'replay with the same kernel, devices and options as the recording' },
      );
    }
    return null;
  }
}
