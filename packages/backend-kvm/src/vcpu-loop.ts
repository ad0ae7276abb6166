/**
 * What the thread of one vCPU beyond the first does: KVM_RUN again and again. Exits are answered by
 * the thread of the VM, see `vcpu-mailbox.ts`; here only signals are.
 *
 * A look from time to time says whether the guest sleeps. It also bounds how long this thread can
 * be inside of KVM_RUN: whoever ends the Worker, or the process, waits no longer than that.
 */
import { KVM } from './abi/ioctls.js';
import { ERRNO, NR } from './abi/linux.js';
import type { Sys } from './sys/sys.js';
import { KICK_SIGNAL, type ThreadSignals } from './thread-signals.js';
import { Bell, STATE, type VcpuWorkerData, WORD } from './vcpu-mailbox.js';
import { sleepInKernel, sleepsLonger } from './vcpu-sleep.js';

const LOOK_NS = 20_000_000;

export class VcpuLoop {
  private readonly words: Int32Array;
  private readonly bell: Bell;

  constructor(
    private readonly sys: Sys,
    private readonly signals: ThreadSignals,
    private readonly data: VcpuWorkerData,
  ) {
    this.words = new Int32Array(data.mailbox);
    this.bell = new Bell(data.bell);
    signals.armEvery(LOOK_NS);
    Atomics.store(this.words, WORD.THREAD, signals.tid);
  }

  /** Runs the vCPU whenever it is handed over; returns when the thread is to end. */
  serve(): void {
    const { words } = this;
    for (;;) {
      const state = Atomics.load(words, WORD.STATE);
      if (state === STATE.END) return;
      if (!this.turn()) Atomics.wait(words, WORD.STATE, state);
    }
  }

  /** Runs the vCPU if it was handed over, until it is handed back. */
  turn(): boolean {
    const { GO, RUN } = STATE;
    if (Atomics.compareExchange(this.words, WORD.STATE, GO, RUN) !== GO) return false;
    this.handBack(this.run());
    return true;
  }

  /** What KVM_RUN came to; null when asked to park. KVM is entered at least once. */
  private run(): number | null {
    const { words, sys, signals } = this;
    for (;;) {
      words[WORD.ENTRIES]!++;
      const result = sys.syscall(NR.ioctl, this.data.fd, KVM.RUN, 0);
      // EAGAIN: a CPU that waits for SIPI was told something.
      if (result !== -ERRNO.EINTR && result !== -ERRNO.EAGAIN) return result;
      if (result === -ERRNO.EINTR) {
        words[WORD.INTERRUPTIONS]!++;
        if (signals.drain()) this.look();
      }
      if (Atomics.exchange(words, WORD.REQUEST, 0) !== 0) return null;
    }
  }

  private look(): void {
    const { sys, data } = this;
    const state = sleepInKernel(sys, data.fd);
    const asleep =
      state === 'waiting' || (state === 'halted' && sleepsLonger(sys, data.fd, data.tscKhz));
    Atomics.store(this.words, WORD.ASLEEP, asleep ? 1 : 0);
  }

  private handBack(result: number | null): void {
    const { words, signals } = this;
    words[WORD.RESULT] = result ?? 0;
    if (result !== null) Atomics.store(words, WORD.ASLEEP, 0);
    Atomics.store(words, WORD.STATE, result === null ? STATE.PARKED : STATE.EXIT);
    const thread = this.bell.ring();
    if (thread !== 0) this.sys.syscall(NR.tgkill, signals.pid, thread, KICK_SIGNAL);
  }
}
