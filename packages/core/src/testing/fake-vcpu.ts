/**
 * A processor that runs a script: exits, halts, interrupts and slices as `Vcpu` describes them, and
 * nothing else. Counts one instruction for each step, as the emulated processor does.
 */
import type {
  ExitSink,
  RunEnd,
  SnapshotValue,
  Vcpu,
  VcpuState,
  VmExit,
} from '../interfaces/index.js';
import { resetState, VmmError } from '../interfaces/index.js';
import type { SlotMemory } from '../memory/slot-memory.js';
import type { FakeOp, FakeProgram } from './fake-program.js';

/** Where a processor is in one of its two lists. */
interface Frame {
  readonly list: 'main' | 'isr';
  pc: number;
  /** Instructions of the current `work` that are done. */
  done: number;
  /** Jumps taken so far, by step. */
  jumps: { [step: string]: number };
}

export interface FakeCpuState {
  frames: Frame[];
  value: number;
  halted: boolean;
  /** Whether the last HLT can be ended by an interrupt. */
  interruptible: boolean;
  waiting: boolean;
  nmiPending: boolean;
  /** Vectors that wait, in order of arrival. */
  pending: number[];
  /** Instruction count and vector of every interrupt taken. */
  taken: (readonly [number, number])[];
}

export interface FakeCpuPorts {
  readonly memory: SlotMemory;
  /** Instructions of the VM, shared by its processors. */
  readonly counter: { instructions: number };
  /** Answers the INTR line, if it is high and connected to this processor. */
  external(): number | null;
  readonly externalHigh: () => boolean;
}

/** NMI's vector. */
const NMI = 2;

function freshState(index: number): FakeCpuState {
  return {
    frames: [{ list: 'main', pc: 0, done: 0, jumps: {} }],
    value: 0,
    halted: false,
    interruptible: true,
    waiting: index > 0,
    nmiPending: false,
    pending: [],
    taken: [],
  };
}

function bytesOf(value: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < Math.min(size, 4); i++) bytes[i] = value >>> (8 * i);
  return bytes;
}

