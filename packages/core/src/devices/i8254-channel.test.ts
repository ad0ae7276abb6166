/**
 * A channel of the 8254 against a second model that is stepped clock by clock, as the datasheet's
 * mode definitions tell it, and against waveforms of the datasheet's figures.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PitChannel, powerOnChannel } from './i8254-channel.js';

/** The stepped model. Counts are whole numbers; only binary counting, reads in BCD are apart. */
class Stepped {
  out: boolean;
  ce = 0;
  loading = false;
  counting = false;
  private done = true;
  private cr = 0;
  private delay = false;

  constructor(
    readonly mode: number,
    public gate: boolean,
  ) {
    this.out = mode !== 0;
  }

  private get reload(): number {
    return this.cr === 0 ? 65536 : this.cr;
  }

  write(count: number): void {
    this.cr = count;
    if (this.mode === 0) this.out = false;
    if (this.mode === 0 || this.mode === 4) this.loading = true;
    else if ((this.mode === 2 || this.mode === 3) && !this.counting) this.loading = true;
  }

  setGate(gate: boolean): void {
    const rises = gate && !this.gate;
    this.gate = gate;
    if (this.mode === 2 || this.mode === 3) {
      if (!gate && this.counting) this.out = true;
      if (rises && (this.counting || this.loading)) this.loading = true;
    }
    if ((this.mode === 1 || this.mode === 5) && rises && this.cr >= 0) this.loading = true;
  }

  clk(): void {
    if (this.loading) this.load();
    else if (this.counting) this.count();
  }

  private load(): void {
    this.loading = false;
    this.counting = true;
    this.done = false;
    this.delay = this.mode === 3 && this.reload % 2 === 1;
    this.ce = this.mode === 3 ? this.reload - (this.reload % 2) : this.reload;
    this.out = this.mode !== 1 && this.mode !== 0;
  }

  private count(): void {
    const { mode } = this;
    const gated = mode === 0 || mode === 2 || mode === 3 || mode === 4;
    if (gated && !this.gate) {
      return;
    }
    if (mode === 3) this.countSquare();
    else if (mode === 2) this.countRate();
    else this.countDown();
  }

  private countDown(): void {
    this.ce = (this.ce - 1 + 65536) % 65536;
    const ended = this.ce === 0 && !this.done;
    if (this.ce === 0) this.done = true;
    if (this.mode <= 1) {
      if (ended) this.out = true;
    } else {
      this.out = !ended;
    }
  }

  private countRate(): void {
    if (this.ce === 1) {
      this.ce = this.reload;
      this.out = true;
    } else {
      this.ce--;
      this.out = this.ce !== 1;
    }
  }

  /** Odd counts: one clock more in the high half. */
  private countSquare(): void {
    if (this.ce > 2) {
      this.ce -= 2;
      return;
    }
    if (this.ce === 2 && this.delay && this.out) {
      this.ce = 0;
      return;
    }
    this.out = !this.out;
    this.delay = this.reload % 2 === 1;
    this.ce = this.reload - (this.reload % 2);
  }
}

function channelIn(mode: number, gate = true): PitChannel {
  const channel = new PitChannel(powerOnChannel(gate));
  channel.control(0x30 | (mode << 1), 0);
  return channel;
}

function writeCount(channel: PitChannel, count: number, t: number): void {
  channel.write(count & 0xff, t);
  channel.write(count >> 8, t);
}

/** OUT at the ticks from 0 on, as 0s and 1s. */
function waveform(channel: PitChannel, ticks: number): string {
  return Array.from({ length: ticks }, (_, t) => (channel.out(t) ? '1' : '0')).join('');
}

describe('8254 waveforms', () => {
  it('mode 0: high N + 1 clocks after the write', () => {
    const channel = channelIn(0);
    writeCount(channel, 4, 0);
    expect(waveform(channel, 9)).toBe('000001111');
  });

  it('mode 1: low for N clocks after the trigger, again after another', () => {
    const channel = channelIn(1, false);
    writeCount(channel, 3, 0);
    channel.setGate(true, 1);
    expect(waveform(channel, 8)).toBe('11000111');
    channel.setGate(false, 8);
    channel.setGate(true, 8);
    expect(waveform(channel, 14).slice(8)).toBe('100011');
  });

  it('mode 2: low for one clock of N', () => {
    const channel = channelIn(2);
    writeCount(channel, 3, 0);
    expect(waveform(channel, 11)).toBe('11101101101');
  });

  it('mode 3: half and half; an odd count is high one clock longer', () => {
    const even = channelIn(3);
    writeCount(even, 4, 0);
    expect(waveform(even, 10)).toBe('1110011001');
    const odd = channelIn(3);
    writeCount(odd, 5, 0);
    expect(waveform(odd, 12)).toBe('111100111001');
  });

  it('mode 4: one clock low, once, N clocks after loading', () => {
    const channel = channelIn(4);
    writeCount(channel, 3, 0);
    expect(waveform(channel, 9)).toBe('111101111');
  });

  it('mode 5: one clock low, N clocks after the trigger', () => {
    const channel = channelIn(5, false);
    writeCount(channel, 3, 0);
    expect(waveform(channel, 6)).toBe('111111');
    channel.setGate(true, 5);
    expect(waveform(channel, 13).slice(6)).toBe('1110111');
  });

  it('mode 2: a new count waits for the end of the period', () => {
    const channel = channelIn(2);
    writeCount(channel, 4, 0);
    writeCount(channel, 2, 2);
    expect(waveform(channel, 10)).toBe('1111010101');
  });

  it('mode 3: a new count waits for the end of the half period', () => {
    const channel = channelIn(3);
    writeCount(channel, 8, 0);
    writeCount(channel, 4, 2);
    expect(waveform(channel, 12)).toBe('111110011001');
  });

  it('a count of 0 is the longest', () => {
    const channel = channelIn(0);
    writeCount(channel, 0, 0);
    expect([channel.out(65536), channel.out(65537)]).toEqual([false, true]);
    const bcd = new PitChannel(powerOnChannel(true));
    bcd.control(0x31, 0);
    writeCount(bcd, 0, 0);
    expect([bcd.out(10000), bcd.out(10001)]).toEqual([false, true]);
  });
});

