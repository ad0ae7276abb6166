/**
 * The page that KVM shares about a vCPU (`struct kvm_run`), and its exits as core's, reused: an
 * exit is valid until its sink returns. What a handler leaves in an exit that asks goes back from
 * here.
 */
import type {
  DebugExit,
  ErrorExit,
  ExitSink,
  HltExit,
  HypercallExit,
  IoExit,
  MemoryFaultExit,
  MmioExit,
  MsrExit,
  ShutdownExit,
  SystemEventExit,
} from '@cloister/core';
import { EXIT, INTERNAL_ERROR, IO_OUT, SYSTEM_EVENT } from './abi/constants.js';
import { offsetOf } from './abi/struct.js';
import * as S from './abi/structs.js';

const at = (type: Parameters<typeof offsetOf>[0], path: string): number =>
  S.EXIT_UNION + offsetOf(type, path);

const WINDOW = offsetOf(S.RUN, 'request_interrupt_window');
const IMMEDIATE = offsetOf(S.RUN, 'immediate_exit');
const REASON = offsetOf(S.RUN, 'exit_reason') >> 2;
const READY = offsetOf(S.RUN, 'ready_for_interrupt_injection');
const IF_FLAG = offsetOf(S.RUN, 'if_flag');
const VALID = offsetOf(S.RUN, 'kvm_valid_regs') >> 2;

const IO_HEAD = at(S.EXIT_IO, 'direction') >> 2;
const IO_COUNT = at(S.EXIT_IO, 'count') >> 2;
const IO_OFFSET = at(S.EXIT_IO, 'data_offset') >> 2;
const MMIO_ADDRESS = at(S.EXIT_MMIO, 'phys_addr') >> 2;
const MMIO_DATA = at(S.EXIT_MMIO, 'data');
const MMIO_LENGTH = at(S.EXIT_MMIO, 'len') >> 2;
const MMIO_WRITE = at(S.EXIT_MMIO, 'is_write');
const MSR_ERROR = at(S.EXIT_MSR, 'error');
const MSR_INDEX = at(S.EXIT_MSR, 'index') >> 2;
const MSR_DATA = at(S.EXIT_MSR, 'data') >> 2;
const FAULT_FLAGS = at(S.EXIT_MEMORY_FAULT, 'flags') >> 2;
const FAULT_GPA = at(S.EXIT_MEMORY_FAULT, 'gpa') >> 2;
const FAULT_SIZE = at(S.EXIT_MEMORY_FAULT, 'size') >> 2;
const DEBUG_EXCEPTION = at(S.EXIT_DEBUG, 'exception') >> 2;
const DEBUG_PC = at(S.EXIT_DEBUG, 'pc') >> 2;
const DEBUG_DR6 = at(S.EXIT_DEBUG, 'dr6') >> 2;
const DEBUG_DR7 = at(S.EXIT_DEBUG, 'dr7') >> 2;
const CALL_NUMBER = at(S.EXIT_HYPERCALL, 'nr') >> 2;
const CALL_ARGS = at(S.EXIT_HYPERCALL, 'args') >> 2;
const CALL_RESULT = at(S.EXIT_HYPERCALL, 'ret') >> 2;
const EVENT_TYPE = at(S.EXIT_SYSTEM_EVENT, 'type') >> 2;
const EVENT_COUNT = at(S.EXIT_SYSTEM_EVENT, 'ndata') >> 2;
const EVENT_DATA = at(S.EXIT_SYSTEM_EVENT, 'data') >> 2;
const SUBERROR = at(S.EXIT_INTERNAL, 'suberror') >> 2;
const NDATA = at(S.EXIT_INTERNAL, 'ndata') >> 2;
const INSN_FLAGS = at(S.EXIT_EMULATION_FAILURE, 'flags') >> 2;
const INSN_SIZE = at(S.EXIT_EMULATION_FAILURE, 'insn_size');
const INSN_BYTES = at(S.EXIT_EMULATION_FAILURE, 'insn_bytes');
const EOI_VECTOR = at(S.EXIT_EOI, 'vector');
const UNION = S.EXIT_UNION >> 2;

const TWO_32 = 2 ** 32;
/** KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES */
const HAS_BYTES = 1;
/** KVM_MEMORY_EXIT_FLAG_PRIVATE */
const FAULT_PRIVATE = 8;

const EVENTS: Readonly<Record<number, SystemEventExit['event']>> = {
  [SYSTEM_EVENT.SHUTDOWN]: 'shutdown',
  [SYSTEM_EVENT.RESET]: 'reset',
  [SYSTEM_EVENT.CRASH]: 'crash',
  [SYSTEM_EVENT.WAKEUP]: 'wakeup',
  [SYSTEM_EVENT.SUSPEND]: 'suspend',
  [SYSTEM_EVENT.SEV_TERM]: 'sev-term',
};

