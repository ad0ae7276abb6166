/**
 * Every device of a PC under the conformance kit, and under accesses that fast-check chooses and
 * shortens.
 */
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { type DeviceSubject, deviceKit } from '../testing/device-kit.js';
import { KitPorts } from '../testing/device-kit-ports.js';
import { acpiPm } from './acpi-pm.js';
import { bootTimerDevice } from './boot-timer.js';
import { debugExitDevice } from './debug-exit.js';
import { i8042 } from './i8042.js';
import { i8254 } from './i8254.js';
import { i8259 } from './i8259.js';
import { ioapic } from './ioapic.js';
import { mc146818 } from './mc146818.js';
import { port92 } from './port-92.js';
import { postPort } from './post-port.js';
import { uart16550 } from './uart-16550.js';

const subjects: DeviceSubject[] = [
  {
    name: '16550A',
    make(ports) {
      const device = uart16550({ name: 'serial0', base: 0x3f8 })({
        irq: ports.line(),
        clock: ports.clock,
        output: ports.sink,
      });
      const stimuli = [
        (bits: number) => void device.receive(Uint8Array.of(bits & 0xff)),
        (bits: number) => void device.receive(new Uint8Array(bits % 5000).fill(bits >>> 24)),
        () => device.outputReady(),
      ];
      return { device, stimuli };
    },
  },

  {
    name: 'i8259 pair',
    make(ports) {
      const device = i8259({ elcr: 0x0200 })({ intr: ports.line('intr') });
      const stimuli = [
        (bits: number) => device.setIrq(bits & 15, (bits & 16) !== 0),
        () => ports.note(`vector ${device.acknowledge()}`),
      ];
      return { device, stimuli };
    },
  },

  {
    name: 'i8254',
    make: (ports) =>
      i8254()({ clock: ports.clock, irq: ports.line(), speaker: (hz) => ports.note(`tone ${hz}`) }),
  },

  {
    name: 'mc146818',
    make: (ports) => mc146818({ ramSize: 256 << 20 })({ clock: ports.clock, irq: ports.line() }),
  },

  {
    name: 'i8042',
    make: (ports) => i8042()({ irq: ports.line(), control: ports.control }),
  },

  {
    name: 'ioapic',
    hotOffsets: [[0x00, 0x10]],
    make(ports) {
      const device = ioapic({ base: 0xfec00000 })({
        sendMsi: (address, data) => ports.note(`msi ${address.toString(16)} ${data.toString(16)}`),
      });
      const stimuli = [
        (bits: number) => device.setPin(bits % 24, (bits & 32) !== 0),
        (bits: number) => device.endOfInterrupt(bits & 0xff),
      ];
      return { device, stimuli };
    },
  },

  {
    name: 'acpi-pm',
    make(ports) {
      const { clock, control } = ports;
      const device = acpiPm()({ clock, control, sci: ports.line('sci') });
      return { device, stimuli: [() => device.pressPowerButton()] };
    },
  },

  {
    name: 'debug-exit',
    make: (ports) => debugExitDevice()({ control: ports.control }),
  },

  {
    name: 'boot-timer',
    make: (ports) => bootTimerDevice()({ clock: ports.clock }),
  },

  { name: 'port 0x92', make: (ports) => port92()({ control: ports.control }) },

  { name: 'POST port', make: () => postPort() },
];

for (const subject of subjects) deviceKit({ describe, it }, subject);

describe.each(subjects)('any access to $name', (subject) => {
  const access = fc.record({
    write: fc.boolean(),
    region: fc.nat(7),
    offset: fc.nat(0xfff),
    size: fc.constantFrom(1, 2, 4),
    value: fc.oneof(fc.nat(0xff), fc.nat(0xffffffff)),
    wait: fc.oneof(fc.constant(0), fc.nat(1_000_000)),
  });

  it('reads an unsigned number of its size, and sets few timers', () => {
    const property = fc.property(fc.array(access, { maxLength: 60 }), (accesses) => {
      const ports = new KitPorts();
      const made = subject.make(ports);
      const device = 'device' in made ? made.device : made;
      for (const { write, size, value, wait, ...place } of accesses) {
        const region = place.region % device.regions.length;
        const { length } = device.regions[region]!;
        if (size > length) continue;
        const offset = place.offset % (length - size + 1);
        if (write) device.write(region, offset, size, value % 2 ** (8 * size));
        const result = device.read(region, offset, size);
        const unsigned = Number.isInteger(result) && result >= 0 && result < 2 ** (8 * size);
        ports.clock.advance(wait);
        if (!unsigned || ports.clock.timers > 8) return false;
      }
      return true;
    });
    fc.assert(property, { numRuns: 100 });
  });
});
