/**
 * The exits of one vCPU: one reused object a kind, delivered to the sink of the current run.
 */
import type {
  CpuidExit,
  ExitSink,
  HltExit,
  HypercallExit,
  IoExit,
  MmioExit,
  MsrExit,
  ShutdownExit,
  VmExit,
} from '@cloister/core';

const NO_DATA = new Uint8Array(0);
/** Linux's -ENOSYS of hypercalls: what an unclaimed call returns. */
const HYPERCALL_UNKNOWN = -1000;

export class ExitPort {
  /** Where exits go; set by the run. */
  sink: ExitSink = () => {};
  readonly io: IoExit;
  readonly mmio: MmioExit;
  readonly hlt: HltExit;
  readonly cpuid: CpuidExit;
  readonly msr: MsrExit;
  readonly hypercall: HypercallExit;
  readonly shutdown: ShutdownExit;

  constructor(
    private readonly vcpu: number,
    /** Instructions executed before the current one. */
    private readonly instructions: () => number,
  ) {
    const base = { vcpu, instructions: 0 };
    const value = { lo: 0, hi: 0 };
    this.io = { ...base, kind: 'io', direction: 'in', port: 0, size: 1, count: 1, data: NO_DATA };
    this.mmio = { ...base, kind: 'mmio', direction: 'read', gpa: 0, size: 1, data: NO_DATA };
    this.hlt = { ...base, kind: 'hlt', interruptible: true };
    this.cpuid = { ...base, kind: 'cpuid', leaf: 0, subleaf: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 };
    this.msr = { ...base, ...value, kind: 'msr', direction: 'read', index: 0, fault: true };
    const args = new Uint32Array(8);
    this.hypercall = { ...base, kind: 'hypercall', number: 0, args, resultLo: 0, resultHi: 0 };
    this.shutdown = { ...base, kind: 'shutdown', reason: 'triple-fault' };
  }

  deliverIo(
    direction: 'in' | 'out',
    port: number,
    size: number,
    count: number,
    data: Uint8Array,
  ): void {
    const exit = this.io;
    exit.instructions = this.instructions();
    exit.direction = direction;
    exit.port = port;
    exit.size = size;
    exit.count = count;
    exit.data = data;
    this.sink(exit);
  }

  deliverMmio(direction: 'read' | 'write', gpa: number, data: Uint8Array): void {
    const exit = this.mmio;
    exit.instructions = this.instructions();
    exit.direction = direction;
    exit.gpa = gpa;
    exit.size = data.length;
    exit.data = data;
    this.sink(exit);
  }

  deliverHlt(interruptible: boolean): void {
    this.hlt.instructions = this.instructions();
    this.hlt.interruptible = interruptible;
    this.sink(this.hlt);
  }

  /** Delivers `cpuid` as its fields stand. */
  deliverCpuid(): void {
    this.cpuid.instructions = this.instructions();
    this.sink(this.cpuid);
  }

  /** Delivers an access to an unknown MSR; true if a handler claimed it. */
  deliverMsr(direction: 'read' | 'write', index: number, lo: number, hi: number): boolean {
    const exit = this.msr;
    exit.instructions = this.instructions();
    exit.direction = direction;
    exit.index = index >>> 0;
    exit.lo = lo >>> 0;
    exit.hi = hi >>> 0;
    exit.fault = true;
    this.sink(exit);
    return !exit.fault;
  }

  /** Delivers `hypercall`, whose arguments are set. */
  deliverHypercall(number: number): void {
    const exit = this.hypercall;
    exit.instructions = this.instructions();
    exit.number = number >>> 0;
    exit.resultLo = HYPERCALL_UNKNOWN >>> 0;
    exit.resultHi = 0xffffffff;
    this.sink(exit);
  }

  deliverShutdown(reason: ShutdownExit['reason']): void {
    this.shutdown.instructions = this.instructions();
    this.shutdown.reason = reason;
    this.sink(this.shutdown);
  }

  /** Delivers an exit as it is, but for whose it is and when. */
  deliver(exit: VmExit): void {
    exit.vcpu = this.vcpu;
    exit.instructions = this.instructions();
    this.sink(exit);
  }

  deliverError(code: string, message: string, bytes: Uint8Array): void {
    const { vcpu } = this;
    this.sink({ kind: 'error', vcpu, instructions: this.instructions(), code, message, bytes });
  }
}
