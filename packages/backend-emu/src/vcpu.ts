/**
 * A vCPU of the emulated processor as core sees it: the loop around the interpreter.
 *
 * Between two stretches of emitted code: pending faults are delivered, interrupts taken, single
 * steps trapped. Everything happens at exact instruction counts.
 */
import { type ExitSink, type RunEnd, type Vcpu, type VcpuState, VmmError } from '@cloister/core';
import * as L from './cpu/layout.js';
import type { Processor } from './cpu/processor.js';
import type { ExtensionEvents } from './extension/events.js';
import type { Interpreter } from './interp/interpreter.js';
import {
  breakOnCode,
  codeBreaks,
  isWatched,
  stepWatched,
  takeDebugTrap,
} from './system/debug-traps.js';
import { deliverFault, takeInterrupt } from './system/exceptions.js';

const ACTIVITY = L.ACTIVITY >> 2;
const FAULT_VECTOR = L.FAULT_VECTOR >> 2;
const RIP = L.RIP >> 2;
/** The interpreter counts in 32 bits. */
const STRETCH_MAX = 1 << 30;
/**
 * Where frames are kept under keys, an instruction can cost as much as a thousand others: one that
 * has a frame re-encoded. After so many a slice ends: the host is to get its turn.
 */
const MANY_SWITCHES = 256;
const NO_BYTES = new Uint8Array(0);

export class EmulatedVcpu implements Vcpu {
  readonly index: number;
  /** Instruction count at which the slice under way ends. */
  #end = 0;
  #inside = false;
  #kicked = false;
  readonly #tired = () => this.kick();

  constructor(
    readonly processor: Processor,
    readonly interpreter: Interpreter,
  ) {
    this.index = processor.index;
    processor.deliverUsual = interpreter.deliverUsual;
    processor.onStopRequest = () => interpreter.shorten(0);
    processor.debug.boundary = () => interpreter.executed + (interpreter.running ? 1 : 0);
  }

  get executed(): number {
    return this.interpreter.executed;
  }

  get runnable(): boolean {
    const { events } = this.processor.extension;
    if (events.stopped) return false;
    if (events.arrived) return true;
    switch (this.processor.words[ACTIVITY]) {
      case L.ACTIVITY_RUNNING:
        return true;
      case L.ACTIVITY_HALTED:
        return this.processor.wakes;
      default:
        return false;
    }
  }

