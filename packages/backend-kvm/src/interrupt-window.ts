/**
 * How the PIC's interrupt gets into a vCPU: injected as soon as the guest takes it, which KVM tells
 * of by an exit when asked to.
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_INTERRUPT, request_interrupt_window).
 */
import { make } from './abi/struct.js';
import { INTERRUPT } from './abi/structs.js';
import type { KvmInterrupts } from './interrupts.js';
import type { RunPage } from './run-page.js';
import { type Sys, tryIoctl } from './sys/sys.js';

export class InterruptWindow {
  /** Whether KVM is asked to leave the guest once an interrupt can be injected. */
  private asked = false;

  constructor(
    private readonly sys: Sys,
    private readonly fd: number,
    private readonly page: RunPage,
    private readonly interrupts: KvmInterrupts,
  ) {}

  /** Whether `inject` has something to do. */
  get needed(): boolean {
    return this.asked || this.interrupts.wanted;
  }

  /** Before KVM_RUN: injects the PIC's interrupt, or asks to be told when that can be. */
  inject(): void {
    const { interrupts, page, sys } = this;
    if (!interrupts.wanted) {
      if (this.asked) this.ask(false);
      return;
    }
    if (!page.ready) {
      this.ask(true);
      return;
    }
    const irq = make(INTERRUPT, { irq: interrupts.acknowledge() });
    tryIoctl(sys, this.fd, 'INTERRUPT', irq.bytes);
    this.ask(interrupts.wanted);
  }

  private ask(on: boolean): void {
    this.asked = on;
    this.page.requestWindow = on;
  }
}
