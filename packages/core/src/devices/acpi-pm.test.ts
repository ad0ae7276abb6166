/** The ACPI fixed hardware by the specification's rules. */
import { describe, expect, it } from 'vitest';
import { FakeClock, FakeControl, FakeLine } from '../testing/fakes.js';
import { acpiPm } from './acpi-pm.js';

const [EVENTS, CONTROL, TIMER, RESET] = [0, 1, 2, 3] as const;
const HZ = 3_579_545;

function setup() {
  const clock = new FakeClock();
  const sci = new FakeLine();
  const control = new FakeControl();
  const pm = acpiPm()({ clock, sci, control });
  return {
    clock,
    sci,
    control,
    pm,
    status: () => pm.read(EVENTS, 0, 2),
    clear: (bits: number) => pm.write(EVENTS, 0, 2, bits),
    enable: (bits: number) => pm.write(EVENTS, 2, 2, bits),
  };
}

describe('PM timer', () => {
  it('counts 3.579545 MHz in 24 bits', () => {
    const { clock, pm } = setup();
    clock.jump(1e9);
    expect(pm.read(TIMER, 0, 4)).toBe(HZ);
    clock.jump(4e9);
    expect(pm.read(TIMER, 0, 4)).toBe((5 * HZ) % 2 ** 24);
    expect(pm.read(TIMER, 2, 2)).toBe(((5 * HZ) % 2 ** 24) >> 16);
  });

  it('is read-only', () => {
    const { pm } = setup();
    pm.write(TIMER, 0, 4, 0xffffffff);
    expect(pm.read(TIMER, 0, 4)).toBe(0);
  });

  it('sets TMR_STS and interrupts whenever its top bit changes', () => {
    const { clock, sci, status, enable, clear } = setup();
    enable(1);
    const half = (2 ** 23 / HZ) * 1e9;
    clock.advance(Math.floor(half));
    expect([status() & 1, sci.level]).toEqual([0, false]);
    clock.advance(1);
    expect([status() & 1, sci.level]).toEqual([1, true]);
    clear(1);
    expect([status() & 1, sci.level]).toEqual([0, false]);
    clock.advance(Math.ceil(half));
    expect(sci.rises).toBe(2);
  });

  it('sets no timer while its event is disabled', () => {
    const { clock, enable } = setup();
    expect(clock.timers).toBe(0);
    enable(1);
    expect(clock.timers).toBe(1);
    enable(0x100);
    expect(clock.timers).toBe(0);
  });
});

describe('PM1 events', () => {
  it('tells of the power button by SCI, until the bit is cleared', () => {
    const { pm, sci, status, clear, enable } = setup();
    pm.pressPowerButton();
    expect([status(), sci.level]).toEqual([0x100, false]);
    enable(0x100);
    expect(sci.level).toBe(true);
    clear(0x020);
    expect(sci.level).toBe(true);
    clear(0x100);
    expect([status(), sci.level]).toEqual([0, false]);
  });

  it('reads enables beside the status, and keeps those that exist', () => {
    const { pm, enable } = setup();
    enable(0xffff);
    expect(pm.read(EVENTS, 0, 4)).toBe(0x07210000);
    pm.write(EVENTS, 3, 1, 0x01);
    expect(pm.read(EVENTS, 2, 2)).toBe(0x0121);
  });
});

describe('PM1 control', () => {
  it('is always in ACPI mode', () => {
    const { pm } = setup();
    pm.write(CONTROL, 0, 2, 0);
    expect(pm.read(CONTROL, 0, 2)).toBe(1);
  });

  it('powers off on SLP_EN with S5, in one write or two, and on nothing else', () => {
    const { pm, control } = setup();
    pm.write(CONTROL, 0, 2, 5 << 10);
    pm.write(CONTROL, 0, 2, (1 << 10) | (1 << 13));
    expect(control.requests).toEqual([]);
    pm.write(CONTROL, 0, 2, (5 << 10) | (1 << 13));
    pm.write(CONTROL, 1, 1, (5 << 2) | (1 << 5));
    expect(control.requests).toEqual(['power-off acpi-s5 0', 'power-off acpi-s5 0']);
    expect(pm.read(CONTROL, 0, 2)).toBe((5 << 10) | 1);
  });
});

describe('reset register', () => {
  it('resets when RST_CPU rises', () => {
    const { pm, control } = setup();
    pm.write(RESET, 0, 1, 0x02);
    expect(control.requests).toEqual([]);
    pm.write(RESET, 0, 1, 0x06);
    expect(control.requests).toEqual(['reset reset-register']);
    expect(pm.read(RESET, 0, 1)).toBe(0x02);
  });

  it('lets PCI configuration addresses pass', () => {
    const { pm, control } = setup();
    for (const byte of [0x80, 0x14, 0xff]) pm.write(RESET, 0, 1, byte);
    expect(control.requests).toEqual([]);
  });
});
