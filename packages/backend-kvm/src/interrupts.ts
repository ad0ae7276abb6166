/**
 * How interrupts reach vCPUs on KVM, in three arrangements:
 *
 *   split   local APICs in the kernel; PIC and IOAPIC are devices of core (the default)
 *   kernel  local APICs, PIC and IOAPIC in the kernel
 *   none    nothing in the kernel: the PIC of core alone, one vCPU, every HLT leaves the guest
 *
 * Source: Documentation/virt/kvm/api.rst (KVM_CAP_SPLIT_IRQCHIP, KVM_SIGNAL_MSI,
 * KVM_SET_GSI_ROUTING, KVM_INTERRUPT). With `split`, KVM tells of an EOI only for vectors that it
 * knows level-triggered messages by: these are learned from the messages as they are sent.
 */
import type { ExternalInterruptSource, InterruptPort } from '@cloister/core';
import { CHIP, ROUTING } from './abi/constants.js';
import { make, StructView } from './abi/struct.js';
import { IRQ_LEVEL, IRQ_ROUTING, IRQ_ROUTING_ENTRY, MSI } from './abi/structs.js';
import { checked, type Sys, tryIoctl } from './sys/sys.js';

export type KvmIrqchip = 'split' | 'kernel' | 'none';

/** IOAPIC pins: GSIs that level-triggered messages are learned for. */
export const IOAPIC_PINS = 24;

const LEVEL_TRIGGERED = 1 << 15;
const TWO_32 = 2 ** 32;

/** A GSI's route. */
export type Route =
  | { readonly gsi: number; readonly chip: number; readonly pin: number }
  | { readonly gsi: number; readonly address: number; readonly data: number };

function routingTable(routes: readonly Route[]): Uint8Array {
  const { size } = IRQ_ROUTING_ENTRY;
  const bytes = new Uint8Array(IRQ_ROUTING.size + routes.length * size);
  new StructView(IRQ_ROUTING, bytes).set('nr', routes.length);
  routes.forEach((route, index) => {
    const entry = new StructView(IRQ_ROUTING_ENTRY, bytes, IRQ_ROUTING.size + index * size);
    entry.set('gsi', route.gsi);
    const words = 'chip' in route ? [route.chip, route.pin] : messageWords(route);
    entry.set('type', 'chip' in route ? ROUTING.IRQCHIP : ROUTING.MSI);
    words.forEach((word, at) => {
      entry.view.setUint32(16 + 4 * at, word, true);
    });
  });
  return bytes;
}

function messageWords({ address, data }: { address: number; data: number }): number[] {
  return [address >>> 0, Math.floor(address / TWO_32) >>> 0, data >>> 0];
}

/** GSIs of a PC with everything in the kernel: ISA IRQs also at the PIC, IRQ 0 at pin 2. */
function kernelRoutes(): Route[] {
  const routes: Route[] = [];
  for (let gsi = 0; gsi < IOAPIC_PINS; gsi++) {
    if (gsi < 16) {
      const chip = gsi < 8 ? CHIP.PIC_MASTER : CHIP.PIC_SLAVE;
      routes.push({ gsi, chip, pin: gsi % 8 });
    }
    if (gsi !== 2) routes.push({ gsi, chip: CHIP.IOAPIC, pin: gsi === 0 ? 2 : gsi });
  }
  return routes;
}

export class KvmInterrupts implements InterruptPort {
  readonly irqchip: InterruptPort['irqchip'];
  /** The i8259 pair's INTR line. */
  external = false;
  /** Called when `wanted` becomes true, in the thread of the VM. */
  onWanted = (): void => {};
  private source: ExternalInterruptSource | null = null;
  private readonly eoiListeners: ((vector: number) => void)[] = [];
  /** Level-triggered messages by GSI, oldest first. */
  private learned: { readonly address: number; readonly data: number }[] = [];
  /** Routes of irqfds, from `IOAPIC_PINS` on. */
  private readonly extra = new Map<number, Route>();

