/** The PIT as the guest sees it: ports, IRQ 0, port 0x61 and the speaker. */
import { describe, expect, it } from 'vitest';
import { FakeClock, FakeLine } from '../testing/fakes.js';
import { timeOfTick } from './frequency.js';
import { i8254, PIT_HZ } from './i8254.js';

function setup() {
  const clock = new FakeClock();
  const irq = new FakeLine();
  const tones: number[] = [];
  const pit = i8254()({ clock, irq, speaker: (hz) => tones.push(hz) });
  const out = (port: number, value: number) => {
    if (port === 0x61) pit.write(1, 0, 1, value);
    else pit.write(0, port - 0x40, 1, value);
  };
  const inb = (port: number) => (port === 0x61 ? pit.read(1, 0, 1) : pit.read(0, port - 0x40, 1));
  const program = (channel: number, mode: number, count: number) => {
    out(0x43, (channel << 6) | 0x30 | (mode << 1));
    out(0x40 + channel, count & 0xff);
    out(0x40 + channel, count >> 8);
  };
  const toTick = (tick: number) => clock.advance(timeOfTick(tick, PIT_HZ) - clock.now());
  return { clock, irq, tones, pit, out, inb, program, toTick };
}

describe('channel 0', () => {
  it('interrupts at 1000 Hz without drift', () => {
    const { irq, program, clock } = setup();
    program(0, 2, 1193);
    const rises = irq.rises;
    clock.advance(10e9);
    expect(irq.rises - rises).toBe(Math.floor((10 * PIT_HZ) / 1193));
  });

  it('interrupts once in mode 0, exactly when the count ends', () => {
    const { irq, program, toTick } = setup();
    program(0, 0, 1000);
    expect(irq.level).toBe(false);
    toTick(1000);
    expect(irq.level).toBe(false);
    toTick(1001);
    expect(irq.level).toBe(true);
    toTick(1_000_000);
    expect(irq.rises).toBe(1);
  });

  it('gives one pulse, not a burst, when the host clock was late', () => {
    const { irq, program, clock } = setup();
    program(0, 2, 1193);
    clock.advance(500_000);
    const rises = irq.rises;
    clock.jump(50e6);
    expect(irq.rises).toBe(rises + 1);
    clock.advance(1e9);
    expect(irq.rises - rises).toBeGreaterThan(990);
  });

  it('sets no timer once nothing can happen', () => {
    const { program, clock, toTick, out } = setup();
    program(0, 0, 10);
    expect(clock.timers).toBe(1);
    toTick(20);
    expect(clock.timers).toBe(0);
    program(0, 2, 10);
    out(0x43, 0x30);
    expect(clock.timers).toBe(0);
  });
});

describe('control word', () => {
  it('latches several channels with one read-back command', () => {
    const { inb, out, program, toTick } = setup();
    program(0, 2, 0x1000);
    program(1, 2, 0x2000);
    toTick(17);
    out(0x43, 0xc0 | 0x02 | 0x04);
    toTick(500);
    expect([inb(0x40), inb(0x40), inb(0x40)]).toEqual([0xb4, 0xf0, 0x0f]);
    expect([inb(0x41), inb(0x41), inb(0x41)]).toEqual([0xb4, 0xf0, 0x1f]);
  });

  it('can not be read', () => {
    expect(setup().inb(0x43)).toBe(0xff);
  });
});

describe('port 0x61', () => {
  it('gates channel 2 and shows its output: how a guest calibrates its clock', () => {
    const { inb, out, program, toTick } = setup();
    out(0x61, 0x01);
    program(2, 0, 11932);
    toTick(11932);
    expect(inb(0x61) & 0x20).toBe(0);
    toTick(11933);
    expect(inb(0x61) & 0x20).toBe(0x20);
  });

  it('holds the count while the gate is closed', () => {
    const { inb, out, program, toTick } = setup();
    program(2, 0, 100);
    toTick(1000);
    expect(inb(0x61) & 0x21).toBe(0);
    out(0x61, 0x01);
    toTick(1099);
    expect(inb(0x61) & 0x20).toBe(0);
    toTick(1100);
    expect(inb(0x61) & 0x21).toBe(0x21);
  });

  it('toggles the refresh bit about every 15 microseconds', () => {
    const { inb, clock } = setup();
    let changes = 0;
    for (let i = 0, last = 0; i < 1000; i++) {
      clock.advance(1000);
      const bit = inb(0x61) & 0x10;
      if (bit !== last) changes++;
      last = bit;
    }
    expect(changes).toBe(Math.floor(1e6 / 15_085));
  });

  it('sounds the speaker with both of its bits', () => {
    const { out, program, tones } = setup();
    program(2, 3, 1193);
    out(0x61, 0x02);
    expect(tones).toEqual([]);
    out(0x61, 0x03);
    out(0x61, 0x03);
    program(2, 3, 2386);
    out(0x61, 0x00);
    expect(tones.map(Math.round)).toEqual([1000, 0, 500, 0]);
  });
});
