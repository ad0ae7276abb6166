/** The keyboard controller, by the sequences that guests use. */
import { describe, expect, it } from 'vitest';
import { FakeControl, FakeLine } from '../testing/fakes.js';
import { i8042 } from './i8042.js';

function setup() {
  const irq = new FakeLine();
  const control = new FakeControl();
  const device = i8042()({ irq, control });
  return {
    irq,
    control,
    status: () => device.read(1, 0, 1),
    data: () => device.read(0, 0, 1),
    command: (value: number) => device.write(1, 0, 1, value),
    write: (value: number) => device.write(0, 0, 1, value),
  };
}

describe('i8042', () => {
  it('is found and passes its self-test', () => {
    const { status, data, command } = setup();
    // Nothing is left to flush, so a driver goes on at once.
    expect(status() & 0x03).toBe(0);
    command(0xaa);
    expect(status() & 0x01).toBe(1);
    expect(data()).toBe(0x55);
    expect(status() & 0x01).toBe(0);
    command(0xab);
    expect(data()).toBe(0);
  });

  it('keeps its command byte and the rest of its RAM', () => {
    const { data, command, write } = setup();
    command(0x60);
    write(0x47);
    command(0x65);
    write(0x12);
    command(0x20);
    expect(data()).toBe(0x47);
    command(0x25);
    expect(data()).toBe(0x12);
  });

  it('answers for the missing keyboard at once: RESEND with the time-out bit', () => {
    const { status, data, write, irq, command } = setup();
    command(0x60);
    write(0x45);
    write(0xf2);
    expect(status() & 0x41).toBe(0x41);
    expect(irq.level).toBe(true);
    expect(data()).toBe(0xfe);
    expect(irq.level).toBe(false);
    expect(status() & 0x41).toBe(0);
  });

  it('has no auxiliary port: the loop test answers as a keyboard byte', () => {
    const { status, data, command, write } = setup();
    command(0xd3);
    write(0x5a);
    expect(status() & 0x21).toBe(0x01);
    expect(data()).toBe(0x5a);
    command(0xa9);
    expect(data()).toBe(0x01);
    command(0xd4);
    write(0xff);
    expect(status() & 0x41).toBe(0x41);
  });

  it('enables and disables the keyboard clock in the command byte', () => {
    const { data, command } = setup();
    const byte = () => {
      command(0x20);
      return data() & 0x10;
    };
    expect(byte()).toBe(0x10);
    command(0xae);
    expect(byte()).toBe(0);
    command(0xad);
    expect(byte()).toBe(0x10);
  });

  it('keeps A20 in the output port', () => {
    const { data, command, write } = setup();
    const port = () => {
      command(0xd0);
      return data() & 0x03;
    };
    expect(port()).toBe(3);
    command(0xd1);
    write(0xdd);
    expect(port()).toBe(1);
    command(0xdf);
    expect(port()).toBe(3);
    command(0xdd);
    expect(port()).toBe(1);
  });

  it('resets by pulsing bit 0 only, or by the output port', () => {
    const { control, command, write } = setup();
    command(0xff);
    command(0xf1);
    expect(control.requests).toEqual([]);
    command(0xfe);
    command(0xf0);
    command(0xd1);
    write(0xfe);
    expect(control.requests).toEqual(['reset i8042', 'reset i8042', 'reset i8042']);
  });

  it('drops a command that waits when another comes', () => {
    const { data, command, write, status } = setup();
    command(0xd1);
    command(0x20);
    expect(data()).toBe(0x34);
    write(0x00);
    expect(status() & 0x40).toBe(0x40);
  });
});
