/**
 * Whether a vCPU sleeps, and what wakes it.
 *
 * With local APICs in the kernel HLT stays in KVM_RUN: it is found when a run ends, and the vCPU
 * then sleeps outside until something happened that may wake it (an interrupt sent from here,
 * another vCPU's run, the APIC's timer). Without them every HLT is an exit, and only an interrupt
 * of the PIC or an NMI ends it.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_GET_MP_STATE, KVM_GET_VCPU_EVENTS).
 */
import type { Timer } from '@cloister/core';
import { MP } from './abi/constants.js';
import { make, StructView } from './abi/struct.js';
import { MP_STATE, VCPU_EVENTS } from './abi/structs.js';
import { untilLapicTimer } from './lapic-timer.js';
import { ioctl, type Sys, tryIoctl } from './sys/sys.js';
import type { VcpuPorts } from './vcpu-ports.js';

/** `halted` by HLT; `waiting` for INIT and SIPI. */
export type Asleep = 'halted' | 'waiting';

/** A guest that its APIC's timer wakes sooner stays in KVM_RUN: the host's timers are coarser. */
const NAP_NS = 2_000_000;

/** The sleep that the kernel knows of, with local APICs there. Not during KVM_RUN. */
export function sleepInKernel(sys: Sys, fd: number): Asleep | null {
  const mp = new StructView(MP_STATE);
  if (tryIoctl(sys, fd, 'GET_MP_STATE', mp.bytes) < 0) return null;
  switch (mp.get('mp_state')) {
    case MP.HALTED:
      return 'halted';
    case MP.UNINITIALIZED:
    case MP.INIT_RECEIVED:
      return 'waiting';
    default:
      return null;
  }
}

/** Whether no timer wakes a halted vCPU so soon that it had better wait in KVM_RUN. */
export function sleepsLonger(sys: Sys, fd: number, tscKhz: number): boolean {
  return untilLapicTimer(sys, fd, tscKhz) > NAP_NS;
}

/** The vCPU as far as its sleep is concerned. */
export interface Sleeper {
  readonly fd: number;
  /** Whether RFLAGS.IF was set at the last exit. */
  readonly interruptible: boolean;
  /**
   * Enters the guest and comes back as soon as KVM can, which wakes the vCPU if it may. True when
   * it ran so far as to exit.
   */
  poll(): boolean;
}

export class VcpuSleep {
  /** Null: awake. */
  state: Asleep | null;
  /** What the VM's count of events was when this vCPU was found asleep. */
  private seen = -1;
  private wakeUp: Timer | null = null;

  constructor(
    private readonly vcpu: Sleeper,
    private readonly ports: VcpuPorts,
    state: Asleep | null,
  ) {
    this.state = state;
  }

  /** Whether a run may find the vCPU awake. */
  get mayEnd(): boolean {
    if (this.state === null) return true;
    const { interrupts, events } = this.ports;
    if (interrupts.kind !== 'none') return this.seen !== events.count;
    return (interrupts.wanted && this.vcpu.interruptible) || this.nmiWaits();
  }

  /** Whether a sleeping vCPU really wakes, of which `mayEnd` was true. */
  ends(): boolean {
    if (this.ports.interrupts.kind === 'none') {
      if (!this.mayEnd) return false;
      this.wake();
      return true;
    }
    this.cancelWake();
    if (this.state === 'halted') this.look();
    else this.state = this.find();
    this.note();
    this.settle();
    return this.state === null;
  }

  /**
   * A run ended: finds out whether the vCPU sleeps, and plans what will wake it. `others`: vCPUs
   * executed beside it until now, and may have sent it something since it was in KVM_RUN.
   */
  begin(others = false): Asleep | null {
    this.state = this.find();
    if (others) this.look();
    this.settle();
    return this.state;
  }

  /** Nothing that happened up to now wakes the vCPU. */
  note(): void {
    if (this.state !== null) this.seen = this.ports.events.count;
  }

  /** In the middle of a run: whether it is better to sleep outside of KVM_RUN. */
  get worthwhile(): boolean {
    const { sys, interrupts, tscKhz } = this.ports;
    if (interrupts.kind === 'none') return false;
    const state = this.find();
    if (state !== 'halted') return state !== null;
    return sleepsLonger(sys, this.vcpu.fd, tscKhz);
  }

  /** HLT was an exit; null when the vCPU goes on at once. */
  halt(): Asleep | null {
    this.state = 'halted';
    if (this.mayEnd) this.wake();
    return this.state;
  }

  wake(): void {
    this.state = null;
    this.cancelWake();
  }

  /** The state in the kernel was set to runnable, from outside. */
  makeRunnable(): void {
    const mp = make(MP_STATE, { mp_state: MP.RUNNABLE });
    tryIoctl(this.ports.sys, this.vcpu.fd, 'SET_MP_STATE', mp.bytes);
    this.wake();
  }

  /** The vCPU's state was replaced: finds out whether it sleeps. */
  replaced(): void {
    this.cancelWake();
    // Without APICs in the kernel only the VM's record knows: it sets `state` behind this.
    this.state = null;
    this.state = this.find();
    this.seen = -1;
  }

  /** The sleep that the kernel knows of. */
  find(): Asleep | null {
    if (this.ports.interrupts.kind === 'none') return this.state;
    return sleepInKernel(this.ports.sys, this.vcpu.fd);
  }

  cancelWake(): void {
    this.wakeUp?.cancel();
    this.wakeUp = null;
  }

  /** Two looks: the first makes an interrupt of a timer that fired, the second takes it. */
  private look(): void {
    for (let looks = 0; looks < 2 && this.state === 'halted'; looks++) {
      const exited = this.vcpu.poll();
      this.state = this.find();
      if (exited) return;
    }
  }

  /**
   * A vCPU that was found halted: plans its wake. Without a timer to wake it, one may have fired
   * since it was looked at; then it does not sleep.
   */
  private settle(): void {
    if (this.state !== 'halted' || this.ports.interrupts.kind === 'none') return;
    if (!this.planWake()) this.look();
  }

  /** The kernel's APIC timer cannot wake a vCPU outside of KVM_RUN: the machine's clock does. */
  private planWake(): boolean {
    const { sys, clock, events, tscKhz } = this.ports;
    const ns = untilLapicTimer(sys, this.vcpu.fd, tscKhz);
    if (ns === Number.POSITIVE_INFINITY) return false;
    this.wakeUp = clock.at(clock.now() + ns, () => {
      this.wakeUp = null;
      events.count++;
    });
    return true;
  }

  /** Whether an NMI is pending that the guest would take now. */
  private nmiWaits(): boolean {
    const events = new StructView(VCPU_EVENTS);
    ioctl(this.ports.sys, this.vcpu.fd, 'GET_VCPU_EVENTS', events.bytes);
    return events.get('nmi.pending') !== 0 && events.get('nmi.masked') === 0;
  }
}
