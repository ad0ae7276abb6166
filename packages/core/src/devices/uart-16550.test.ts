/** The 16550A against its datasheet. */
import { describe, expect, it } from 'vitest';
import { FakeClock, FakeLine, FakeSink } from '../testing/fakes.js';
import { uart16550 } from './uart-16550.js';

const [RBR, IER, IIR, LCR, MCR, LSR, MSR, SCR] = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const THR = RBR;
const FCR = IIR;
const OUT2 = 8;
/** One 10-bit character at 115200 baud, in nanoseconds. */
const CHARACTER_NS = 1e10 / 115_200;

function setup() {
  const clock = new FakeClock();
  const irq = new FakeLine();
  const sink = new FakeSink();
  const rooms: number[] = [];
  const uart = uart16550({ name: 'serial0', base: 0x3f8 })({
    clock,
    irq,
    output: sink,
    room: () => rooms.push(uart.waiting),
  });
  const read = (register: number) => uart.read(0, register, 1);
  const write = (register: number, value: number) => uart.write(0, register, 1, value);
  /** 115200 8N1, FIFOs on with a trigger level, interrupts gated to the bus. */
  const open = (fcr = 0x01, ier = 0) => {
    write(LCR, 0x80);
    write(0, 1);
    write(1, 0);
    write(LCR, 3);
    write(FCR, fcr);
    write(MCR, OUT2 | 3);
    write(IER, ier);
  };
  const receive = (...bytes: number[]) => uart.receive(Uint8Array.from(bytes));
  return { clock, irq, sink, uart, read, write, open, receive, rooms };
}

describe('16550A transmitter', () => {
  it('sends a byte at once and stays empty', () => {
    const { read, write, sink } = setup();
    for (const byte of [0x48, 0x69]) write(THR, byte);
    expect(sink.text).toBe('Hi');
    expect(read(LSR)).toBe(0x60);
  });

  it('raises THRE when it is enabled, until IIR is read, and after every byte', () => {
    const { read, write, open, irq } = setup();
    open(0x01, 2);
    expect(irq.level).toBe(true);
    expect(read(IIR)).toBe(0xc2);
    expect(irq.level).toBe(false);
    expect(read(IIR)).toBe(0xc1);
    write(THR, 65);
    expect(irq.level).toBe(true);
    expect(irq.rises).toBe(2);
  });

  it('raises THRE again when it is disabled and enabled', () => {
    const { read, write, open, irq } = setup();
    open(0x01, 2);
    read(IIR);
    write(IER, 0);
    write(IER, 2);
    expect(irq.level).toBe(true);
  });

  it('stalls while the sink refuses, keeps 16 bytes and goes on in order', () => {
    const { read, write, open, sink, clock, irq } = setup();
    open(0x01, 2);
    read(IIR);
    sink.open = false;
    for (let i = 0; i < 20; i++) write(THR, i);
    expect(read(LSR) & 0x60).toBe(0);
    clock.advance(1_000_000);
    expect(irq.level).toBe(false);
    sink.open = true;
    clock.advance(100_000);
    expect(sink.bytes).toEqual([...Array(16).keys()]);
    expect(read(LSR) & 0x60).toBe(0x60);
    expect(read(IIR)).toBe(0xc2);
  });

  it('goes on at once when it is told that the sink is ready', () => {
    const { write, sink, uart, clock } = setup();
    sink.open = false;
    write(THR, 1);
    sink.open = true;
    uart.outputReady();
    expect(sink.bytes).toEqual([1]);
    expect(clock.timers).toBe(0);
  });

  it('empties the transmitter FIFO on request', () => {
    const { read, write, open, sink, clock } = setup();
    open();
    sink.open = false;
    write(THR, 1);
    write(FCR, 0x05);
    sink.open = true;
    clock.advance(1_000_000);
    expect(sink.bytes).toEqual([]);
    expect(read(LSR)).toBe(0x60);
  });
});

