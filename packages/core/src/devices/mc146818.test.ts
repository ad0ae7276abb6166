/** The RTC against its datasheet. */
import { describe, expect, it } from 'vitest';
import { FakeClock, FakeLine } from '../testing/fakes.js';
import { mc146818 } from './mc146818.js';

const SECOND = 1e9;
const [A, B, C, D] = [0x0a, 0x0b, 0x0c, 0x0d] as const;
const [BINARY, H24, SET, PIE, AIE, UIE] = [0x04, 0x02, 0x80, 0x40, 0x20, 0x10] as const;
const TIME = [0x04, 0x02, 0x00] as const;
const DATE = [0x32, 0x09, 0x08, 0x07, 0x06] as const;

function setup(iso = '2026-02-03T04:05:06Z') {
  const clock = new FakeClock(0, Date.parse(iso) / 1000);
  const irq = new FakeLine();
  const rtc = mc146818({ ramSize: 256 * 2 ** 20 })({ clock, irq });
  const read = (index: number) => {
    rtc.write(0, 0, 1, index);
    return rtc.read(0, 1, 1);
  };
  const write = (index: number, value: number) => {
    rtc.write(0, 0, 1, index);
    rtc.write(0, 1, 1, value);
  };
  const hex = (indices: readonly number[]) =>
    indices.map((index) => read(index).toString(16).padStart(2, '0')).join(' ');
  return { clock, irq, rtc, read, write, hex };
}

describe('MC146818 time', () => {
  it('shows the date of the clock in BCD, 24 hours', () => {
    const { hex } = setup();
    expect(hex(TIME)).toBe('04 05 06');
    expect(hex(DATE)).toBe('20 26 02 03 03');
  });

  it('shows it in binary and in 12 hours once it is written so', () => {
    for (const [hour, b, expected] of [
      [0, 0, 0x12],
      [12, 0, 0x92],
      [15, 0, 0x83],
      [23, BINARY, 0x8b],
      [0, BINARY, 12],
      [23, BINARY | H24, 23],
    ] as const) {
      const { write, read, clock } = setup();
      write(B, SET | b);
      // As firmware does: mode first, then the time in that mode.
      const first = hour - 1 < 0 ? 23 : hour - 1;
      const inTwelve = ((first + 11) % 12) + 1;
      const coded = b & BINARY ? inTwelve : (Math.floor(inTwelve / 10) << 4) | (inTwelve % 10);
      write(4, b & H24 ? first : coded | (first >= 12 ? 0x80 : 0));
      write(2, b & BINARY ? 59 : 0x59);
      write(0, b & BINARY ? 59 : 0x59);
      write(B, b);
      clock.advance(SECOND);
      expect([hour, read(4), read(2), read(0)]).toEqual([hour, expected, 0, 0]);
    }
  });

  it.each([
    ['1999-12-31T23:59:59Z', '20 00 01 01 07'],
    ['2024-02-28T23:59:59Z', '20 24 02 29 05'],
    ['2023-02-28T23:59:59Z', '20 23 03 01 04'],
    ['2000-02-28T23:59:59Z', '20 00 02 29 03'],
    ['2099-12-31T23:59:59Z', '21 00 01 01 06'],
  ])('rolls over after %s', (iso, expected) => {
    const { hex, clock } = setup(iso);
    clock.advance(SECOND);
    expect(hex(TIME)).toBe('00 00 00');
    expect(hex(DATE)).toBe(expected);
  });

  it('counts on while nobody looks, for years', () => {
    const { hex, clock } = setup('2024-01-01T00:00:00Z');
    clock.jump(366 * 86_400 * SECOND);
    expect(hex(DATE)).toBe('20 25 01 01 04');
  });

  it('stands still while SET is on, then goes on from what was written', () => {
    const { hex, write, clock } = setup();
    write(B, SET | H24);
    write(0, 0x30);
    clock.advance(10 * SECOND);
    expect(hex(TIME)).toBe('04 05 30');
    write(B, H24);
    clock.advance(2 * SECOND);
    expect(hex(TIME)).toBe('04 05 32');
  });

  it('turns an impossible date into a possible one', () => {
    const { hex, write, clock } = setup();
    for (const index of [0, 2, 4, 7, 8, 9]) write(index, 0xff);
    write(8, 0);
    clock.advance(SECOND);
    expect(hex(DATE)).toBe('20 99 02 01 01');
    expect(hex(TIME)).toBe('00 00 00');
  });

  it('makes its first update half a second after the divider is released', () => {
    const { hex, write, clock } = setup();
    clock.advance(0.25 * SECOND);
    write(A, 0x76);
    clock.advance(5 * SECOND);
    expect(hex(TIME)).toBe('04 05 06');
    write(A, 0x26);
    clock.advance(SECOND / 2 - 1);
    expect(hex(TIME)).toBe('04 05 06');
    clock.advance(1);
    expect(hex(TIME)).toBe('04 05 07');
  });
});

