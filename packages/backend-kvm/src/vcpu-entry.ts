/**
 * A vCPU's ways into the guest and out of it: KVM_RUN, each exit answered in place, and the
 * instruction of an exit completed. Who enters, and how long, is decided by `vcpu.ts` and, for one
 * with a thread of its own, by `vcpu-follower.ts`.
 */
import type { ExitSink, RunEnd } from '@cloister/core';
import { EXIT } from './abi/constants.js';
import { KVM } from './abi/ioctls.js';
import { ERRNO, NR } from './abi/linux.js';
import { InterruptWindow } from './interrupt-window.js';
import type { KvmAssist } from './kvm-assist.js';
import { Mapping } from './mapping.js';
import type { RunDeadline } from './run-deadline.js';
import { RunPage } from './run-page.js';
import { errnoName } from './sys/sys.js';
import type { VcpuPorts } from './vcpu-ports.js';
import { VcpuRegisters } from './vcpu-registers.js';
import { type Sleeper, VcpuSleep } from './vcpu-sleep.js';

/** Exits of one instruction that are completed before a run ends (REP may have any number). */
const COMPLETIONS_MAX = 65536;
/** Full rings in a row that list nothing: KVM has lost count of the ring, and never runs again. */
const EMPTY_RINGS_MAX = 8;

/** Does what must not meet a running vCPU of the same VM. */
export type Still = <Result>(action: () => Result) => Result;

export class VcpuEntry implements Sleeper {
  readonly page: RunPage;
  readonly registers: VcpuRegisters;
  readonly sleep: VcpuSleep;
  /** Whether a run, or the answer to an exit, is under way. */
  inside = false;
  /** Times that KVM_RUN was called from here. */
  count = 0;
  /** Whether KVM still has to complete the instruction of the last exit. */
  incomplete = false;
  /** Whether `access` answered the exit that it came back with. */
  answered = false;
  /** Whether `poll` ended in an exit that is still to be answered. */
  private undelivered = false;
  /** Times in a row that KVM found a ring full which listed nothing. */
  private emptyRings = 0;
  private readonly mapping: Mapping;
  /** Only the first vCPU is connected to the PIC. */
  private readonly window: InterruptWindow | null;

  constructor(
    readonly index: number,
    readonly fd: number,
    runSize: number,
    private readonly ports: VcpuPorts,
    private readonly still: Still,
  ) {
    const { sys, interrupts, signals } = ports;
    this.mapping = Mapping.ofFile(sys, fd, runSize);
    this.page = new RunPage(this.mapping.bytes, index);
    this.registers = new VcpuRegisters(fd, this.page, ports);
    this.sleep = new VcpuSleep(this, ports, index > 0 ? 'waiting' : null);
    this.window = index === 0 ? new InterruptWindow(sys, fd, this.page, interrupts) : null;
    try {
      signals.admit(fd);
    } catch (error) {
      this.mapping.dispose();
      throw error;
    }
  }

  /** RFLAGS.IF at the last exit. */
  get interruptible(): boolean {
    return this.page.interruptible;
  }

  /** KVM_RUN; or the exit that `poll` found. 0 or `-errno`. */
  enter(): number {
    if (this.undelivered) {
      this.undelivered = false;
      return 0;
    }
    return this.run();
  }

  /** Enters the guest with a signal pending; true when it ran so far as to exit. */
  poll(): boolean {
    // An exit that the loop has not seen yet must not be lost.
    if (this.undelivered) return true;
    const { signals } = this.ports;
    signals.raise();
    const result = this.run();
    signals.drain();
    this.undelivered = result === 0;
    return this.undelivered;
  }

  private run(): number {
    this.window?.inject();
    if (this.registers.kept) this.registers.stale();
    this.count++;
    return this.ports.sys.syscall(NR.ioctl, this.fd, KVM.RUN, 0);
  }

  /** Whether `access` may be used: nothing has to be done before KVM_RUN. */
  get plain(): boolean {
    return !this.undelivered && !this.registers.kept && this.window?.needed !== true;
  }

  /**
   * KVM_RUN again and again, as long as the guest only reaches for devices and `deadline` has
   * nothing to attend to: what the last one returned. The exit is answered if `answered`.
   *
   * Behind an exit nothing is in the processor's nearest caches: the time goes by how much code and
   * data is touched here, not by what is done with them.
   */
  access(sink: ExitSink, deadline: RunDeadline): number {
    const { page, fd } = this;
    const { sys } = this.ports;
    this.answered = false;
    for (;;) {
      this.count++;
      const result = sys.syscall(NR.ioctl, fd, KVM.RUN, 0);
      if (result !== 0) return result;
      const { reason } = page;
      if (reason !== EXIT.IO && reason !== EXIT.MMIO) return 0;
      this.incomplete = true;
      if (reason === EXIT.IO) page.deliverIo(sink);
      else page.deliverMmio(sink);
      if (!deadline.exited()) continue;
      this.answered = true;
      return 0;
    }
  }

