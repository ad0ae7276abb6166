/**
 * Plugin: the standard PC platform. Interrupt controllers (PIC pair, IOAPIC), timer, clock,
 * keyboard controller, ACPI fixed hardware, system control and POST ports, and their wiring.
 *
 * Wiring: an ISA IRQ goes to the PIC and to the IOAPIC pin of its number, IRQ 0 to pin 2 (the
 * MADT's override). Higher GSIs go to the IOAPIC alone. INTR of the PIC is the ExtINT input of the
 * boot CPU's local APIC. With an irqchip inside the backend there is no PIC and no IOAPIC here, and
 * GSIs go to the backend.
 */
import {
  FIXED_HARDWARE,
  IOAPIC_BASE,
  IOAPIC_ID,
  SCI_GSI,
  TIMER_GSI,
} from '../acpi/fixed-hardware.js';
import {
  ACPI_FIXED_HARDWARE,
  type AcpiFixedHardware,
  INTERRUPT_ROUTER,
  type InterruptPort,
  type InterruptRouter,
  type IsaOverride,
  type PluginContext,
  POWER_BUTTON,
  VmmError,
  type VmPlugin,
} from '../interfaces/index.js';
import { acpiPm } from './acpi-pm.js';
import { i8042 } from './i8042.js';
import { i8254 } from './i8254.js';
import { i8259 } from './i8259.js';
import { IOAPIC_PINS, ioapic } from './ioapic.js';
import { mc146818 } from './mc146818.js';
import { port92 } from './port-92.js';
import { postPort } from './post-port.js';

export interface PcOptions {
  /**
   * Where PIC and IOAPIC live: devices of this plugin (`external`, the default) or the backend
   * (`internal`, as KVM's in-kernel irqchip).
   */
  readonly irqchip?: InterruptPort['irqchip'];
  /** The speaker's tone in Hz, 0 for silence. */
  readonly speaker?: (hz: number) => void;
}

const ISA_IRQS = 16;
const TIMER_IRQ = 0;
const KEYBOARD_IRQ = 1;
const RTC_IRQ = 8;
/** Name of the power button's input source. */
const POWER_BUTTON_SOURCE = 'power-button';

const OVERRIDES: readonly IsaOverride[] = [
  { irq: TIMER_IRQ, gsi: TIMER_GSI, activeLow: false, level: false },
  { irq: SCI_GSI, gsi: SCI_GSI, activeLow: false, level: true },
];

const HARDWARE: AcpiFixedHardware = {
  ...FIXED_HARDWARE,
  // Nothing is plugged in: a probe would only take time.
  keyboardController: false,
};

/** PIC and IOAPIC as devices, and the router in front of them. */
function externalRouter(context: PluginContext): InterruptRouter {
  const pic = i8259({ elcr: 1 << SCI_GSI })({
    intr: { set: (level) => context.interrupts.setExternal(level) },
  });
  const io = ioapic({ base: IOAPIC_BASE, id: IOAPIC_ID })({
    sendMsi: (address, data) => context.interrupts.sendMsi(address, data),
  });
  context.addDevice(pic);
  context.addDevice(io);
  context.onStart(() => {
    context.interrupts.connectExternal(pic);
    context.interrupts.onEoi((vector) => io.endOfInterrupt(vector));
  });
  return {
    gsis: IOAPIC_PINS,
    pic: true,
    ioApics: [{ id: IOAPIC_ID, address: IOAPIC_BASE, gsiBase: 0, pins: IOAPIC_PINS }],
    overrides: OVERRIDES,
    setGsi(gsi, level) {
      if (gsi < ISA_IRQS) pic.setIrq(gsi, level);
      io.setPin(gsi === TIMER_IRQ ? TIMER_GSI : gsi, level);
    },
  };
}

function internalRouter(context: PluginContext): InterruptRouter {
  return {
    gsis: IOAPIC_PINS,
    pic: true,
    ioApics: [{ id: IOAPIC_ID, address: IOAPIC_BASE, gsiBase: 0, pins: IOAPIC_PINS }],
    overrides: OVERRIDES,
    setGsi: (gsi, level) => context.interrupts.setGsi(gsi, level),
  };
}

function addInterrupts(context: PluginContext, irqchip: InterruptPort['irqchip']): void {
  const router = irqchip === 'external' ? externalRouter(context) : internalRouter(context);
  context.provide(INTERRUPT_ROUTER, router);
  context.onStart(() => {
    if (context.interrupts.irqchip === irqchip) return;
    throw new VmmError(
      'invalid-config',
      `the platform expects an ${irqchip} irqchip, the backend has an ` +
        `${context.interrupts.irqchip} one`,
      { plugin: 'pc', remedy: `use pc({ irqchip: '${context.interrupts.irqchip}' })` },
    );
  });
}

function addPower(context: PluginContext): void {
  const { clock, control } = context;
  const pm = acpiPm()({ clock, control, sci: context.irq(SCI_GSI) });
  context.addDevice(pm);
  context.provide(ACPI_FIXED_HARDWARE, HARDWARE);
  const button = context.input.source(POWER_BUTTON_SOURCE, () => pm.pressPowerButton());
  context.provide(POWER_BUTTON, {
    press() {
      button.push(Uint8Array.of(1));
    },
  });
}

/** The standard PC platform; see the head of this file. */
export function pc(options: PcOptions = {}): VmPlugin {
  const { irqchip = 'external', speaker } = options;
  return {
    name: 'pc',
    version: '0.1.0',
    api: 1,
    requires: [],
    provides: ['platform.pc', 'irqchip', 'timer.pit', 'rtc', 'acpi.fixed-hardware'],
    setup(context) {
      const { clock, control } = context;
      addInterrupts(context, irqchip);
      const pitPorts = { clock, irq: context.irq(TIMER_IRQ) };
      context.addDevice(i8254()(speaker === undefined ? pitPorts : { ...pitPorts, speaker }));
      const rtc = mc146818({ ramSize: context.ramSize });
      context.addDevice(rtc({ clock, irq: context.irq(RTC_IRQ) }));
      context.addDevice(i8042()({ control, irq: context.irq(KEYBOARD_IRQ) }));
      addPower(context);
      context.addDevice(port92()({ control }));
      context.addDevice(postPort());
    },
  };
}