describe('MC146818 update', () => {
  it('shows UIP from 244 us before the update cycle of 1984 us to its end', () => {
    const { read, clock } = setup();
    clock.advance(SECOND - 2_228_001);
    expect(read(A)).toBe(0x26);
    clock.advance(1);
    expect(read(A)).toBe(0xa6);
    clock.advance(2_227_999);
    expect([read(A), read(0)]).toEqual([0xa6, 6]);
    clock.advance(1);
    expect([read(A), read(0)]).toEqual([0x26, 7]);
  });

  it('has no update cycle while SET is on', () => {
    const { read, write, clock } = setup();
    write(B, SET);
    clock.advance(SECOND - 1000);
    expect(read(A)).toBe(0x26);
  });

  it('interrupts each second with UIE, until register C is read', () => {
    const { read, write, clock, irq } = setup();
    write(B, H24 | UIE);
    clock.advance(SECOND - 1);
    expect(irq.level).toBe(false);
    clock.advance(1);
    expect(irq.level).toBe(true);
    clock.advance(SECOND);
    expect(irq.rises).toBe(1);
    expect(read(C) & 0xb0).toBe(0x90);
    expect([read(C), irq.level]).toEqual([0, false]);
    clock.advance(SECOND);
    expect(irq.rises).toBe(2);
  });

  it('clears UIE when SET goes on', () => {
    const { read, write } = setup();
    write(B, SET | UIE | H24);
    expect(read(B)).toBe(SET | H24);
  });
});

describe('MC146818 alarm', () => {
  const alarm = (
    rtc: ReturnType<typeof setup>,
    hours: number,
    minutes: number,
    seconds: number,
  ) => {
    rtc.write(5, hours);
    rtc.write(3, minutes);
    rtc.write(1, seconds);
  };

  it.each([
    [0x04, 0x05, 0x09, 3],
    [0x04, 0x05, 0xc0, 1],
    [0x04, 0x06, 0xff, 54],
    [0xff, 0x00, 0x00, 3294],
    [0x04, 0x05, 0x06, 86_400],
    [0x04, 0x05, 0x05, 86_399],
    [0xff, 0xff, 0x06, 60],
    [0x03, 0xff, 0xff, 82_494],
  ])('at %i:%i:%i comes after %i s', (hours, minutes, seconds, wait) => {
    const rtc = setup();
    alarm(rtc, hours, minutes, seconds);
    rtc.write(B, H24 | AIE);
    rtc.clock.advance(wait * SECOND - 1);
    expect(rtc.irq.level).toBe(false);
    rtc.clock.advance(1);
    expect(rtc.irq.level).toBe(true);
    expect(rtc.read(C) & 0xb0).toBe(0xb0);
  });

  it('never comes at an impossible time, and sets no timer', () => {
    const rtc = setup();
    alarm(rtc, 0x24, 0, 0);
    rtc.write(B, H24 | AIE);
    expect(rtc.clock.timers).toBe(0);
    rtc.clock.advance(3 * 86_400 * SECOND);
    expect(rtc.read(C) & 0x20).toBe(0);
  });

  it('sets AF without AIE, as a poll sees it', () => {
    const rtc = setup();
    alarm(rtc, 0x04, 0x05, 0x10);
    rtc.clock.advance(3 * SECOND);
    expect(rtc.read(C) & 0xa0).toBe(0);
    rtc.clock.advance(SECOND);
    expect(rtc.read(C) & 0xa0).toBe(0x20);
  });
});

describe('MC146818 periodic interrupt', () => {
  it.each([
    [6, 1024],
    [3, 8192],
    [15, 2],
    [1, 256],
    [2, 128],
  ])('at rate %i comes %i times a second', (rate, hz) => {
    const { read, write, clock, irq } = setup();
    write(A, 0x20 | rate);
    write(B, H24 | PIE);
    let count = 0;
    while (clock.next <= SECOND) {
      clock.advance(clock.next - clock.now());
      expect(irq.level).toBe(true);
      expect(read(C) & 0xc0).toBe(0xc0);
      count++;
    }
    expect(count).toBe(hz);
  });

  it('rests at rate 0', () => {
    const { write, clock, read } = setup();
    write(A, 0x20);
    write(B, H24 | PIE);
    clock.advance(2 * SECOND);
    expect(read(C) & 0x40).toBe(0);
  });
});

describe('CMOS', () => {
  it('keeps bytes, and its valid bit can not be written', () => {
    const { read, write } = setup();
    write(0x40, 0x5a);
    write(D, 0);
    expect([read(0x40), read(D)]).toEqual([0x5a, 0x80]);
    expect(setup().rtc.read(0, 0, 1)).toBe(0xff);
  });

  it('ignores the NMI mask in the index', () => {
    const { rtc, write } = setup();
    write(0x40, 7);
    rtc.write(0, 0, 1, 0xc0);
    expect(rtc.read(0, 1, 1)).toBe(7);
  });

  it.each([
    [16, [0x00, 0x3c], [0, 0], [0, 0, 0]],
    [256, [0xff, 0xff], [0x00, 0x0f], [0, 0, 0]],
    [5120, [0xff, 0xff], [0x00, 0xbf], [0x00, 0x80, 0x00]],
  ])('holds the sizes of %i MiB', (mib, extended, above16M, above4G) => {
    const clock = new FakeClock();
    const rtc = mc146818({ ramSize: mib * 2 ** 20 })({ clock, irq: new FakeLine() });
    const at = (index: number) => {
      rtc.write(0, 0, 1, index);
      return rtc.read(0, 1, 1);
    };
    expect([at(0x15), at(0x16)]).toEqual([0x80, 0x02]);
    expect([at(0x17), at(0x18)]).toEqual(extended);
    expect([at(0x30), at(0x31)]).toEqual(extended);
    expect([at(0x34), at(0x35)]).toEqual(above16M);
    expect([at(0x5b), at(0x5c), at(0x5d)]).toEqual(above4G);
  });
});
