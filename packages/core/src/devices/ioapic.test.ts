/** The IOAPIC against its datasheet. */
import { describe, expect, it } from 'vitest';
import { ioapic } from './ioapic.js';

const MASK = 0x10000;
const LEVEL = 0x8000;
const REMOTE_IRR = 0x4000;

function setup() {
  const sent: [number, number][] = [];
  const device = ioapic({ base: 0xfec00000, id: 3 })({
    sendMsi: (address, data) => sent.push([address, data]),
  });
  const read = (index: number) => {
    device.write(0, 0x00, 4, index);
    return device.read(0, 0x10, 4);
  };
  const write = (index: number, value: number) => {
    device.write(0, 0x00, 4, index);
    device.write(0, 0x10, 4, value);
  };
  const entry = (pin: number, low: number, high = 0) => {
    write(0x11 + 2 * pin, high);
    write(0x10 + 2 * pin, low);
  };
  const vectors = () => sent.splice(0).map(([, data]) => data & 0xff);
  return { device, sent, read, write, entry, vectors };
}

describe('82093AA registers', () => {
  it('has an ID, version 0x11 with 24 pins, and masked entries', () => {
    const { read, write } = setup();
    expect([read(0), read(1), read(2)]).toEqual([0x03000000, 0x00170011, 0x03000000]);
    write(0, 0xffffffff);
    write(1, 0);
    expect([read(0), read(1)]).toEqual([0x0f000000, 0x00170011]);
    expect([read(0x10), read(0x3f), read(0x40)]).toEqual([MASK, 0, 0]);
  });

  it('keeps the writable bits of an entry', () => {
    const { read, write } = setup();
    write(0x3e, 0xffffffff);
    write(0x3f, 0xffffffff);
    expect([read(0x3e), read(0x3f)]).toEqual([0x1afff, 0xff000000]);
  });

  it('reads its index and narrow parts', () => {
    const { device } = setup();
    device.write(0, 0, 4, 0x101);
    expect(device.read(0, 0, 4)).toBe(1);
    expect([device.read(0, 0x10, 1), device.read(0, 0x12, 1)]).toEqual([0x11, 0x17]);
    expect([device.read(0, 0x12, 2), device.read(0, 0x20, 4)]).toEqual([0x17, 0]);
  });
});

describe('82093AA edge-triggered', () => {
  it('delivers each rising edge as a message', () => {
    const { device, sent, entry } = setup();
    entry(4, 0x31, 0x02000000);
    for (const level of [true, true, false, true]) device.setPin(4, level);
    expect(sent).toEqual([
      [0xfee02000, 0x4031],
      [0xfee02000, 0x4031],
    ]);
  });

  it('carries destination mode and delivery mode', () => {
    const { device, sent, entry } = setup();
    entry(1, 0x0800 | 0x100 | 0x55, 0xff000000);
    device.setPin(1, true);
    expect(sent).toEqual([[0xfeeff004, 0x4155]]);
  });

  it('ignores edges on a masked pin', () => {
    const { device, vectors, entry } = setup();
    entry(4, MASK | 0x31);
    device.setPin(4, true);
    entry(4, 0x31);
    expect(vectors()).toEqual([]);
  });
});

describe('82093AA level-triggered', () => {
  it('delivers once, holds with remote IRR, and again after EOI while active', () => {
    const { device, read, vectors, entry } = setup();
    entry(9, LEVEL | 0x39);
    device.setPin(9, true);
    device.setPin(9, true);
    expect(vectors()).toEqual([0x39]);
    expect(read(0x22) & REMOTE_IRR).toBe(REMOTE_IRR);
    device.endOfInterrupt(0x39);
    expect(vectors()).toEqual([0x39]);
    device.setPin(9, false);
    device.endOfInterrupt(0x39);
    expect(vectors()).toEqual([]);
    expect(read(0x22) & REMOTE_IRR).toBe(0);
  });

  it('sends the trigger mode in the message', () => {
    const { device, sent, entry } = setup();
    entry(9, LEVEL | 0x39);
    device.setPin(9, true);
    expect(sent).toEqual([[0xfee00000, 0xc039]]);
  });

  it('delivers an active line when it is unmasked', () => {
    const { device, vectors, entry } = setup();
    device.setPin(9, true);
    entry(9, MASK | LEVEL | 0x39);
    expect(vectors()).toEqual([]);
    entry(9, LEVEL | 0x39);
    expect(vectors()).toEqual([0x39]);
    entry(9, LEVEL | 0x39);
    expect(vectors()).toEqual([]);
  });

  it('takes an EOI for its own vector only', () => {
    const { device, vectors, entry } = setup();
    for (const pin of [9, 10, 11]) {
      entry(pin, LEVEL | (pin === 11 ? 0x41 : 0x39));
      device.setPin(pin, true);
    }
    vectors();
    device.endOfInterrupt(0x39);
    expect(vectors()).toEqual([0x39, 0x39]);
  });

  it('loses remote IRR when it is made edge-triggered', () => {
    const { device, read, vectors, entry } = setup();
    entry(9, LEVEL | 0x39);
    device.setPin(9, true);
    entry(9, MASK | 0x39);
    expect(read(0x22) & REMOTE_IRR).toBe(0);
    vectors();
    entry(9, LEVEL | 0x39);
    expect(vectors()).toEqual([0x39]);
  });
});

it('has no pins beyond 23', () => {
  const { device, sent } = setup();
  device.setPin(24, true);
  device.setPin(-1, true);
  expect(sent).toEqual([]);
});
