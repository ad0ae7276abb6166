/** Debug exit, boot timer, port 0x92, POST port and interrupt lines. */
import { describe, expect, it } from 'vitest';
import { FakeClock, FakeControl } from '../testing/fakes.js';
import { bootTimerDevice } from './boot-timer.js';
import { debugExitDevice } from './debug-exit.js';
import { irqLines } from './irq-lines.js';
import { port92 } from './port-92.js';
import { postPort } from './post-port.js';

describe('debug exit', () => {
  it.each([
    [0, 1],
    [1, 3],
    [0x10, 33],
    [0xff, 255],
  ])('turns %i into exit status %i', (value, status) => {
    const control = new FakeControl();
    debugExitDevice()({ control }).write(0, 0, 1, value);
    expect(control.requests).toEqual([`power-off debug-exit ${status}`]);
  });
});

describe('boot timer', () => {
  it('stamps marks with virtual time and keeps the first 256', () => {
    const clock = new FakeClock();
    const seen: number[] = [];
    const timer = bootTimerDevice({ onMark: ({ value }) => seen.push(value) })({ clock });
    for (let i = 0; i < 300; i++) {
      clock.advance(10);
      timer.write(0, 0, 1, i);
    }
    expect(timer.marks.slice(0, 2)).toEqual([
      { value: 0, at: 10 },
      { value: 1, at: 20 },
    ]);
    expect([timer.marks.length, timer.dropped, seen.length]).toEqual([256, 44, 256]);
  });

  it('lies where it is put', () => {
    const clock = new FakeClock();
    const regions = [{}, { port: 0x600 }, { mmio: 0xd0000000 }].map(
      (options) => bootTimerDevice(options)({ clock }).regions[0],
    );
    expect(regions.map((region) => [region?.space, region?.base])).toEqual([
      ['io', 0x5f0],
      ['io', 0x600],
      ['mmio', 0xd0000000],
    ]);
  });
});

describe('port 0x92', () => {
  it('resets when bit 0 rises, and keeps A20', () => {
    const control = new FakeControl();
    const port = port92()({ control });
    expect(port.read(0, 0, 1)).toBe(2);
    port.write(0, 0, 1, 0);
    expect(port.read(0, 0, 1)).toBe(0);
    port.write(0, 0, 1, 1);
    port.write(0, 0, 1, 3);
    expect(control.requests).toEqual(['reset port92']);
  });
});

it('the POST port keeps the last code', () => {
  const port = postPort();
  port.write(0, 0, 1, 0x42);
  expect(port.read(0, 0, 1)).toBe(0x42);
});

describe('interrupt lines', () => {
  function setup() {
    const lines = irqLines();
    const seen: string[] = [];
    const target = {
      setGsi: (gsi: number, level: boolean) => void seen.push(`${gsi}${level ? '+' : '-'}`),
    };
    return { lines, seen, target };
  }

  it('ORs the drivers of a line', () => {
    const { lines, seen, target } = setup();
    lines.connect(target);
    const [a, b] = [lines.line(4), lines.line(4)];
    a.set(true);
    a.set(true);
    b.set(true);
    a.set(false);
    b.set(false);
    expect(seen).toEqual(['4+', '4-']);
  });

  it('passes on what was high before a controller was there', () => {
    const { lines, seen, target } = setup();
    lines.line(4).set(true);
    lines.line(5).set(false);
    lines.connect(target);
    expect(seen).toEqual(['4+']);
  });

  it('passes nothing on while held, then every level', () => {
    const { lines, seen, target } = setup();
    lines.connect(target);
    const [a, b] = [lines.line(4), lines.line(5)];
    lines.hold();
    lines.hold();
    a.set(true);
    b.set(true);
    b.set(false);
    lines.release();
    expect(seen).toEqual([]);
    lines.release();
    expect(seen).toEqual(['4+', '5-']);
  });

  it.each([-1, 2, 0.5, 1024, Number.NaN])('refuses line %d', (gsi) => {
    expect(() => irqLines().line(gsi)).toThrow(
      expect.objectContaining({ code: 'invalid-argument' }),
    );
  });
});