  run(slice: number, sink: ExitSink): RunEnd {
    return this.#enter(sink, () => {
      this.#end = this.interpreter.executed + slice;
      return this.processor.extension.events.active ? this.#guest() : this.#loop();
    });
  }

  /**
   * Runs the guest of an extension that switches worlds: in and out again. INIT and a start-up IPI
   * end the run, to be seen to by the next one.
   */
  #guest(): RunEnd {
    const { words, exits, extension } = this.processor;
    const { events } = extension;
    events.arrive();
    if (events.stopped) return 'error';
    if (!this.runnable) return asleep(words[ACTIVITY]);
    const refusal = events.enter();
    if (refusal === null) return this.#visit(events);
    exits.deliverError(refusal.code, refusal.message, NO_BYTES);
    return 'error';
  }

  /** The guest's world. It is left even where a device's error ends the run. */
  #visit(events: ExtensionEvents): RunEnd {
    try {
      return this.#loop();
    } finally {
      events.leave();
    }
  }

  #enter<T>(sink: ExitSink, inside: () => T): T {
    if (this.#inside) throw new VmmError('invalid-state', 'the vCPU is running already');
    const { exits } = this.processor;
    exits.sink = sink;
    this.#inside = true;
    try {
      return inside();
    } finally {
      this.#inside = false;
      exits.sink = () => {};
    }
  }

  #loop(): RunEnd {
    const { processor, interpreter } = this;
    const { words } = processor;
    const { events } = processor.extension;
    processor.physical.keys.watch(MANY_SWITCHES, this.#tired);
    for (;;) {
      // What was injected belongs to this entry, whatever ends the run.
      if (events.injects) {
        takeDebugTrap(processor);
        events.deliverInjected();
      }
      if (events.active && events.ends) return events.takeEnd();
      if (this.#kicked) {
        this.#kicked = false;
        return 'slice';
      }
      // By priority (AMD APM vol. 2, 8.5): traps of the last instruction, interrupts, breakpoints.
      // What waits behind a trap is taken before the first instruction of its handler.
      takeDebugTrap(processor);
      takeInterrupt(processor);
      const activity = words[ACTIVITY];
      if (activity !== L.ACTIVITY_RUNNING) return asleep(activity);
      const left = this.#end - interpreter.executed;
      if (left <= 0) return 'slice';
      this.#stretch(Math.min(left, STRETCH_MAX));
    }
  }

  /** Runs at most `most` instructions, or delivers the fault of one. */
  #stretch(most: number): void {
    const { processor, interpreter } = this;
    processor.stopRequested = false;
    const shadowed = processor.shadow.covers();
    const ripLo = processor.words[RIP];
    const ripHi = processor.words[RIP + 1];
    const before = shadowed ? interpreter.executed : 0;
    if (isWatched(processor)) this.#watched();
    else this.#run(shadowed ? 1 : most);
    if (shadowed && interpreter.executed > before) processor.shadow.end(ripLo, ripHi);
  }

  /** Runs one instruction in a page with breakpoints, or the next one that is traced. */
  #watched(): void {
    const { processor } = this;
    const causes = codeBreaks(processor);
    if (causes === 0) {
      stepWatched(processor, this.#step);
      return;
    }
    this.#charge();
    breakOnCode(processor, causes);
  }

  /**
   * Counts an instruction that faults, before that is delivered. A handler whose first instruction
   * faults would otherwise keep the vCPU for ever, and time would stand still meanwhile.
   */
  #charge(): void {
    this.interpreter.executed++;
  }

  /**
   * Runs the instruction at RIP, or delivers its fault; then the debug trap behind it. Interrupts
   * are left alone.
   */
  step(sink: ExitSink): void {
    this.#requireVisible();
    this.#enter(sink, () => {
      this.#stretch(1);
      takeDebugTrap(this.processor);
    });
  }

  /** Runs at most `count` instructions. False if one of them faulted: that has been delivered. */
  #run(count: number): boolean {
    const { processor, interpreter } = this;
    if (interpreter.run(count) !== 'fault') return true;
    // What a faulting instruction touched before has not been accessed.
    processor.mmu.breakpoints.hits = 0;
    this.#charge();
    deliverFault(processor);
    return false;
  }

  /** Runs one instruction, where there may be a breakpoint. */
  readonly #step = (): boolean => {
    const { interpreter } = this;
    interpreter.watched = true;
    const ended = this.#run(1);
    interpreter.watched = false;
    return ended;
  };

  shorten(instructions: number): void {
    if (!this.#inside) return;
    const { interpreter } = this;
    const current = interpreter.running ? 1 : 0;
    this.#end = Math.min(this.#end, interpreter.executed + current + instructions);
    interpreter.shorten(instructions);
  }

  kick(): void {
    this.#kicked = true;
    if (this.#inside) this.interpreter.shorten(0);
  }

  readState(): VcpuState {
    this.#requireVisible();
    return this.processor.readState();
  }

  writeState(state: VcpuState): void {
    this.#requireVisible();
    this.processor.writeState(state);
    this.processor.words[FAULT_VECTOR] = -1;
  }

  #requireVisible(): void {
    if (!this.processor.extension.set.registersHidden) return;
    throw new VmmError('unsupported', 'the protection hides the registers of this vCPU', {
      remedy: 'look at a VM without it',
    });
  }

  nmi(): void {
    this.processor.nmi();
  }
}

function asleep(activity: number): RunEnd {
  if (activity === L.ACTIVITY_HALTED) return 'halted';
  return activity === L.ACTIVITY_WAIT_SIPI ? 'waiting' : 'shutdown';
}
