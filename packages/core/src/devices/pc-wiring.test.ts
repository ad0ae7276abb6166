/** How the PC platform connects its controllers to a backend's interrupt port. */
import { describe, expect, it } from 'vitest';
import type { Device, InterruptRouter, PluginContext } from '../interfaces/index.js';
import { INTERRUPT_ROUTER } from '../interfaces/index.js';
import { FakeClock, FakeControl } from '../testing/fakes.js';
import { irqLines } from './irq-lines.js';
import { pc } from './pc.js';

/** Sets the plugin up on a context of fakes and starts it. */
function setup(irqchip: 'internal' | 'external') {
  const lines = irqLines();
  const devices = new Map<string, Device>();
  const services = new Map<symbol, unknown>();
  const hooks: (() => void)[] = [];
  const seen: string[] = [];
  let eoi: ((vector: number) => void) | null = null;
  const context = {
    clock: new FakeClock(),
    control: new FakeControl(),
    ramSize: 1 << 20,
    input: { source: () => ({ push: () => true }) },
    irq: (gsi: number) => lines.line(gsi),
    addDevice: (device: Device) => void devices.set(device.name, device),
    provide: (token: { key: symbol }, value: unknown) => void services.set(token.key, value),
    onStart: (hook: () => void) => void hooks.push(hook),
    interrupts: {
      irqchip,
      setGsi: (gsi: number, level: boolean) => void seen.push(`gsi ${gsi} ${level}`),
      sendMsi: (_address: number, data: number) => void seen.push(`msi ${data.toString(16)}`),
      connectExternal: () => void seen.push('external'),
      setExternal: () => {},
      onEoi: (listener: (vector: number) => void) => {
        eoi = listener;
      },
    },
  };
  pc({ irqchip }).setup(context as unknown as PluginContext);
  for (const hook of hooks) hook();
  const router = services.get(INTERRUPT_ROUTER.key) as InterruptRouter;
  lines.connect(router);
  return { devices, router, lines, seen, eoi: (vector: number) => eoi?.(vector) };
}

describe('pc with an irqchip inside the backend', () => {
  it('has no PIC and no IOAPIC, and drives GSIs', () => {
    const { devices, lines, seen } = setup('internal');
    expect([...devices.keys()]).toEqual(['pit', 'rtc', 'i8042', 'acpi-pm', 'port92', 'post']);
    const line = lines.line(4);
    line.set(true);
    line.set(false);
    lines.line(20).set(true);
    expect(seen).toEqual(['gsi 4 true', 'gsi 4 false', 'gsi 20 true']);
  });
});

describe('pc with its own irqchip', () => {
  it('delivers a shared level line until its last driver is quiet', () => {
    const { devices, lines, seen, eoi } = setup('external');
    const ioapic = devices.get('ioapic')!;
    // Pin 11, level-triggered, vector 0x61.
    ioapic.write(0, 0, 4, 0x10 + 22);
    ioapic.write(0, 0x10, 4, 0x8061);
    const [a, b] = [lines.line(11), lines.line(11)];
    a.set(true);
    b.set(true);
    a.set(false);
    eoi(0x61);
    b.set(false);
    eoi(0x61);
    expect(seen).toEqual(['external', 'msi c061', 'msi c061']);
  });

  it('has no more lines than the IOAPIC has pins', () => {
    const { router, lines } = setup('external');
    expect(router.gsis).toBe(24);
    lines.line(23);
    lines.connect(router);
    lines.line(24);
    expect(() => lines.connect(router)).toThrow('no line 24');
  });
});
