/**
 * A VM's life: created, running, paused, stopped, disposed, and what may be asked when.
 */
import type { Assembly } from '../assembly/assembly.js';
import type { InputRecording } from '../input/recording.js';
import type {
  Clock,
  GuestMemory,
  InputRecord,
  SaveOptions,
  ServiceToken,
  Snapshot,
  Vcpu,
  VmEnd,
  VmEvents,
  VmStatus,
} from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { ExitCounters } from '../summary/exit-counters.js';
import { summarize } from '../summary/summary.js';
import { clearRam, launch, makePlan } from './launch.js';
import type { Machine } from './machine.js';
import { PausePoints } from './pause-points.js';
import { chooseClock, connectLines, prepareInput, runStartHooks } from './start-up.js';
import type { Vm, VmSummary } from './vm.js';
import { restoreVm, saveVm, stayAfter } from './vm-record.js';

/** What the VM is made of. */
export interface VmParts {
  readonly assembly: Assembly;
  readonly counters: ExitCounters;
  /** Made by the builder, which hands `reboot` to it. */
  readonly machine: Machine;
}

export class VirtualMachine implements Vm {
  status: VmStatus = 'created';
  readonly events: VmEvents;
  private readonly machine: Machine;
  private readonly inputs: InputRecord[] = [];
  /** How the guest was entered; the plan itself, with copies of kernel and initrd, is let go. */
  private entry: string | null = null;
  private resets = 0;
  private end: VmEnd | null = null;
  private readonly pauses = new PausePoints();
  private readonly ended: Promise<VmEnd>;
  private settle!: { resolve: (end: VmEnd) => void; reject: (error: unknown) => void };
  private starting: Promise<void> | null = null;
  private stopWanted: { readonly reason: VmEnd['reason']; readonly message: string } | null = null;
  private clockWhy = 'not started';
  /** The guest may be about to leave: it is being saved, or what was saved of it kept. */
  private leaving = false;

  constructor(private readonly parts: VmParts) {
    this.machine = parts.machine;
    this.events = parts.assembly.parts.events.viewOf();
    this.ended = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    // Whoever awaits `run` sees a failure; nobody has to.
    this.ended.catch(() => {});
  }

  get clock(): Clock {
    return this.parts.assembly.parts.clock;
  }

  get memory(): GuestMemory {
    return this.parts.assembly.backendVm.memory;
  }

  get vcpus(): readonly Vcpu[] {
    return this.parts.assembly.backendVm.vcpus;
  }

  get seed(): string {
    return String(this.parts.assembly.seed);
  }

  get instructions(): number {
    return Math.max(0, this.parts.assembly.backendVm.instructions());
  }

  async run(): Promise<VmEnd> {
    if (this.status === 'paused') this.resume();
    else if (this.status === 'created') await this.start();
    return this.ended;
  }

  start(): Promise<void> {
    this.starting ??= this.startOnce();
    return this.starting;
  }

  async pause(options: { readonly at?: number } = {}): Promise<void> {
    if (this.status === 'created') this.fail('pause', 'start it first');
    const { at } = options;
    if (at !== undefined && !(Number.isSafeInteger(at) && at >= 0)) {
      throw new VmmError('invalid-argument', `${at} is no number of instructions`, {
        remedy: 'pause before a whole number of instructions',
      });
    }
    if (at !== undefined && this.parts.assembly.backendVm.instructions() < 0) {
      throw new VmmError('unsupported', 'this backend cannot count instructions', {
        remedy: 'pause without a number',
      });
    }
    const mayStop = this.status === 'running' || (this.status === 'paused' && at !== undefined);
    if (!mayStop) return;
    const stands = this.pauses.wait(at);
    if (at === undefined) this.machine.requestPause();
    this.settlePauses();
    await stands;
  }

  resume(): void {
    if (this.status !== 'paused' && this.status !== 'running') {
      this.fail('resume', 'only a paused VM can go on');
    }
    if (this.leaving) this.fail('resume', 'it may be about to leave: wait for the end of save');
    this.machine.cancelPause();
    if (this.status === 'running') {
      this.settlePauses(true);
      return;
    }
    this.setStatus('running');
    this.go();
  }

  async stop(
    reason: 'stopped' | 'timeout' = 'stopped',
    message = `ended by the host (${reason})`,
  ): Promise<VmEnd> {
    if (this.end !== null) return this.end;
    if (this.status === 'disposed') this.fail('stop', 'it is gone already');
    if (this.status === 'running') {
      const { control } = this.parts.assembly.parts;
      control.askStop({ reason, status: 0, message });
      return this.ended;
    }
    this.stopWanted = { reason, message };
    if (this.starting === null || this.status === 'paused') this.finishStopped();
    return this.ended;
  }

  reset(): void {
    const { control } = this.parts.assembly.parts;
    control.ask({ kind: 'reset', reason: 'reset by the host', byHost: true });
  }

  async save(options: SaveOptions = {}): Promise<Snapshot> {
    const wasRunning = this.status === 'running';
    if (this.status === 'created' || this.status === 'disposed') {
      this.fail('save', 'save a VM that has been started');
    }
    if (this.leaving) this.fail('save', 'it may be about to leave: wait for the end of save');
    const { leave = false, keep } = options;
    this.leaving = leave;
    try {
      if (wasRunning) await this.pause();
      await Promise.all(this.parts.assembly.devices.map((device) => device.drain()));
      return await this.saveAndKeep(leave, keep);
    } finally {
      if (leave) this.leaving = false;
      const stands = wasRunning && (this.status as VmStatus) === 'paused';
      if (stands && !this.leaving) this.resume();
    }
  }

