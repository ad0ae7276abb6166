/**
 * The interrupt bus: carries messages of devices and commands of local APICs to their
 * destinations. It is core's `InterruptPort` of the emulated processor (irqchip `external`).
 *
 * Source: AMD APM vol. 2, 16.5 and 16.6; Intel SDM vol. 3, 11.6, 11.7 and 11.11.
 * Lowest-priority arbitration is deterministic: the lowest processor priority wins, then the lowest
 * index.
 */
import type { ExternalInterruptSource, InterruptPort } from '@cloister/core';
import { VmmError } from '@cloister/core';
import type { LocalApic } from './local-apic.js';
import { type ApicMessage, messageOfMsi } from './message.js';
import type { ApicSender } from './ports.js';
import * as R from './registers.js';

export class ApicBus implements InterruptPort, ApicSender {
  readonly irqchip = 'external';
  /** Messages that named no APIC, or an address that is none: dropped, as on hardware. */
  lost = 0;
  private readonly apics: LocalApic[] = [];
  private readonly listeners: ((vector: number) => void)[] = [];
  private external: ExternalInterruptSource | null = null;

  /** Adds an APIC; the first is the boot CPU's. */
  add(apic: LocalApic): void {
    this.apics.push(apic);
    if (this.external !== null) apic.connectExternal(this.external);
  }

  setGsi(): void {
    throw new VmmError('unsupported', 'this processor has no internal interrupt controller', {
      remedy: 'drive the IOAPIC and i8259 devices of the machine',
    });
  }

  sendMsi(address: number, data: number): void {
    const message = messageOfMsi(address, data);
    if (message === null) this.lost++;
    else this.deliver(message);
  }

  connectExternal(source: ExternalInterruptSource): void {
    this.external = source;
    for (const apic of this.apics) apic.connectExternal(source);
  }

  setExternal(level: boolean): void {
    this.apics[0]?.setLint(0, level);
  }

  onEoi(listener: (vector: number) => void): void {
    this.listeners.push(listener);
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.listeners) listener(vector);
  }

  /** Delivers a message to every APIC that its destination names, or to one of them. */
  deliver(message: ApicMessage): void {
    const { destination, logical } = message;
    if (message.mode === R.MODE_LOWEST) {
      const chosen = this.arbitrate(destination, logical);
      if (chosen === null) this.lost++;
      else chosen.accept(message);
      return;
    }
    let found = false;
    for (const apic of this.apics) {
      // A device's eight bits cannot name all x2APICs but by 0xff.
      const every = destination === 0xff && !logical;
      if (!every && !apic.matches(destination, logical)) continue;
      found = true;
      apic.accept(message);
    }
    if (!found) this.lost++;
  }

  command(from: LocalApic, icr: number, destination: number): void {
    const message: ApicMessage = {
      mode: (icr >>> 8) & 7,
      vector: icr & 0xff,
      destination,
      logical: (icr & R.ICR_LOGICAL) !== 0,
      // Commands are edge-triggered whatever ICR says; only INIT has a level, to be ignored.
      level: false,
    };
    if (message.mode === R.MODE_EXTINT || message.mode === R.MODE_SMI || message.mode === 3) return;
    const level = (icr & R.ICR_LEVEL) !== 0;
    if (message.mode === R.MODE_INIT && (icr & R.ICR_TRIGGER) !== 0 && !level) return;
    const resets = message.mode === R.MODE_INIT || message.mode === R.MODE_STARTUP;
    switch ((icr >>> 18) & 3) {
      case R.SHORTHAND_NONE:
        this.sendFrom(from, message);
        return;
      case R.SHORTHAND_SELF:
        // Only fixed interrupts may be sent to oneself.
        if (message.mode === R.MODE_FIXED) from.accept(message);
        return;
      case R.SHORTHAND_ALL:
        // INIT and SIPI have no form that includes the sender.
        for (const apic of this.apics) if (apic !== from || !resets) apic.accept(message);
        return;
      default:
        for (const apic of this.apics) if (apic !== from) apic.accept(message);
    }
  }

  private sendFrom(from: LocalApic, message: ApicMessage): void {
    if (message.mode === R.MODE_LOWEST || !from.isX2apic) {
      this.deliver(message);
      return;
    }
    // In x2APIC mode 0xff is an ordinary ID.
    let found = false;
    for (const apic of this.apics) {
      if (!apic.matches(message.destination, message.logical)) continue;
      found = true;
      apic.accept(message);
    }
    if (!found) this.lost++;
  }

  private arbitrate(destination: number, logical: boolean): LocalApic | null {
    let best: LocalApic | null = null;
    let lowest = 256;
    for (const apic of this.apics) {
      if (!apic.softwareEnabled || !apic.matches(destination, logical)) continue;
      const priority = apic.arbitrationPriority();
      if (priority < lowest) {
        lowest = priority;
        best = apic;
      }
    }
    return best;
  }
}