describe('16550A receiver', () => {
  it('without FIFOs holds one byte and interrupts for each', () => {
    const { read, open, receive, irq } = setup();
    open(0, 1);
    receive(1, 2);
    expect(read(IIR)).toBe(0x04);
    expect(read(LSR) & 1).toBe(1);
    expect(read(RBR)).toBe(1);
    expect(irq.level).toBe(true);
    expect(read(RBR)).toBe(2);
    expect(irq.level).toBe(false);
    expect(read(LSR) & 1).toBe(0);
  });

  it.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])('with FCR %i interrupts at %i bytes', (fcr, level) => {
    const { read, open, receive, irq } = setup();
    open(fcr, 1);
    for (let i = 1; i < level; i++) receive(i);
    expect(irq.level).toBe(false);
    receive(level);
    expect(irq.level).toBe(true);
    expect(read(IIR)).toBe(0xc4);
    expect(read(RBR)).toBe(1);
    expect(irq.level).toBe(false);
  });

  it('below the trigger level times out after four characters', () => {
    const { read, open, receive, irq, clock } = setup();
    open(0xc1, 1);
    receive(7);
    clock.advance(Math.floor(4 * CHARACTER_NS) - 1);
    expect(irq.level).toBe(false);
    clock.advance(2);
    expect(irq.level).toBe(true);
    expect(read(IIR)).toBe(0xcc);
    expect(read(RBR)).toBe(7);
    expect(read(IIR)).toBe(0xc1);
  });

  it('starts the time-out anew with every arrival and every read', () => {
    const { read, open, receive, irq, clock } = setup();
    open(0xc1, 1);
    receive(1, 2);
    for (const touch of [() => receive(3), () => read(RBR)]) {
      clock.advance(Math.floor(3 * CHARACTER_NS));
      touch();
      expect(irq.level).toBe(false);
    }
    clock.advance(Math.ceil(4 * CHARACTER_NS));
    expect(irq.level).toBe(true);
  });

  it('lets bytes wait behind a full FIFO and tells of room', () => {
    const { read, open, uart, rooms } = setup();
    open(0x01, 0);
    expect(uart.receive(new Uint8Array(20).map((_, i) => i))).toBe(20);
    expect(uart.waiting).toBe(4);
    const got = Array.from({ length: 20 }, () => read(RBR));
    expect(got).toEqual([...Array(20).keys()]);
    expect(rooms.slice(-4)).toEqual([3, 2, 1, 0]);
    expect(read(LSR) & 2).toBe(0);
  });

  it('drops what is beyond its queue, and says so once with OE', () => {
    const { read, open, uart, irq } = setup();
    open(0x01, 4);
    const taken = uart.receive(new Uint8Array(10_000));
    expect(taken).toBe(4096);
    expect(irq.level).toBe(true);
    expect(read(IIR)).toBe(0xc6);
    expect(read(LSR) & 2).toBe(2);
    expect(read(LSR) & 2).toBe(0);
    expect(irq.level).toBe(false);
  });

  it('empties the receiver FIFO on request and when FIFOs are switched', () => {
    const { read, write, open, receive } = setup();
    open();
    receive(1);
    write(FCR, 0x03);
    expect(read(LSR) & 1).toBe(0);
    receive(2);
    write(FCR, 0);
    expect(read(LSR) & 1).toBe(0);
    expect(read(IIR)).toBe(0x01);
  });
});

describe('16550A registers', () => {
  it('passes the probe of a 16550A: scratch, IER, FIFO bits, loopback', () => {
    const { read, write } = setup();
    write(SCR, 0x5a);
    expect(read(SCR)).toBe(0x5a);
    write(IER, 0xff);
    expect(read(IER)).toBe(0x0f);
    write(FCR, 0x01);
    expect(read(IIR) >> 6).toBe(3);
    // Bit 5 of FCR and IIR would make it a 16750.
    write(LCR, 0x80);
    write(FCR, 0x21);
    expect(read(IIR) & 0x20).toBe(0);
    write(LCR, 0);
    write(MCR, 0x10 | 0x0a);
    expect(read(MSR) & 0xf0).toBe(0x90);
  });

  it('switches the first two registers by DLAB', () => {
    const { read, write } = setup();
    write(LCR, 0x83);
    write(0, 0x34);
    write(1, 0x12);
    expect([read(0), read(1)]).toEqual([0x34, 0x12]);
    write(LCR, 3);
    expect(read(1)).toBe(0);
  });

  it('reads wide, lowest address first', () => {
    const { uart, write } = setup();
    write(LCR, 0x83);
    write(0, 0x34);
    write(1, 0x12);
    expect(uart.read(0, 0, 2)).toBe(0x1234);
    expect(uart.read(0, 0, 4)).toBe(0x83011234);
  });

  it('gates its interrupt with OUT2', () => {
    const { write, open, irq } = setup();
    open(0x01, 2);
    write(MCR, 0);
    expect(irq.level).toBe(false);
    write(MCR, OUT2);
    expect(irq.level).toBe(true);
  });

  it('names interrupts in the order of the datasheet', () => {
    const { read, write, receive, clock } = setup();
    write(FCR, 0xc1);
    write(MCR, 0x10);
    write(MCR, 0x12);
    write(IER, 0x0f);
    for (let i = 0; i < 17; i++) write(THR, i);
    expect(read(IIR)).toBe(0xc6);
    read(LSR);
    expect(read(IIR)).toBe(0xc4);
    for (let i = 0; i < 3; i++) read(RBR);
    clock.advance(1e9);
    expect(read(IIR)).toBe(0xcc);
    read(RBR);
    expect(read(IIR)).toBe(0xc2);
    expect(read(IIR)).toBe(0xc0);
    read(MSR);
    expect(read(IIR)).toBe(0xc1);
    expect(receive(1)).toBe(1);
  });
});