const REASONS = new Map(Object.entries(EXIT).map(([name, number]) => [number as number, name]));

/** What nobody answers reads as ones. */
function ones(data: Uint8Array): void {
  for (let at = 0; at < data.length; at++) data[at] = 0xff;
}

export class RunPage {
  private readonly bytes: Uint8Array;
  private readonly words: Uint32Array;
  /** The last exits' data: mostly the next one's lie there as well. */
  private ioData: Uint8Array;
  private ioOffset = -1;
  private ioLength = 0;
  private mmioData: Uint8Array;
  private mmioLength = 0;
  private readonly io: IoExit;
  private readonly mmio: MmioExit;
  private readonly msr: MsrExit;
  private readonly hlt: HltExit;
  private readonly base: { readonly vcpu: number; readonly instructions: -1 };

  constructor(
    readonly memory: Uint8Array,
    vcpu: number,
  ) {
    const { buffer, byteOffset, length } = memory;
    this.bytes = memory;
    this.words = new Uint32Array(buffer, byteOffset, length >> 2);
    const base = { vcpu, instructions: -1 } as const;
    const data = memory.subarray(MMIO_DATA, MMIO_DATA);
    this.ioData = data;
    this.mmioData = data;
    this.base = base;
    this.io = { ...base, kind: 'io', direction: 'in', port: 0, size: 1, count: 1, data };
    this.mmio = { ...base, kind: 'mmio', direction: 'read', gpa: 0, size: 1, data };
    this.msr = { ...base, kind: 'msr', direction: 'read', index: 0, lo: 0, hi: 0, fault: true };
    this.hlt = { ...base, kind: 'hlt', interruptible: true };
  }

  get reason(): number {
    return this.words[REASON]!;
  }

  get reasonName(): string {
    return REASONS.get(this.reason) ?? `number ${this.reason}`;
  }

  /** The next KVM_RUN finishes what is under way and executes nothing more. */
  set immediateExit(on: boolean) {
    this.bytes[IMMEDIATE] = on ? 1 : 0;
  }

  /** Asks for an exit once an external interrupt can be injected. */
  set requestWindow(on: boolean) {
    this.bytes[WINDOW] = on ? 1 : 0;
  }

  /** Whether KVM_INTERRUPT would be taken at once. */
  get ready(): boolean {
    return this.bytes[READY] !== 0;
  }

  /** RFLAGS.IF at the last exit. */
  get interruptible(): boolean {
    return this.bytes[IF_FLAG] !== 0;
  }

  /** Classes of registers that KVM keeps in this page from the next exit on (`SYNC`). */
  set syncValid(mask: number) {
    this.words[VALID] = mask;
  }

  get eoiVector(): number {
    return this.bytes[EOI_VECTOR]!;
  }

  deliverIo(sink: ExitSink): void {
    const { io, words } = this;
    // Direction, size and port are one word.
    const head = words[IO_HEAD]!;
    const size = (head >>> 8) & 0xff;
    const count = words[IO_COUNT]!;
    const offset = words[IO_OFFSET]!;
    if (offset !== this.ioOffset || size * count !== this.ioLength) {
      this.ioOffset = offset;
      this.ioLength = size * count;
      this.ioData = this.bytes.subarray(offset, offset + size * count);
    }
    io.size = size;
    io.port = head >>> 16;
    io.count = count;
    io.data = this.ioData;
    if ((head & 0xff) === IO_OUT) io.direction = 'out';
    else {
      io.direction = 'in';
      ones(this.ioData);
    }
    sink(io);
  }

  deliverMmio(sink: ExitSink): void {
    const { mmio, words } = this;
    const size = Math.min(8, words[MMIO_LENGTH]!);
    if (size !== this.mmioLength) {
      this.mmioLength = size;
      this.mmioData = this.bytes.subarray(MMIO_DATA, MMIO_DATA + size);
    }
    mmio.gpa = words[MMIO_ADDRESS]! + words[MMIO_ADDRESS + 1]! * TWO_32;
    mmio.size = size;
    mmio.data = this.mmioData;
    if (this.bytes[MMIO_WRITE] !== 0) mmio.direction = 'write';
    else {
      mmio.direction = 'read';
      ones(this.mmioData);
    }
    sink(mmio);
  }