  constructor(
    private readonly sys: Sys,
    private readonly vmFd: number,
    readonly kind: KvmIrqchip,
    /** Called after anything that may wake a vCPU. */
    private readonly changed: () => void,
  ) {
    this.irqchip = kind === 'kernel' ? 'internal' : 'external';
    if (kind === 'kernel') checked('KVM_SET_GSI_ROUTING', this.tellRoutes());
  }

  setGsi(gsi: number, level: boolean): void {
    if (this.kind !== 'kernel') return;
    tryIoctl(this.sys, this.vmFd, 'IRQ_LINE', make(IRQ_LEVEL, { irq: gsi, level: +level }).bytes);
    this.changed();
  }

  sendMsi(address: number, data: number): void {
    if (this.kind === 'none') return;
    if (this.kind === 'split' && (data & LEVEL_TRIGGERED) !== 0) this.learn(address, data);
    const [lo, hi, value] = messageWords({ address, data }) as [number, number, number];
    const msi = make(MSI, { address_lo: lo, address_hi: hi, data: value });
    // A guest may program what no APIC takes: then nothing is delivered.
    tryIoctl(this.sys, this.vmFd, 'SIGNAL_MSI', msi.bytes);
    this.changed();
  }

  connectExternal(source: ExternalInterruptSource): void {
    this.source = source;
  }

  setExternal(level: boolean): void {
    this.external = level;
    if (!level) return;
    this.changed();
    this.onWanted();
  }

  onEoi(listener: (vector: number) => void): void {
    this.eoiListeners.push(listener);
  }

  /** Whether the PIC asks for an interrupt that has to be injected from here. */
  get wanted(): boolean {
    return this.external && this.source !== null && this.kind !== 'kernel';
  }

  /** The vector of the PIC's request. */
  acknowledge(): number {
    return this.source!.acknowledge();
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.eoiListeners) listener(vector);
  }

  /** A GSI of its own that delivers a message, for an irqfd; `removeMessageRoute` frees it. */
  addMessageRoute(address: number, data: number): number {
    let gsi = IOAPIC_PINS;
    while (this.extra.has(gsi)) gsi++;
    this.extra.set(gsi, { gsi, address, data });
    const result = this.tellRoutes();
    if (result < 0) this.extra.delete(gsi);
    checked('KVM_SET_GSI_ROUTING', result);
    return gsi;
  }

  /** Frees a GSI of `addMessageRoute`. */
  removeMessageRoute(gsi: number): void {
    if (this.extra.delete(gsi)) this.tellRoutes();
  }

  /** Level-triggered messages so far, for a snapshot. */
  learnedRoutes(): { readonly address: number; readonly data: number }[] {
    return this.learned.map((each) => ({ ...each }));
  }

  /** Takes what `learnedRoutes` gave; ignores what has not its form. */
  learnRoutes(saved: unknown): void {
    if (this.kind !== 'split' || !Array.isArray(saved)) return;
    for (const { address, data } of saved as { address?: unknown; data?: unknown }[]) {
      if (typeof address === 'number' && typeof data === 'number') this.learn(address, data);
    }
  }

  private learn(address: number, data: number): void {
    if (this.learned.some((each) => each.address === address && each.data === data)) return;
    this.learned = [...this.learned, { address, data }].slice(-IOAPIC_PINS);
    this.tellRoutes();
  }

  /** What the kernel says; a guest's message goes out whether or not its EOI will be told. */
  private tellRoutes(): number {
    const own =
      this.kind === 'kernel'
        ? kernelRoutes()
        : this.learned.map(({ address, data }, gsi) => ({ gsi, address, data }));
    const table = routingTable([...own, ...this.extra.values()]);
    return tryIoctl(this.sys, this.vmFd, 'SET_GSI_ROUTING', table);
  }
}
