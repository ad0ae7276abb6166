/**
 * A VM of core as the machine that `run` handles: saving to files, the save point, the summary's
 * facts.
 */
import type { FaultEvent, Vm, VmEnd, VmExit, WorldSwitch } from '@cloister/core';
import { BOOT_TIMER } from '@cloister/core/devices';
import type { Machine, Observe } from './machine.js';
import { dumpLayout, dumpMemory } from './memory-dump.js';
import { formatCount, formatSeconds, formatSize } from './quantity.js';
import type { RecordingFile } from './recording-file.js';
import type { RunOptions } from './run-options.js';
import { requireWritableState, writeState } from './state-file.js';

const MARKS_SHOWN = 8;

export interface SavePointPort {
  readonly reachedSavePoint: () => void;
}

export class VmMachine implements Machine {
  readonly exits: Observe<VmExit>;
  readonly switches: Observe<WorldSwitch>;
  readonly faults: Observe<FaultEvent>;
  readonly #vm: Vm;
  readonly #recording: RecordingFile | undefined;
  readonly #saveAt: number | undefined;
  readonly #dumpMemory: string | undefined;
  /** Paused by `pause`, which a save must not undo. */
  #held = false;
  /** It stands still until it is saved. */
  #leaving = false;

  constructor(
    vm: Vm,
    options: Pick<RunOptions, 'saveAt' | 'dumpMemory'>,
    port: SavePointPort,
    recording?: RecordingFile,
  ) {
    this.#vm = vm;
    this.#recording = recording;
    this.#saveAt = options.saveAt;
    this.#dumpMemory = options.dumpMemory;
    this.exits = observe(vm.events.exits);
    this.switches = observe(vm.events.switches);
    this.faults = observe(vm.events.faults);
    if (this.#saveAt === undefined) return;
    // Every pause and resume of somebody else's takes back the one that is asked for here.
    vm.events.lifecycle.subscribe(({ status, instructions }) => {
      if (status === 'running') this.#armSavePoint();
      if (status === 'paused' && instructions >= this.#saveAt!) port.reachedSavePoint();
    });
  }

  run(): Promise<VmEnd> {
    return this.#vm.run();
  }

  stop(reason: 'stopped' | 'timeout', message: string): void {
    // A failure is told by `run`.
    this.#vm.stop(reason, message).catch(() => {});
  }

  pause(): void {
    this.#held = true;
    if (this.#vm.status === 'running') void this.#vm.pause();
  }

  resume(): void {
    this.#held = false;
    if (this.#leaving) return;
    if (this.#vm.status !== 'running' && this.#vm.status !== 'paused') return;
    this.#vm.resume();
    this.#armSavePoint();
  }

  #armSavePoint(): void {
    if (this.#saveAt !== undefined) void this.#vm.pause({ at: this.#saveAt });
  }

  async save(path: string, options: { readonly leave?: boolean } = {}): Promise<void> {
    if (options.leave === true) return this.#leave(path);
    const snapshot = await this.#vm.save();
    if (this.#held) this.pause();
    await writeState(path, snapshot);
  }

  /** Saves a guest that does not go on here; if that fails it does, unless it is held. */
  async #leave(path: string): Promise<void> {
    requireWritableState(path);
    const held = this.#held;
    this.#leaving = true;
    try {
      await this.#vm.save({ leave: true, keep: (snapshot) => writeState(path, snapshot) });
    } catch (error) {
      this.#leaving = false;
      if (this.#held) this.pause();
      else if (held) this.resume();
      throw error;
    }
  }

  finishRecording(): void {
    this.#recording?.finish(this.#vm.recording().end);
  }

  dropRecording(): void {
    this.#recording?.drop();
  }

  dumpMemory(): void {
    if (this.#dumpMemory !== undefined) dumpMemory(this.#vm.memory, this.#dumpMemory);
  }

  instructions(): number {
    return this.#vm.instructions;
  }

  busySeconds(): number {
    return this.#vm.summary().busyMs / 1000;
  }

  exitCounts(): readonly (readonly [string, number])[] {
    return this.#vm.summary().exits.byKind.filter(([kind]) => kind !== 'interrupted');
  }

  facts(): readonly (readonly [string, string])[] {
    const summary = this.#vm.summary();
    const { clock, boot, protection, backend, exits } = summary;
    const mode = clock.mode === 'icount' ? 'instruction count' : 'wall';
    const rows: [string, string][] = [
      ['clock', `${mode} (${clock.why})`],
      ['seed', summary.seed],
      ['guest time', formatSeconds(summary.virtualTime / 1e9)],
      ['boot', boot === null ? 'restored' : boot.entry],
      ['boot time', this.#bootTime(summary.userModeAt)],
      [
        'memory',
        `${formatSize(summary.memory)}, ${summary.cpus} CPU${summary.cpus > 1 ? 's' : ''}`,
      ],
      ['backend', backend.name],
      ['protection', protection ? `${protection.name} (${protection.strength})` : 'none'],
    ];
    const counters: [string, number][] = [
      ['unclaimed I/O', exits.unclaimedIo],
      ['unclaimed MMIO', exits.unclaimedMmio],
      ['resets', summary.resets],
      ['faults', summary.faults],
      ...backend.statistics.map(([name, count]): [string, number] => [name, count]),
    ];
    for (const [name, count] of counters) if (count > 0) rows.push([name, formatCount(count)]);
    if (this.#dumpMemory !== undefined) rows.push(['memory dump', dumpLayout(this.#vm.memory)]);
    for (const [name, value] of [...(protection?.lines ?? []), ...summary.lines]) {
      rows.push([name, value]);
    }
    return rows;
  }

  /** Until user mode, and the marks of the boot timer, e.g. `1.234 s, mark 0x01 at 1.345 s`. */
  #bootTime(userModeAt: number | null): string {
    const { marks } = this.#vm.get(BOOT_TIMER);
    const parts = marks.slice(0, MARKS_SHOWN).map(({ value, at }) => {
      return `mark 0x${value.toString(16).padStart(2, '0')} at ${formatSeconds(at / 1e9)}`;
    });
    if (userModeAt !== null) parts.unshift(`${formatSeconds(userModeAt / 1e9)} to user mode`);
    return parts.length > 0 ? parts.join(', ') : 'user mode was not seen';
  }

  dispose(): Promise<void> {
    this.dropRecording();
    return this.#vm.dispose();
  }
}

/** The part of an Observable that is used. */
interface Stream<T> {
  subscribe(listener: (value: T) => void): { unsubscribe(): void };
}

function observe<T>(stream: Stream<T>): Observe<T> {
  return (listener) => {
    const subscription = stream.subscribe(listener);
    return () => subscription.unsubscribe();
  };
}