  deliverMsr(sink: ExitSink): void {
    const { msr, words } = this;
    const write = this.reason === EXIT.X86_WRMSR;
    msr.direction = write ? 'write' : 'read';
    msr.index = words[MSR_INDEX]!;
    msr.lo = write ? words[MSR_DATA]! : 0;
    msr.hi = write ? words[MSR_DATA + 1]! : 0;
    msr.fault = true;
    sink(msr);
    this.bytes[MSR_ERROR] = msr.fault ? 1 : 0;
    if (write) return;
    words[MSR_DATA] = msr.lo;
    words[MSR_DATA + 1] = msr.hi;
  }

  deliverHalt(sink: ExitSink): void {
    this.hlt.interruptible = this.interruptible;
    sink(this.hlt);
  }

  deliverHypercall(sink: ExitSink): void {
    const { words, base } = this;
    const exit: HypercallExit = {
      ...base,
      kind: 'hypercall',
      number: words[CALL_NUMBER]!,
      args: words.slice(CALL_ARGS, CALL_ARGS + 8),
      resultLo: 0,
      resultHi: 0,
    };
    sink(exit);
    words[CALL_RESULT] = exit.resultLo;
    words[CALL_RESULT + 1] = exit.resultHi;
  }

  deliverDebug(sink: ExitSink): void {
    const { words, base } = this;
    const exit: DebugExit = {
      ...base,
      kind: 'debug',
      vector: words[DEBUG_EXCEPTION]!,
      ripLo: words[DEBUG_PC]!,
      ripHi: words[DEBUG_PC + 1]!,
      dr6: words[DEBUG_DR6]!,
      dr7: words[DEBUG_DR7]!,
    };
    sink(exit);
  }

  deliverShutdown(sink: ExitSink): void {
    const exit: ShutdownExit = { ...this.base, kind: 'shutdown', reason: 'triple-fault' };
    sink(exit);
  }

  deliverMemoryFault(sink: ExitSink): void {
    const { words, base } = this;
    const exit: MemoryFaultExit = {
      ...base,
      kind: 'memory-fault',
      gpa: words[FAULT_GPA]! + words[FAULT_GPA + 1]! * TWO_32,
      size: words[FAULT_SIZE]!,
      // KVM does not say which.
      access: 'read',
      private: (words[FAULT_FLAGS]! & FAULT_PRIVATE) !== 0,
    };
    sink(exit);
  }

  deliverSystemEvent(sink: ExitSink): void {
    const { words, base } = this;
    const type = words[EVENT_TYPE]!;
    const count = Math.min(16, words[EVENT_COUNT]!);
    const data = Array.from({ length: count }, (_, index) => {
      const word = EVENT_DATA + 2 * index;
      return words[word]! + words[word + 1]! * TWO_32;
    });
    const event = EVENTS[type];
    if (event === undefined) this.deliverError(sink, 'system-event', `of unknown type ${type}`);
    else sink({ ...base, kind: 'system-event', event, data });
  }

  /** KVM_EXIT_INTERNAL_ERROR, with the instruction where KVM could not emulate one. */
  deliverInternalError(sink: ExitSink): void {
    const bytes = this.failedInstruction();
    if (bytes !== null) {
      const text = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
      const what = text === '' ? '' : `: ${text}`;
      this.deliverError(
        sink,
        'emulation-failure',
        `KVM cannot execute an instruction${what}`,
        bytes,
      );
      return;
    }
    const suberror = this.words[SUBERROR]!;
    this.deliverError(sink, 'internal', `KVM reports internal error ${suberror}`);
  }

  /** The bytes at RIP that KVM could not emulate (none if unknown); null for other errors. */
  failedInstruction(): Uint8Array | null {
    if (this.reason !== EXIT.INTERNAL_ERROR) return null;
    if (this.words[SUBERROR] !== INTERNAL_ERROR.EMULATION) return null;
    const known = this.words[NDATA]! > 0 && (this.words[INSN_FLAGS]! & HAS_BYTES) !== 0;
    const size = known ? Math.min(15, this.bytes[INSN_SIZE]!) : 0;
    return this.bytes.slice(INSN_BYTES, INSN_BYTES + size);
  }

  deliverFailEntry(sink: ExitSink): void {
    const { words } = this;
    const hardware = words[UNION + 1]! * TWO_32 + words[UNION]!;
    const text = `the processor refuses the guest's state (0x${hardware.toString(16)})`;
    this.deliverError(sink, 'fail-entry', text);
  }

  deliverError(
    sink: ExitSink,
    code: string,
    message: string,
    bytes: Uint8Array = new Uint8Array(0),
  ): void {
    const exit: ErrorExit = { ...this.base, kind: 'error', code, message, bytes };
    sink(exit);
  }
}
