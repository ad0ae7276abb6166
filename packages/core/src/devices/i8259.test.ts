/** The i8259 pair against its datasheet. */
import { describe, expect, it } from 'vitest';
import { FakeLine } from '../testing/fakes.js';
import { i8259 } from './i8259.js';

const [MASTER, SLAVE, ELCR] = [0, 1, 2] as const;
const EOI = 0x20;

function setup(elcr = 0) {
  const intr = new FakeLine();
  const pic = i8259({ elcr })({ intr });
  const command = (chip: number, value: number) => pic.write(chip, 0, 1, value);
  const mask = (chip: number, value: number) => pic.write(chip, 1, 1, value);
  /** As Linux programs it: vectors 0x30 and 0x38. */
  const init = ({ icw4 = 0x01, slaveIcw4 = 0x01 } = {}) => {
    for (const [chip, base, wiring, mode] of [
      [MASTER, 0x30, 0x04, icw4],
      [SLAVE, 0x38, 0x02, slaveIcw4],
    ] as const) {
      command(chip, 0x11);
      mask(chip, base);
      mask(chip, wiring);
      mask(chip, mode);
    }
  };
  const irr = (chip: number) => {
    command(chip, 0x0a);
    return pic.read(chip, 0, 1);
  };
  const isr = (chip: number) => {
    command(chip, 0x0b);
    return pic.read(chip, 0, 1);
  };
  const pulse = (...irqs: number[]) => {
    for (const irq of irqs) {
      pic.setIrq(irq, true);
      pic.setIrq(irq, false);
    }
  };
  return { intr, pic, command, mask, init, irr, isr, pulse };
}

describe('i8259 requests', () => {
  it('raises INTR and gives the vector of the request', () => {
    const { pic, intr, init, pulse, irr, isr } = setup();
    init();
    pulse(4);
    expect(intr.level).toBe(true);
    expect(irr(MASTER)).toBe(0x10);
    expect(pic.acknowledge()).toBe(0x34);
    expect(intr.level).toBe(false);
    expect([irr(MASTER), isr(MASTER)]).toEqual([0, 0x10]);
  });

  it('stays quiet until it is initialized', () => {
    const { intr, command, mask, pulse } = setup();
    command(MASTER, 0x11);
    pulse(1);
    expect(intr.level).toBe(false);
    mask(MASTER, 0x30);
    mask(MASTER, 0x04);
    expect(intr.level).toBe(false);
    mask(MASTER, 0x01);
    expect(intr.level).toBe(true);
  });

  it('ends initialization without ICW4 after ICW3, single after ICW2', () => {
    const { pic, command, mask, pulse } = setup();
    command(MASTER, 0x10);
    mask(MASTER, 0x40);
    mask(MASTER, 0x04);
    pulse(3);
    expect(pic.acknowledge()).toBe(0x43);
    command(MASTER, 0x12);
    mask(MASTER, 0x50);
    pulse(3);
    expect(pic.acknowledge()).toBe(0x53);
  });

  it('serves lower numbers first and holds back equal and higher ones until EOI', () => {
    const { pic, intr, command, init, pulse } = setup();
    init();
    pulse(5, 3);
    expect(pic.acknowledge()).toBe(0x33);
    pulse(3, 4);
    expect(intr.level).toBe(false);
    pulse(1);
    expect(pic.acknowledge()).toBe(0x31);
    command(MASTER, EOI);
    expect(intr.level).toBe(false);
    command(MASTER, EOI);
    const served = [3, 4, 5].map(() => {
      const vector = pic.acknowledge();
      command(MASTER, EOI);
      return vector;
    });
    expect(served).toEqual([0x33, 0x34, 0x35]);
    expect(intr.level).toBe(false);
  });

  it('masks with IMR, which reads back, and serves what was masked later', () => {
    const { pic, intr, mask, init, pulse } = setup();
    init();
    mask(MASTER, 0xef);
    pulse(1);
    expect(intr.level).toBe(false);
    expect(pic.read(MASTER, 1, 1)).toBe(0xef);
    mask(MASTER, 0);
    expect(pic.acknowledge()).toBe(0x31);
  });

  it('needs a new edge for a new request, and a level only to stay', () => {
    const { pic, intr, command, init } = setup();
    init();
    pic.setIrq(5, true);
    pic.acknowledge();
    command(MASTER, EOI);
    expect(intr.level).toBe(false);
    pic.write(ELCR, 0, 1, 0x20);
    expect(pic.acknowledge()).toBe(0x35);
    command(MASTER, EOI);
    expect(intr.level).toBe(true);
    pic.setIrq(5, false);
    expect(intr.level).toBe(false);
  });

  it('forgets edges at ICW1, but not levels', () => {
    const { pic, intr, init, irr } = setup(0x0020);
    init();
    pic.setIrq(4, true);
    pic.setIrq(5, true);
    init();
    expect(irr(MASTER)).toBe(0x20);
    expect(intr.level).toBe(true);
    expect(pic.acknowledge()).toBe(0x35);
  });
});

