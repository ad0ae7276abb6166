/** Every device of a PC under the conformance kit. */
import { describe, it } from 'vitest';
import { deviceKit } from '../testing/device-kit.js';
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

const runner = { describe, it };

deviceKit(runner, {
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
});

deviceKit(runner, {
  name: 'i8259 pair',
  make(ports) {
    const device = i8259({ elcr: 0x0200 })({ intr: ports.line('intr') });
    const stimuli = [
      (bits: number) => device.setIrq(bits & 15, (bits & 16) !== 0),
      () => ports.note(`vector ${device.acknowledge()}`),
    ];
    return { device, stimuli };
  },
});

deviceKit(runner, {
  name: 'i8254',
  make: (ports) =>
    i8254()({ clock: ports.clock, irq: ports.line(), speaker: (hz) => ports.note(`tone ${hz}`) }),
});

deviceKit(runner, {
  name: 'mc146818',
  make: (ports) => mc146818({ ramSize: 256 << 20 })({ clock: ports.clock, irq: ports.line() }),
});

deviceKit(runner, {
  name: 'i8042',
  make: (ports) => i8042()({ irq: ports.line(), control: ports.control }),
});

deviceKit(runner, {
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
});

deviceKit(runner, {
  name: 'acpi-pm',
  make(ports) {
    const { clock, control } = ports;
    const device = acpiPm()({ clock, control, sci: ports.line('sci') });
    return { device, stimuli: [() => device.pressPowerButton()] };
  },
});

deviceKit(runner, {
  name: 'debug-exit',
  make: (ports) => debugExitDevice()({ control: ports.control }),
});

deviceKit(runner, {
  name: 'boot-timer',
  make: (ports) => bootTimerDevice()({ clock: ports.clock }),
});

deviceKit(runner, { name: 'port 0x92', make: (ports) => port92()({ control: ports.control }) });

deviceKit(runner, { name: 'POST port', make: () => postPort() });
