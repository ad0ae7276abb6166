// The network device: frames both ways, buffers that are joined, the window, what the driver says
// about receiving, malformed chains, saving.
import { FakeClock } from '@cloister/core/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { STATUS_NEEDS_RESET } from '../device/features.js';
import { FakeRam } from '../testing/fake-ram.js';
import { mmioRig } from '../testing/mmio-driver.js';
import { pciRig } from '../testing/pci-driver.js';
import { batchOf, FRAME_MAX, framesOf, macAt, parseMac } from './frames.js';
import * as N from './net-model.js';

const MAC = parseMac('52:54:00:12:34:56')!;
const OTHER = parseMac('52:54:00:00:00:01')!;
const BROADCAST = new Uint8Array(6).fill(0xff);
const GROUP = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);

function frame(to: Uint8Array, length = 60, type = 0x0800): Uint8Array {
  const bytes = Uint8Array.from({ length }, (_, index) => index * 7);
  bytes.set(to);
  bytes.set(OTHER, 6);
  bytes[12] = type >> 8;
  bytes[13] = type & 0xff;
  return bytes;
}

function rig(options: Partial<N.NetOptions> & { ram?: FakeRam; pci?: boolean } = {}) {
  const clock = new FakeClock();
  const sent: Uint8Array[] = [];
  const costs: number[] = [];
  const seen = { room: true, restored: 0 };
  const model = N.netModel(
    { mac: MAC, ...options },
    {
      clock,
      send(batch, cost) {
        sent.push(...framesOf(batch));
        costs.push(cost);
      },
      room: (has) => {
        seen.room = has;
      },
      restored: (cost) => {
        seen.restored = cost;
      },
    },
  );
  const make = options.pci === true ? pciRig : mmioRig;
  const made = make(model, {}, { clock, ram: options.ram ?? new FakeRam(1 << 22) });
  return { model, sent, costs, seen, ...made };
}

type Rig = ReturnType<typeof rig>;

const header = new Uint8Array(N.HEADER_SIZE);
const send = (made: Rig, bytes: Uint8Array) => {
  made.driver.submit(N.TRANSMIT, [header, bytes], []);
};
const offer = (made: Rig, ...room: number[]) => made.driver.submit(N.RECEIVE, [], room);
const bring = ({ model }: Rig, ...frames: Uint8Array[]) => model.receive(batchOf(frames));
/** What the driver got, without headers; each must be a frame in one buffer. */
function got({ driver }: Rig): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let each = driver.take(N.RECEIVE); each !== null; each = driver.take(N.RECEIVE)) {
    expect(each.data.slice(0, N.HEADER_SIZE)).toEqual(
      Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0),
    );
    found.push(each.data.slice(N.HEADER_SIZE, each.written));
  }
  return found;
}
const needsReset = ({ driver }: Rig) => (driver.transport.status() & STATUS_NEEDS_RESET) !== 0;

function command({ driver }: Rig, kind: number, code: number, data: number[]): number | undefined {
  driver.submit(N.CONTROL, [Uint8Array.of(kind, code), Uint8Array.from(data)], [1]);
  return driver.result(N.CONTROL).data[0];
}
const table = (...macs: Uint8Array[]) => [macs.length, 0, 0, 0, ...macs.flatMap((mac) => [...mac])];