describe('i8259 cascade', () => {
  it('serves the slave between IRQ 1 and IRQ 3, and needs both EOIs', () => {
    const { pic, intr, command, init, pulse, isr } = setup();
    init();
    pulse(3, 8, 1);
    expect(pic.acknowledge()).toBe(0x31);
    command(MASTER, EOI);
    expect(pic.acknowledge()).toBe(0x38);
    expect([isr(MASTER), isr(SLAVE)]).toEqual([4, 1]);
    command(SLAVE, EOI);
    expect(intr.level).toBe(false);
    command(MASTER, EOI);
    expect(pic.acknowledge()).toBe(0x33);
  });

  it('lets the slave nest in special fully nested mode only', () => {
    for (const icw4 of [0x01, 0x11]) {
      const { pic, intr, init, pulse } = setup();
      init({ icw4 });
      pulse(12);
      expect(pic.acknowledge()).toBe(0x3c);
      pulse(9);
      expect(intr.level).toBe(icw4 === 0x11);
    }
  });

  it('gives spurious vector 7 of the chip whose request is gone', () => {
    const { pic, init, isr } = setup(0x0220);
    init();
    expect(pic.acknowledge()).toBe(0x37);
    pic.setIrq(5, true);
    pic.setIrq(5, false);
    expect(pic.acknowledge()).toBe(0x37);
    expect(isr(MASTER)).toBe(0);
    expect(isr(SLAVE)).toBe(0);
  });

  it('gives spurious vector 15 when the slave withdraws before INTA', () => {
    const { pic, init, isr, pulse, mask } = setup();
    init();
    pulse(9);
    mask(SLAVE, 0xff);
    expect(pic.acknowledge()).toBe(0x3f);
    // Only the master needs an EOI: it took IR2 for real.
    expect([isr(MASTER), isr(SLAVE)]).toEqual([0x04, 0]);
  });
});

describe('i8259 end of interrupt', () => {
  it('ends a named interrupt', () => {
    const { pic, command, init, pulse, isr } = setup();
    init();
    pulse(5);
    pic.acknowledge();
    pulse(1);
    pic.acknowledge();
    command(MASTER, 0x65);
    expect(isr(MASTER)).toBe(0x02);
  });

  it('rotates on a non-specific EOI: the served IRQ comes last', () => {
    const { pic, command, init, pulse } = setup();
    init();
    pulse(3, 4);
    pic.acknowledge();
    command(MASTER, 0xa0);
    pulse(3);
    expect(pic.acknowledge()).toBe(0x34);
    command(MASTER, 0xa0);
    pulse(5, 4);
    expect(pic.acknowledge()).toBe(0x35);
  });

  it('rotates on a specific EOI and by the set-priority command', () => {
    const { pic, command, init, pulse } = setup();
    init();
    pulse(6);
    pic.acknowledge();
    command(MASTER, 0xe6);
    pulse(0, 7);
    expect(pic.acknowledge()).toBe(0x37);
    command(MASTER, EOI);
    pic.acknowledge();
    command(MASTER, EOI);
    command(MASTER, 0xc4);
    pulse(0, 5);
    expect(pic.acknowledge()).toBe(0x35);
  });

  it('ends by itself in AEOI mode, with and without rotation', () => {
    const { pic, command, init, pulse, isr } = setup();
    init({ icw4: 0x03 });
    pulse(3);
    pic.acknowledge();
    expect(isr(MASTER)).toBe(0);
    command(MASTER, 0x80);
    pulse(3);
    pic.acknowledge();
    pulse(3, 7);
    expect(pic.acknowledge()).toBe(0x37);
    command(MASTER, 0x00);
    expect(pic.acknowledge()).toBe(0x33);
  });

  it('in special mask mode serves everything but what is masked or in service', () => {
    const { pic, intr, command, mask, init, pulse, isr } = setup();
    init();
    pulse(3);
    pic.acknowledge();
    pulse(6);
    expect(intr.level).toBe(false);
    mask(MASTER, 0x08);
    command(MASTER, 0x68);
    expect(pic.acknowledge()).toBe(0x36);
    // A non-specific EOI passes over the masked IRQ 3.
    command(MASTER, EOI);
    expect(isr(MASTER)).toBe(0x08);
    command(MASTER, 0x48);
    pulse(7);
    expect(intr.level).toBe(false);
  });
});

describe('i8259 registers', () => {
  it('polls: acknowledges and names the IRQ', () => {
    const { pic, intr, command, init, pulse, isr } = setup();
    init();
    pulse(4);
    command(MASTER, 0x0c);
    expect(pic.read(MASTER, 0, 1)).toBe(0x84);
    expect(intr.level).toBe(false);
    expect(isr(MASTER)).toBe(0x10);
    command(MASTER, 0x0c);
    expect(pic.read(MASTER, 0, 1) & 0x80).toBe(0);
  });

  it('keeps timer, keyboard, cascade, RTC and FPU edge-triggered', () => {
    const { pic } = setup(0xffff);
    expect([pic.read(ELCR, 0, 1), pic.read(ELCR, 1, 1)]).toEqual([0xf8, 0xde]);
    pic.write(ELCR, 0, 2, 0x0407);
    expect(pic.read(ELCR, 0, 2)).toBe(0x0400);
  });

  it('passes the probe that looks for a PIC', () => {
    const { pic, mask } = setup();
    mask(SLAVE, 0xff);
    mask(MASTER, 0xfb);
    expect(pic.read(MASTER, 1, 1)).toBe(0xfb);
  });
});