describe('16550A loopback and modem lines', () => {
  it('sends to itself only, and keeps arrivals waiting', () => {
    const { read, write, receive, sink, uart } = setup();
    write(MCR, 0x10);
    receive(9);
    write(THR, 5);
    expect(sink.bytes).toEqual([]);
    expect(read(RBR)).toBe(5);
    expect(uart.waiting).toBe(1);
    write(MCR, 0);
    expect(read(RBR)).toBe(9);
  });

  it('tells when RTS changes, which in loopback does not reach the line', () => {
    const { write, uart, rooms } = setup();
    expect(uart.requestToSend).toBe(false);
    write(MCR, 0x12);
    expect(uart.requestToSend).toBe(false);
    expect(rooms).toEqual([]);
    write(MCR, 2);
    expect(uart.requestToSend).toBe(true);
    write(MCR, 3);
    expect(rooms).toEqual([0]);
    write(MCR, 1);
    expect(uart.requestToSend).toBe(false);
    expect(rooms).toEqual([0, 0]);
  });

  it('overruns itself: RBR holds the later byte, a full FIFO the earlier ones', () => {
    const { read, write } = setup();
    write(MCR, 0x10);
    write(THR, 1);
    write(THR, 2);
    expect(read(LSR) & 3).toBe(3);
    expect(read(RBR)).toBe(2);
    write(FCR, 1);
    for (let i = 0; i < 18; i++) write(THR, i);
    expect(read(LSR) & 3).toBe(3);
    expect(Array.from({ length: 17 }, () => read(RBR))).toEqual([...Array(16).keys(), 0]);
  });

  it('connects RTS, DTR, OUT1 and OUT2 to CTS, DSR, RI and DCD', () => {
    const { read, write } = setup();
    const lines = [0x02, 0x01, 0x04, 0x08].map((bit) => {
      write(MCR, 0x10 | bit);
      return read(MSR) & 0xf0;
    });
    expect(lines).toEqual([0x10, 0x20, 0x40, 0x80]);
  });

  it('notes changes of the lines until MSR is read; RI only as it ends', () => {
    const { read, write } = setup();
    write(MCR, 0x10);
    read(MSR);
    write(MCR, 0x1f);
    expect(read(MSR) & 0x0f).toBe(0x0b);
    expect(read(MSR) & 0x0f).toBe(0);
    write(MCR, 0x10);
    expect(read(MSR) & 0x0f).toBe(0x0f);
  });

  it('receives its own break as a zero byte with BI', () => {
    const { read, write } = setup();
    write(MCR, 0x10);
    write(LCR, 0x43);
    expect(read(LSR) & 0x11).toBe(0x11);
    expect(read(RBR)).toBe(0);
  });
});

describe('16550A snapshot', () => {
  it('carries a running time-out and a refused byte over', () => {
    const a = setup();
    a.open(0xc1, 3);
    a.read(IIR);
    a.receive(1);
    a.sink.open = false;
    a.write(THR, 66);
    const b = setup();
    b.uart.restore(a.uart.snapshot());
    expect(b.irq.level).toBe(false);
    b.clock.advance(Math.ceil(4 * CHARACTER_NS));
    expect(b.sink.text).toBe('B');
    expect(b.read(IIR)).toBe(0xcc);
    b.read(RBR);
    expect(b.read(IIR)).toBe(0xc2);
  });
});