describe('virtio-net', () => {
  it('tells address, link and MTU, and when the link goes', () => {
    const made = rig({ mtu: 9000 });
    const { transport } = made.driver;
    made.driver.start();
    expect([0, 1, 2, 3, 4, 5].map((at) => transport.readConfig(at, 1))).toEqual([...MAC]);
    expect(transport.readConfig(6, 2)).toBe(1);
    expect(transport.readConfig(10, 2)).toBe(9000);
    const generation = transport.generation();
    made.model.setLink(false);
    made.model.setLink(false);
    expect(transport.readConfig(6, 2)).toBe(0);
    expect(transport.generation()).toBe(generation + 1);
    expect(transport.takeInterrupts().config).toBe(true);
  });

  it.each([
    { packed: false, pci: false },
    { packed: true, pci: true },
  ])('takes frames out and brings frames in: %o', ({ packed, pci }) => {
    const made = rig({ pci });
    made.driver.start({ packed });
    const frames = [frame(OTHER), frame(BROADCAST, 1514), frame(GROUP, 14)];
    for (const each of frames) send(made, each);
    expect(made.sent).toEqual(frames);
    for (let i = 0; i < 3; i++) expect(made.driver.result(N.TRANSMIT).written).toBe(0);
    for (let i = 0; i < 4; i++) offer(made, 100, 1600);
    bring(made, ...frames);
    expect(got(made)).toEqual(frames);
    expect(made.seen.room).toBe(true);
  });

  it('takes a frame however the driver cuts it', () => {
    const made = rig();
    made.driver.start();
    const bytes = Uint8Array.from([...header, ...frame(OTHER, 700)]);
    const cut = [bytes.slice(0, 5), bytes.slice(5, 13), bytes.slice(13, 600), bytes.slice(600)];
    made.driver.submit(N.TRANSMIT, cut, []);
    made.driver.submit(N.TRANSMIT, cut, [], { indirect: true });
    expect(made.sent).toEqual([frame(OTHER, 700), frame(OTHER, 700)]);
  });

  it.each([false, true])('joins buffers, and gives them back together (packed %s)', (packed) => {
    const made = rig();
    made.driver.start({ packed });
    for (let i = 0; i < 3; i++) offer(made, 500);
    const whole = frame(MAC, 1400);
    let partly = 0;
    made.ram.onWrite = () => {
      // Whoever looks in the middle sees nothing.
      const [queue] = made.driver.queues;
      const { onWrite } = made.ram;
      made.ram.onWrite = null;
      if (queue!.take() !== null) partly++;
      made.ram.onWrite = onWrite;
    };
    bring(made, whole);
    made.ram.onWrite = null;
    expect(partly).toBe(0);
    const parts = [0, 1, 2].map(() => made.driver.result(N.RECEIVE));
    expect(parts.map(({ written }) => written)).toEqual([500, 500, 412]);
    expect(parts[0]!.data[10]).toBe(3);
    const bytes = parts.flatMap(({ data, written }) => [...data.slice(0, written)]);
    expect(Uint8Array.from(bytes.slice(N.HEADER_SIZE))).toEqual(whole);
  });

  it('keeps a frame until there are buffers, and lets no other in meanwhile', () => {
    const made = rig();
    made.driver.start();
    offer(made, 40);
    bring(made, frame(MAC, 100), frame(MAC, 20));
    expect(made.seen.room).toBe(false);
    expect(got(made)).toEqual([]);
    const saved = made.device.snapshot();
    made.device.reset();
    expect(made.seen.room).toBe(true);
    made.device.restore(saved);
    expect(made.seen.room).toBe(false);
    offer(made, 72);
    const parts = [made.driver.result(N.RECEIVE), made.driver.result(N.RECEIVE)];
    expect(parts.map(({ written }) => written)).toEqual([40, 72]);
    offer(made, 72);
    expect(got(made)).toEqual([frame(MAC, 20)]);
    expect(made.seen.room).toBe(true);
  });

  it('loses what does not fit where buffers cannot be joined', () => {
    const made = rig();
    made.driver.start({ features: [N.NET_F_MAC] });
    offer(made, 200);
    bring(made, frame(MAC, 189), frame(MAC, 188));
    expect(got(made)).toEqual([frame(MAC, 188)]);
  });

  it('brings nothing to a device without a driver', () => {
    const made = rig();
    bring(made, frame(MAC));
    made.driver.start();
    offer(made, 1600);
    expect(got(made)).toEqual([]);
    expect(made.seen.room).toBe(true);
  });

  it('has no more than a window outside, whatever resets come between', () => {
    const made = rig({ ram: new FakeRam(1 << 24) });
    const big = frame(OTHER, FRAME_MAX);
    const outside = () => made.sent.reduce((sum, { length }) => sum + length, 0);
    for (let lap = 0; lap < 3; lap++) {
      made.driver.start();
      for (let i = 0; i < 20; i++) send(made, big);
    }
    expect(outside()).toBeGreaterThan(N.WINDOW - FRAME_MAX);
    expect(outside()).toBeLessThanOrEqual(N.WINDOW + FRAME_MAX);
    const count = made.sent.length;
    made.model.sent(2 * FRAME_MAX + 200);
    expect(made.sent.length).toBe(count + 2);
  });

  it('counts short frames too', () => {
    const made = rig();
    made.driver.start();
    const gpa = made.ram.place(new Uint8Array(26));
    for (let i = 0; i < 20_000; i++) {
      made.driver.queues[N.TRANSMIT]!.add([{ gpa, length: 26, write: false }]);
      made.driver.transport.notify(N.TRANSMIT);
      if (made.driver.take(N.TRANSMIT) === null) break;
    }
    expect(made.sent.length).toBeLessThanOrEqual(N.WINDOW / 78 + 1);
    expect(made.sent.length).toBeGreaterThan(N.WINDOW / 79 - 1);
  });

  it('tells how much was outside when a state is taken over', () => {
    const made = rig();
    made.driver.start();
    send(made, frame(OTHER, 100));
    made.device.restore(made.device.snapshot());
    expect(made.seen.restored).toBe(made.costs[0]);
  });

  it('limits the rate of both directions', () => {
    const made = rig({ rateLimit: { bytesPerSecond: 1_000_000, burst: 1_000_000 } });
    made.driver.start();
    for (let i = 0; i < 10; i++) send(made, frame(OTHER, 1000));
    expect(made.sent.length).toBe(2);
    for (let i = 0; i < 20; i++) offer(made, 1100);
    bring(made, ...Array.from({ length: 10 }, () => frame(MAC, 1000)));
    expect(got(made).length).toBe(2);
    const saved = made.device.snapshot();
    made.device.reset();
    made.device.restore(saved);
    made.clock.advance(4_000_000);
    expect(made.sent.length).toBe(6);
    expect(got(made).length).toBe(4);
    made.clock.advance(9_000_000);
    expect(made.sent.length).toBe(10);
    expect(got(made).length).toBe(4);
  });

  it('gives what the driver asked for, once it asked', () => {
    const made = rig();
    made.driver.start();
    for (let i = 0; i < 60; i++) offer(made, 1600);
    const all = [frame(MAC), frame(OTHER), frame(BROADCAST), frame(GROUP)];
    const passed = () => {
      bring(made, ...all);
      return got(made).map((each) => all.findIndex((one) => macAt(one, 0) === macAt(each, 0)));
    };
    expect(passed()).toEqual([0, 1, 2, 3]);
    expect(command(made, 0, 0, [0])).toBe(0); // no promiscuous mode
    expect(passed()).toEqual([0, 2]);
    expect(command(made, 0, 1, [1])).toBe(0); // all groups
    expect(passed()).toEqual([0, 2, 3]);
    expect(command(made, 0, 2, [1])).toBe(0); // all devices
    expect(passed()).toEqual([0, 1, 2, 3]);
    expect(command(made, 0, 5, [1])).toBe(0); // no broadcast
    expect(command(made, 0, 3, [1])).toBe(0); // no groups
    expect(command(made, 0, 4, [1])).toBe(0); // no devices
    expect(passed()).toEqual([]);
    for (const mode of [1, 2, 3, 4, 5]) command(made, 0, mode, [0]);
    expect(command(made, 1, 0, [...table(OTHER), ...table(GROUP)])).toBe(0);
    expect(passed()).toEqual([0, 1, 2, 3]);
    const many = Array.from({ length: 65 }, (_, i) => Uint8Array.of(2, 0, 0, 0, 0, i));
    expect(command(made, 1, 0, [...table(...many), ...table()])).toBe(0);
    expect(passed()).toEqual([0, 1, 2]);
    expect(command(made, 1, 1, [...OTHER])).toBe(0); // another address of its own
    expect(command(made, 1, 0, [...table(), ...table()])).toBe(0);
    expect(passed()).toEqual([1, 2]);
    made.device.restore(made.device.snapshot());
    expect(passed()).toEqual([1, 2]);
    made.driver.transport.setStatus(0);
    expect(made.driver.transport.readConfig(5, 1)).toBe(MAC[5]);
  });

  it('lets the VLANs through that the driver names', () => {
    const made = rig();
    made.driver.start();
    for (let i = 0; i < 10; i++) offer(made, 1600);
    const tagged = frame(MAC, 60, 0x8100);
    tagged.set([0x20, 0x05], 14);
    command(made, 0, 0, [0]);
    bring(made, tagged, frame(MAC));
    expect(got(made)).toEqual([frame(MAC)]);
    expect(command(made, 2, 0, [5, 0])).toBe(0);
    bring(made, tagged);
    expect(got(made)).toEqual([tagged]);
    expect(command(made, 2, 1, [5, 0])).toBe(0);
    bring(made, tagged);
    expect(got(made)).toEqual([]);
  });

  it('refuses commands that are none', () => {
    const made = rig();
    made.driver.start();
    const wrong = [
      ...[
        [0, 6, [1]],
        [0, 0, []],
        [0, 0, [1, 1]],
        [1, 0, [1, 0, 0, 0]],
        [1, 0, [...table()]],
      ],
      ...[
        [1, 0, [...table(), ...table(), 0]],
        [1, 1, [1, 2, 3, 4, 5, 6]],
        [1, 1, [2]],
        [2, 2, [1, 0]],
      ],
      ...[
        [2, 0, [0, 16]],
        [2, 0, [1]],
        [3, 0, []],
        [4, 0, [1, 0]],
        [255, 255, []],
      ],
    ] as [number, number, number[]][];
    for (const [kind, code, data] of wrong) {
      expect(command(made, kind, code, data), `${kind} ${code} ${data}`).toBe(1);
    }
    made.driver.start({ features: [N.NET_F_CTRL_VQ] });
    for (const [kind, code, data] of [
      [0, 0, [1]],
      [0, 2, [1]],
      [1, 1, [...OTHER]],
      [2, 0, [1, 0]],
    ] as const) {
      expect(command(made, kind, code, [...data])).toBe(1);
    }
  });

  it('asks for a reset when a chain is no frame, no buffer or no command', () => {
    const bad: ((made: Rig) => void)[] = [
      (made) => made.driver.submit(N.TRANSMIT, [new Uint8Array(11)], []),
      (made) => made.driver.submit(N.TRANSMIT, [header, frame(OTHER)], [1]),
      (made) => made.driver.submit(N.TRANSMIT, [header, new Uint8Array(FRAME_MAX + 1)], []),
      (made) => {
        offer(made, 11);
        bring(made, frame(MAC));
      },
      (made) => {
        made.driver.submit(N.RECEIVE, [Uint8Array.of(1)], [100]);
        bring(made, frame(MAC));
      },
      (made) => made.driver.submit(N.CONTROL, [Uint8Array.of(0, 0, 1)], []),
    ];
    for (const each of bad) {
      const made = rig();
      made.driver.start();
      each(made);
      expect(needsReset(made)).toBe(true);
      made.driver.start();
      send(made, frame(OTHER));
      expect(made.driver.take(N.TRANSMIT)).not.toBeNull();
    }
  });

  it('drops what is too short to be a frame', () => {
    const made = rig();
    made.driver.start();
    send(made, new Uint8Array(13));
    offer(made, 100);
    bring(made, new Uint8Array(13), new Uint8Array(0));
    expect(made.sent).toEqual([]);
    expect(got(made)).toEqual([]);
    expect(made.failures).toEqual([]);
  });

  it('refuses features without the one that they need', () => {
    const { driver } = rig();
    expect(() => driver.start({ features: [N.NET_F_CTRL_RX] })).toThrow('refuses');
  });

  it('goes on after being saved in the midst of anything', () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant('send' as const), length: fc.integer({ min: 14, max: 3000 }) }),
      fc.record({ do: fc.constant('offer' as const), length: fc.integer({ min: 12, max: 2000 }) }),
      fc.record({ do: fc.constant('bring' as const), length: fc.integer({ min: 14, max: 3000 }) }),
      fc.record({ do: fc.constant('wait' as const), length: fc.nat(3_000_000) }),
    );
    const play = (steps: readonly { do: string; length: number }[], saveAt: number) => {
      const made = rig({ rateLimit: { bytesPerSecond: 2_000_000, burst: 1e6 } });
      made.driver.start();
      const log: string[] = [];
      steps.forEach(({ do: what, length }, index) => {
        if (index === saveAt) made.device.restore(made.device.snapshot());
        if (what === 'send') send(made, frame(OTHER, length));
        else if (what === 'offer') offer(made, length);
        else if (what === 'wait') made.clock.advance(length);
        else if (made.seen.room) bring(made, frame(MAC, length));
        const taken: number[] = [];
        for (let each = made.driver.take(0); each !== null; each = made.driver.take(0)) {
          taken.push(each.written);
        }
        log.push(`${taken} ${made.sent.length} ${made.seen.room}`);
      });
      return log;
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(40), (steps, at) => {
        expect(play(steps, at)).toEqual(play(steps, -1));
      }),
      { numRuns: 60 },
    );
  });
});