function littleEndian(bytes: Uint8Array): number {
  let value = 0;
  for (let i = Math.min(bytes.length, 4) - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
  return value;
}

export class FakeVcpu implements Vcpu {
  state: FakeCpuState;
  private registers: VcpuState = resetState();
  private budget = 0;
  private inSink = false;
  private running = false;
  private kicked = false;
  /** Slices so far: how often the machine called. */
  runs = 0;

  constructor(
    readonly index: number,
    private readonly program: FakeProgram,
    private readonly ports: FakeCpuPorts,
  ) {
    this.state = freshState(index);
  }

  get runnable(): boolean {
    const { waiting, halted, nmiPending } = this.state;
    if (waiting) return false;
    return !halted || nmiPending || (this.state.interruptible && this.hasInterrupt());
  }

  run(slice: number, sink: ExitSink): RunEnd {
    if (this.running) throw new VmmError('invalid-state', 'run was called inside of run');
    this.running = true;
    this.runs++;
    this.budget = slice;
    try {
      return this.loop((exit) => this.deliver(exit, sink));
    } finally {
      this.running = false;
    }
  }

  shorten(instructions: number): void {
    if (!this.running) return;
    // The instruction that exits is still to be counted.
    this.budget = Math.min(this.budget, instructions + (this.inSink ? 1 : 0));
  }

  kick(): void {
    this.kicked = true;
  }

  nmi(): void {
    this.state.nmiPending = true;
  }

  /** An interrupt message for this processor. */
  interrupt(vector: number): void {
    this.state.pending.push(vector);
  }

  readState(): VcpuState {
    return structuredClone(this.registers);
  }

  /** Registers have no effect here; a processor that gets some no longer waits for SIPI. */
  writeState(state: VcpuState): void {
    this.registers = structuredClone(state);
    this.state.waiting = false;
  }

  reset(): void {
    this.state = freshState(this.index);
    this.registers = resetState();
  }

  save(): SnapshotValue {
    return structuredClone(this.state) as unknown as SnapshotValue;
  }

  load(state: SnapshotValue): void {
    this.state = structuredClone(state) as unknown as FakeCpuState;
  }

  private deliver(exit: VmExit, sink: ExitSink): void {
    this.inSink = true;
    try {
      sink(exit);
    } finally {
      this.inSink = false;
    }
  }

  private hasInterrupt(): boolean {
    return this.state.pending.length > 0 || (this.index === 0 && this.ports.externalHigh());
  }

  private loop(exit: (exit: VmExit) => void): RunEnd {
    const { state } = this;
    if (state.waiting) return 'waiting';
    while (this.budget > 0) {
      if (this.kicked) {
        this.kicked = false;
        return 'slice';
      }
      this.takeInterrupt();
      if (state.halted) return 'halted';
      const frame = state.frames.at(-1)!;
      const op = this.program[frame.list]?.[frame.pc];
      if (op === undefined) {
        if (frame.list === 'isr') {
          state.frames.pop();
          continue;
        }
        // A program that runs out sleeps for good.
        state.halted = true;
        state.interruptible = false;
        return 'halted';
      }
      const end = this.step(op, frame, exit);
      if (end !== null) return end;
    }
    return 'slice';
  }

  private takeInterrupt(): void {
    const { state } = this;
    if (state.nmiPending) {
      state.nmiPending = false;
      this.enter(NMI);
      return;
    }
    const asleep = state.halted && !state.interruptible;
    if (asleep || state.frames.length > 1 || !this.hasInterrupt()) return;
    const vector = state.pending.shift() ?? this.ports.external();
    if (vector !== null) this.enter(vector);
  }

  private enter(vector: number): void {
    const { state } = this;
    state.halted = false;
    state.taken.push([this.ports.counter.instructions, vector]);
    state.frames.push({ list: 'isr', pc: 0, done: 0, jumps: {} });
  }

  private count(instructions: number): void {
    this.ports.counter.instructions += instructions;
    this.budget -= instructions;
  }

  private step(op: FakeOp, frame: Frame, exit: (exit: VmExit) => void): RunEnd | null {
    const base = { vcpu: this.index, instructions: this.ports.counter.instructions };
    const next = frame.pc + 1;
    switch (op.op) {
      case 'work': {
        const now = Math.min(op.count - frame.done, this.budget);
        frame.done += now;
        this.count(now);
        if (frame.done < op.count) return null;
        frame.done = 0;
        frame.pc = next;
        return null;
      }
      case 'jump': {
        const taken = frame.jumps[frame.pc] ?? 0;
        const again = op.times === undefined || taken < op.times;
        frame.jumps[frame.pc] = again ? taken + 1 : 0;
        frame.pc = again ? op.to : next;
        break;
      }
      case 'in':
      case 'out':
        frame.pc = next;
        this.io(op, base, exit);
        break;
      case 'load':
      case 'store':
        frame.pc = next;
        this.access(op, base, exit);
        break;
      case 'hlt':
        frame.pc = next;
        this.state.interruptible = op.interruptible ?? true;
        this.state.halted = true;
        exit({ kind: 'hlt', ...base, interruptible: this.state.interruptible });
        this.count(1);
        return this.runnable ? null : 'halted';
      case 'exit':
        frame.pc = next;
        exit(Object.assign(op.exit, base));
        break;
      case 'shutdown':
        exit({ kind: 'shutdown', ...base, reason: 'triple-fault' });
        return 'shutdown';
      case 'fail':
        exit({ kind: 'error', ...base, ...op, bytes: new Uint8Array(0) } as VmExit);
        return 'error';
    }
    this.count(1);
    return null;
  }

  private io(
    op: Extract<FakeOp, { op: 'in' | 'out' }>,
    base: { vcpu: number; instructions: number },
    exit: (exit: VmExit) => void,
  ): void {
    const size = op.size ?? 1;
    const value = op.op === 'out' ? (op.value ?? this.state.value) : 0xffffffff;
    const data = bytesOf(value, size);
    exit({ kind: 'io', ...base, direction: op.op, port: op.port, size, count: 1, data });
    if (op.op === 'in') this.state.value = littleEndian(data);
  }

  private access(
    op: Extract<FakeOp, { op: 'load' | 'store' }>,
    base: { vcpu: number; instructions: number },
    exit: (exit: VmExit) => void,
  ): void {
    const { memory } = this.ports;
    const size = op.size ?? 4;
    if (op.op === 'load') {
      const data = new Uint8Array(size).fill(0xff);
      if (!memory.tryRead(op.gpa, data)) {
        exit({ kind: 'mmio', ...base, direction: 'read', gpa: op.gpa, size, data });
      }
      this.state.value = littleEndian(data);
      return;
    }
    const data = bytesOf(op.value ?? this.state.value, size);
    if (memory.tryWrite(op.gpa, data)) return;
    exit({ kind: 'mmio', ...base, direction: 'write', gpa: op.gpa, size, data });
  }
}