  /** Behind a look: answers the exit that it came to, if it did. */
  looked(sink: ExitSink): RunEnd | null {
    if (!this.undelivered) return null;
    this.undelivered = false;
    return this.asInside(() => this.exit(sink));
  }

  /** The vCPU's state was replaced: finds out whether it sleeps. */
  stateReplaced(): void {
    this.incomplete = false;
    this.undelivered = false;
    this.registers.stale();
    this.sleep.replaced();
  }

  asInside<Result>(action: () => Result): Result {
    const before = this.inside;
    this.inside = true;
    try {
      return action();
    } finally {
      this.inside = before;
    }
  }

  dispose(): void {
    this.sleep.cancelWake();
    this.mapping.dispose();
    this.ports.sys.syscall(NR.close, this.fd);
  }

  /** KVM_RUN failed. */
  failed(result: number, sink: ExitSink): RunEnd {
    const { page } = this;
    if (page.reason === EXIT.MEMORY_FAULT && result !== -ERRNO.EBADF) page.deliverMemoryFault(sink);
    else page.deliverError(sink, 'run-failed', `KVM_RUN: ${errnoName(result)}`);
    return 'error';
  }

  /** Answers one exit; what the run comes to if that ends it. */
  exit(sink: ExitSink): RunEnd | null {
    const { page, registers } = this;
    if (registers.kept) registers.exited();
    switch (page.reason) {
      case EXIT.IO:
        this.incomplete = true;
        page.deliverIo(sink);
        return null;
      case EXIT.MMIO:
        this.incomplete = true;
        page.deliverMmio(sink);
        return null;
      case EXIT.X86_RDMSR:
      case EXIT.X86_WRMSR:
        this.incomplete = true;
        page.deliverMsr(sink);
        return null;
      case EXIT.HYPERCALL:
        this.incomplete = true;
        page.deliverHypercall(sink);
        return null;
      case EXIT.IRQ_WINDOW_OPEN:
        return null;
      case EXIT.INTR:
        return null;
      case EXIT.IOAPIC_EOI:
        this.ports.interrupts.endOfInterrupt(page.eoiVector);
        return null;
      case EXIT.DIRTY_RING_FULL:
        return this.ringFull(sink);
      case EXIT.HLT:
        page.deliverHalt(sink);
        return this.sleep.halt();
      case EXIT.DEBUG:
        page.deliverDebug(sink);
        return null;
      case EXIT.SHUTDOWN:
        page.deliverShutdown(sink);
        return 'shutdown';
      case EXIT.SYSTEM_EVENT:
        page.deliverSystemEvent(sink);
        return null;
      case EXIT.MEMORY_FAULT:
        page.deliverMemoryFault(sink);
        return 'error';
      case EXIT.INTERNAL_ERROR:
        if (this.ports.assist !== null && page.failedInstruction() !== null) {
          return this.assisted(this.ports.assist, sink);
        }
        page.deliverInternalError(sink);
        return 'error';
      case EXIT.FAIL_ENTRY:
        page.deliverFailEntry(sink);
        return 'error';
      default:
        page.deliverError(sink, 'unknown-exit', `KVM left the guest for ${page.reasonName}`);
        return 'error';
    }
  }

  private ringFull(sink: ExitSink): RunEnd | null {
    this.emptyRings = this.ports.ringFull() > 0 ? 0 : this.emptyRings + 1;
    if (this.emptyRings < EMPTY_RINGS_MAX) return null;
    this.page.deliverError(sink, 'dirty-ring', 'KVM calls a dirty ring full that lists no pages');
    return 'error';
  }

  /** Another processor executes the instruction that KVM could not; what the run comes to. */
  private assisted(assist: KvmAssist, sink: ExitSink): RunEnd | null {
    const end = this.still(() => assist.step(this, sink));
    if (end === 'shutdown') return end;
    if (end === 'done') {
      this.registers.forget();
      return null;
    }
    this.page.deliverInternalError(sink);
    return 'error';
  }

  /**
   * Lets KVM finish what the last exit began. Another exit of the same instruction is answered as
   * usual. Null, or what the run came to.
   */
  complete(sink: ExitSink): RunEnd | null {
    if (!this.incomplete) return null;
    const { page } = this;
    page.immediateExit = true;
    try {
      for (let count = 0; this.incomplete && count < COMPLETIONS_MAX; count++) {
        const result = this.ports.sys.syscall(NR.ioctl, this.fd, KVM.RUN, 0);
        this.incomplete = false;
        if (result !== 0) return null;
        const end = this.exit(sink);
        if (end !== null) return end;
      }
      return null;
    } finally {
      page.immediateExit = false;
    }
  }
}
