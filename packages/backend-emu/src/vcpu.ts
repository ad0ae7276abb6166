/**
 * A vCPU of the emulated processor as core sees it: the loop around the interpreter.
 *
 * Between two stretches of emitted code: pending faults are delivered, interrupts taken, single
 * steps trapped. Everything happens at exact instruction counts.
 */
import { type ExitSink, type RunEnd, type Vcpu, type VcpuState, VmmError } from '@cloister/core';
import { FLAG_TF } from './cpu/flags.js';
import * as L from './cpu/layout.js';
import type { Processor } from './cpu/processor.js';
import { VECTOR_DB } from './cpu/registers.js';
import type { Interpreter } from './interp/interpreter.js';
import { deliver, deliverFault, EVENT_EXTERNAL, takeInterrupt } from './system/exceptions.js';

const ACTIVITY = L.ACTIVITY >> 2;
const EFLAGS = L.EFLAGS >> 2;
const FAULT_VECTOR = L.FAULT_VECTOR >> 2;
const DR6 = L.DR + 6 * 8;
const DR6_BS = 1 << 14;
/** The interpreter counts in 32 bits. */
const STRETCH_MAX = 1 << 30;

export class EmulatedVcpu implements Vcpu {
  readonly index: number;
  /** Instruction count at which the slice under way ends. */
  #end = 0;
  #inside = false;
  #kicked = false;

  constructor(
    readonly processor: Processor,
    readonly interpreter: Interpreter,
  ) {
    this.index = processor.index;
    processor.onStopRequest = () => interpreter.shorten(0);
  }

  get executed(): number {
    return this.interpreter.executed;
  }

  get runnable(): boolean {
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
    if (this.#inside) throw new VmmError('invalid-state', 'the vCPU is running already');
    const { processor, interpreter } = this;
    processor.exits.sink = sink;
    this.#end = interpreter.executed + slice;
    this.#inside = true;
    try {
      return this.#loop();
    } finally {
      this.#inside = false;
      processor.exits.sink = () => {};
    }
  }

  #loop(): RunEnd {
    const { processor, interpreter } = this;
    const { words } = processor;
    for (;;) {
      if (this.#kicked) {
        this.#kicked = false;
        return 'slice';
      }
      takeInterrupt(processor);
      const activity = words[ACTIVITY];
      if (activity !== L.ACTIVITY_RUNNING) return asleep(activity);
      const left = this.#end - interpreter.executed;
      if (left <= 0) return 'slice';
      const stretch = Math.min(left, STRETCH_MAX);
      processor.stopRequested = false;
      const step = (words[EFLAGS] & FLAG_TF) !== 0;
      const end = interpreter.run(step || processor.inShadow() ? 1 : stretch);
      if (end === 'fault') deliverFault(processor);
      else if (step) this.#singleStep();
    }
  }

  /** #DB after an instruction that began with TF set (AMD APM vol. 2, 13.1.4). */
  #singleStep(): void {
    const { processor } = this;
    const { record } = processor;
    record.setI32(DR6, record.i32(DR6) | DR6_BS);
    deliver(
      processor, VECTOR_DB, -1, EVENT_EXTERNAL, record.lo(L.RIP), record.hi(L.RIP),
    ); // biome-ignore format: one line of arguments
  }

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
    return this.processor.readState();
  }

  writeState(state: VcpuState): void {
    this.processor.writeState(state);
    this.processor.words[FAULT_VECTOR] = -1;
  }

  nmi(): void {
    this.processor.nmi();
  }
}

function asleep(activity: number): RunEnd {
  if (activity === L.ACTIVITY_HALTED) return 'halted';
  return activity === L.ACTIVITY_WAIT_SIPI ? 'waiting' : 'shutdown';
}