  private async saveAndKeep(leave: boolean, keep: SaveOptions['keep']): Promise<Snapshot> {
    const { snapshot, settle } = saveVm(this.parts.assembly, this.machine);
    try {
      await keep?.(snapshot);
    } catch (error) {
      throw stayAfter(error, settle);
    }
    settle(leave);
    return snapshot;
  }

  async restore(snapshot: Snapshot): Promise<void> {
    if (this.status !== 'created' || this.starting !== null) {
      this.fail('restore', 'build a new VM and restore that');
    }
    this.starting = this.restoreOnce(snapshot);
    return this.starting;
  }

  recording(): InputRecording {
    const { options, clock } = this.parts.assembly.parts;
    if (options.record === false) {
      throw new VmmError('invalid-state', 'this VM does not record its input', {
        remedy: 'create it with the option record',
      });
    }
    const reason = this.end?.reason ?? 'stopped';
    return {
      seed: this.seed,
      epochSeconds: clock.epochSeconds,
      memory: options.memory,
      cpus: options.cpus,
      inputs: [...this.inputs],
      end: { at: this.instructions, time: clock.now(), reason },
    };
  }

  get<T>(token: ServiceToken<T>): T {
    return this.parts.assembly.parts.container.get(token);
  }

  summary(): VmSummary {
    const { assembly, counters, machine } = this.parts;
    const { entry, clockWhy, resets, end } = this;
    return summarize({ assembly, counters, entry, clockWhy, resets, end, busyMs: machine.busyMs });
  }

  async dispose(): Promise<void> {
    if (this.status === 'disposed') return this.parts.assembly.parts.lifecycle.dispose();
    if (this.status !== 'stopped')
      await this.stop('stopped', 'the VM was disposed').catch(() => {});
    this.setStatus('disposed');
    const { lifecycle, events } = this.parts.assembly.parts;
    try {
      await lifecycle.dispose();
    } finally {
      events.complete();
    }
  }

  /** Puts the guest back to its first instruction: the machine calls it between two slices. */
  async reboot(): Promise<void> {
    const { assembly } = this.parts;
    const { lines } = assembly.parts;
    if (assembly.single('memory encryption') !== null) {
      throw new VmmError('unsupported', 'a protected guest cannot start again in place', {
        remedy: 'run it with onReset: stop and launch it anew',
      });
    }
    const plan = makePlan(assembly);
    const vm = assembly.backendVm;
    this.resets++;
    lines.hold();
    for (const device of assembly.devices) device.reset();
    for (const hook of assembly.resetHooks) this.guarded(hook.plugin, hook.run);
    vm.reset();
    lines.release();
    clearRam(vm);
    await launch(assembly, plan);
  }

  private async startOnce(): Promise<void> {
    if (this.status !== 'created') this.fail('start', 'it was started before');
    try {
      await this.prepare();
      const plan = makePlan(this.parts.assembly);
      this.entry = plan.entry;
      await launch(this.parts.assembly, plan);
    } catch (error) {
      this.failed(error);
      throw error;
    }
    this.begin();
  }

  private async restoreOnce(snapshot: Snapshot): Promise<void> {
    try {
      await this.prepare();
      restoreVm(snapshot, this.parts.assembly, this.machine);
      if (this.parts.assembly.parts.options.clock === 'auto') this.clockWhy = 'as it was saved';
    } catch (error) {
      this.failed(error);
      throw error;
    }
    if (this.stopWanted !== null) return this.finishStopped();
    this.setStatus('paused');
  }

  /** Everything up to the point where guest state is needed. */
  private async prepare(): Promise<void> {
    const { assembly } = this.parts;
    await runStartHooks(assembly);
    connectLines(assembly);
    this.clockWhy = chooseClock(assembly);
    prepareInput(assembly, this.machine, this.inputs);
  }

  private begin(): void {
    if (this.stopWanted !== null) {
      this.finishStopped();
      return;
    }
    this.setStatus('running');
    this.go();
  }

  private go(): void {
    // Whoever started it gets on first: nothing of the guest runs inside of `start`.
    const { host } = this.parts.assembly.parts.options;
    const loop = host.turn().then(() => this.machine.run());
    loop.then(
      (end) => {
        if (end === null) this.setStatus('paused');
        else this.finish(end);
        this.settlePauses();
      },
      (error: unknown) => this.failed(error),
    );
  }

  private finishStopped(): void {
    const { reason, message } = this.stopWanted!;
    this.finish(Object.freeze({ reason, status: 0, message, instructions: this.instructions }));
    this.settlePauses();
  }

  private finish(end: VmEnd): void {
    this.end = end;
    this.setStatus('stopped', end.message);
    this.settle.resolve(end);
  }

  private failed(error: unknown): void {
    const failure = asVmmError(error);
    if (this.status !== 'disposed') this.setStatus('stopped', failure.message);
    this.settle.reject(failure);
    this.settlePauses();
  }

  private settlePauses(takenBack = false): void {
    this.pauses.settle(this.status, this.instructions, takenBack);
    this.machine.setPausePoint(this.pauses.nearest);
  }

  private guarded(plugin: string, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.parts.assembly.parts.events.pluginFault(plugin, 'a reset hook', error);
    }
  }

  private setStatus(status: VmStatus, reason?: string): void {
    if (this.status === status) return;
    this.status = status;
    this.parts.assembly.parts.events.status(status, reason);
  }

  private fail(what: string, remedy: string): never {
    throw new VmmError('invalid-state', `cannot ${what} a VM that is ${this.status}`, { remedy });
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What went wrong in the host while the guest ran: a bug unless it says otherwise. */
function asVmmError(error: unknown): VmmError {
  if (error instanceof VmmError) return error;
  return new VmmError('internal', textOf(error), { cause: error });
}