describe('8254 counting against the stepped model', () => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('run'), n: fc.integer({ max: 40, min: 1 }) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('write'), n: fc.integer({ max: 20, min: 2 }) }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('gate'), n: fc.integer({ max: 1, min: 0 }) }),
    },
  );

  it.each([0, 1, 2, 3, 4, 5])('mode %i: output and count at every clock', (mode) => {
    const property = fc.property(fc.boolean(), fc.array(step, { maxLength: 30 }), (gate, steps) => {
      const channel = channelIn(mode, gate);
      const model = new Stepped(mode, gate);
      let t = 0;
      let written = false;
      for (const { do: what, n } of steps) {
        if (what === 'write') {
          written = true;
          writeCount(channel, n, t);
          model.write(n);
        } else if (what === 'gate') {
          channel.setGate(n === 1, t);
          if (written) model.setGate(n === 1);
          else model.gate = n === 1;
        } else {
          for (let i = 0; i < n; i++) {
            t++;
            model.clk();
            expect([t, channel.out(t)]).toEqual([t, model.out]);
            if (model.counting) expect([t, channel.count(t)]).toEqual([t, model.ce]);
          }
        }
      }
    });
    fc.assert(property, { numRuns: 300 });
  });

  it.each([0, 1, 2, 3, 4, 5])('mode %i: nextEdge is where the output changes', (mode) => {
    const property = fc.property(fc.integer({ min: 1, max: 12 }), fc.nat(30), (count, from) => {
      const channel = channelIn(mode, false);
      writeCount(channel, count, 0);
      channel.setGate(true, 0);
      const level = channel.out(from);
      let expected: number | null = null;
      for (let t = from + 1; t < from + 64 && expected === null; t++) {
        if (channel.out(t) !== level) expected = t;
      }
      expect(channel.nextEdge(from)).toBe(expected);
    });
    fc.assert(property);
  });
});

describe('8254 reading', () => {
  it('holds a latched count until both bytes are read', () => {
    const channel = channelIn(2);
    writeCount(channel, 0x1234, 0);
    channel.control(0x00, 1);
    channel.control(0x00, 100);
    expect([channel.read(100), channel.read(100)]).toEqual([0x34, 0x12]);
    expect(channel.read(5)).toBe(0x30);
  });

  it('reads one byte only where the control word says so', () => {
    for (const [access, value] of [
      [1, 0x34],
      [2, 0x12],
    ] as const) {
      const channel = new PitChannel(powerOnChannel(true));
      channel.control((access << 4) | 4, 0);
      channel.write(value, 0);
      expect(channel.count(1)).toBe(access === 1 ? 0x34 : 0x1200);
      expect([channel.read(1), channel.read(1)]).toEqual([value, value]);
    }
  });

  it('counts down in BCD', () => {
    const channel = new PitChannel(powerOnChannel(true));
    channel.control(0x31, 0);
    writeCount(channel, 0x1000, 0);
    expect([1, 2, 11].map((t) => channel.count(t))).toEqual([0x1000, 0x0999, 0x0990]);
    expect(channel.count(1001)).toBe(0);
    expect(channel.count(1002)).toBe(0x9999);
  });

  it('gives the status before a count that was latched with it', () => {
    const channel = channelIn(3);
    channel.latchStatus(0);
    expect(channel.read(0)).toBe(0x80 | 0x40 | 0x30 | 0x06);
    writeCount(channel, 100, 0);
    channel.latchStatus(0);
    expect(channel.read(0) & 0x40).toBe(0x40);
    channel.latchCount(60);
    channel.latchStatus(60);
    // Out is low in the second half; then both bytes of the count.
    expect(channel.read(60)).toBe(0x36);
    expect([channel.read(60), channel.read(60)]).toEqual([82, 0]);
  });

  it('shows NULL COUNT until a new count is in use', () => {
    const channel = channelIn(2);
    writeCount(channel, 10, 0);
    const isNull = (t: number) => {
      channel.latchStatus(t);
      return (channel.read(t) & 0x40) !== 0;
    };
    expect(isNull(1)).toBe(false);
    writeCount(channel, 20, 3);
    expect([isNull(3), isNull(10), isNull(11)]).toEqual([true, true, false]);
  });

  it('is stopped by the first byte of a count in mode 0', () => {
    const channel = channelIn(0);
    writeCount(channel, 4, 0);
    channel.write(9, 2);
    expect(channel.out(100)).toBe(false);
    expect(channel.nextEdge(100)).toBe(null);
  });

  it('takes no count before a control word', () => {
    const channel = new PitChannel(powerOnChannel(true));
    writeCount(channel, 4, 0);
    expect([channel.out(10), channel.nextEdge(0)]).toEqual([false, null]);
  });
});
