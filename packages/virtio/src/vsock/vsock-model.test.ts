// The socket device: connections both ways, credit, ends, refusals, resets, hostile packets.
import { deviceKit, FakeClock } from '@cloister/core/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { STATUS_NEEDS_RESET } from '../device/features.js';
import { FakeRam } from '../testing/fake-ram.js';
import { mmioRig } from '../testing/mmio-driver.js';
import { mmioDevice } from '../transport/mmio.js';
import {
  decodeEvent,
  encodeEvent,
  NO_HOST,
  VSOCK_CONNECTIONS,
  VSOCK_WINDOW,
  type VsockEvent,
  type VsockHost,
} from './vsock-host.js';
import { vsockModel } from './vsock-model.js';
import * as P from './vsock-packet.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const CID = 3;
const bytes = (text: string) => new TextEncoder().encode(text);

/** A host that notes what it is asked. */
class FakeHost implements VsockHost {
  readonly log: string[] = [];
  readonly sent = new Map<number, number>();
  readonly granted = new Map<number, number>();
  start = () => Promise.resolve();
  dispose = () => Promise.resolve();
  reset = () => void this.log.push('reset');
  connect = (id: number, port: number) => void this.log.push(`connect ${id} ${port}`);
  accept = (id: number, port: number) => void this.log.push(`accept ${id} ${port - 2 ** 30}`);
  end = (id: number) => void this.log.push(`end ${id}`);
  close = (id: number) => void this.log.push(`close ${id}`);
  send(id: number, data: Uint8Array): void {
    this.log.push(`send ${id} ${new TextDecoder().decode(data).slice(0, 10)}`);
    this.sent.set(id, (this.sent.get(id) ?? 0) + data.length);
  }
  grant(id: number, count: number): void {
    this.granted.set(id, (this.granted.get(id) ?? 0) + count);
  }
}

const OPS = ['', 'REQUEST', 'RESPONSE', 'RST', 'SHUTDOWN', 'RW', 'UPDATE', 'ASK'];

function rig(room = 4096) {
  const host = new FakeHost();
  const clock = new FakeClock();
  const model = vsockModel(CID, { clock, host });
  const made = mmioRig(model, {}, { clock, ram: new FakeRam(1 << 23) });
  const { driver } = made;
  driver.start();
  host.log.length = 0;
  const offer = (count = 8) => {
    for (let i = 0; i < count; i++) driver.add(0, [], [P.VSOCK_HEADER, room]);
    driver.transport.notify(0);
  };
  offer();
  const send = (op: number, more: Partial<P.VsockHeader> & { data?: Uint8Array } = {}) => {
    const { data = new Uint8Array(0), ...header } = more;
    const whole = P.encodeHeader({
      sourceCid: BigInt(CID),
      destinationCid: BigInt(P.CID_HOST),
      sourcePort: 1000,
      destinationPort: 52,
      length: data.length,
      type: P.TYPE_STREAM,
      op,
      flags: 0,
      bufAlloc: VSOCK_WINDOW,
      fwdCnt: 0,
      ...header,
    });
    driver.submit(1, data.length === 0 ? [whole] : [whole, data], []);
    driver.take(1);
  };
  /** Packets for the guest so far. */
  const got = () => {
    const list: (P.VsockHeader & { data: Uint8Array; shown: string })[] = [];
    for (let used = driver.take(0); used !== null; used = driver.take(0)) {
      const header = P.decodeHeader(used.data);
      const data = used.data.slice(P.VSOCK_HEADER, used.written);
      expect(used.written).toBe(P.VSOCK_HEADER + header.length);
      const text = data.length > 0 ? ` ${new TextDecoder().decode(data).slice(0, 10)}` : '';
      list.push({ ...header, data, shown: `${OPS[header.op]}${text}` });
    }
    offer(list.length);
    return list;
  };
  const shown = () => got().map((packet) => packet.shown);
  const event = (each: VsockEvent) => model.receive(encodeEvent(each));
  return { ...made, host, clock, model, send, got, shown, event, offer };
}

/** A connection that the guest made to port 52: its number. */
function opened(made: ReturnType<typeof rig>): number {
  made.send(P.OP_REQUEST);
  const id = Number(made.host.log.at(-1)!.split(' ')[1]);
  made.event({ kind: 'connected', id });
  expect(made.shown()).toEqual(['RESPONSE']);
  made.host.log.length = 0;
  return id;
}

describe('virtio-vsock', () => {
  it('has the guest’s address in its configuration', () => {
    expect(rig().driver.transport.readConfig(0, 4)).toBe(CID);
  });

  it('connects the guest to the host, both ways, and ends with the answer to its shutdown', () => {
    const made = rig();
    const id = opened(made);
    expect(id % 2).toBe(0);
    expect(made.host.granted.get(id)).toBe(VSOCK_WINDOW);
    made.send(P.OP_RW, { data: bytes('hello') });
    made.event({ kind: 'data', id, data: bytes('hi') });
    const [packet] = made.got();
    expect(packet).toMatchObject({
      shown: 'RW hi',
      sourceCid: 2n,
      destinationCid: BigInt(CID),
      sourcePort: 52,
      destinationPort: 1000,
      bufAlloc: VSOCK_WINDOW,
    });
    expect(made.host.granted.get(id)).toBe(VSOCK_WINDOW + 2);
    made.send(P.OP_SHUTDOWN, { flags: P.SHUTDOWN_SEND });
    made.send(P.OP_SHUTDOWN, { flags: P.SHUTDOWN_RCV });
    expect(made.host.log).toEqual([`send ${id} hello`, `end ${id}`, `close ${id}`]);
    expect(made.shown()).toEqual(['RST']);
  });

  it('connects the host to the guest, and tells the host its port', () => {
    const made = rig();
    made.event({ kind: 'open', id: 7, port: 1234 });
    const [request] = made.got();
    expect(request).toMatchObject({ shown: 'REQUEST', destinationPort: 1234 });
    const sourcePort = 1234;
    const destinationPort = request!.sourcePort;
    made.send(P.OP_RESPONSE, { sourcePort, destinationPort });
    expect(made.host.log).toEqual(['accept 7 0']);
    made.event({ kind: 'data', id: 7, data: bytes('ab') });
    made.event({ kind: 'end', id: 7 });
    const [data, end] = made.got();
    expect(data!.shown).toBe('RW ab');
    expect(end).toMatchObject({ shown: 'SHUTDOWN', flags: P.SHUTDOWN_SEND });
    // The guest may still answer.
    made.send(P.OP_RW, { sourcePort, destinationPort, data: bytes('ok') });
    expect(made.host.log).toEqual(['accept 7 0', 'send 7 ok']);
    made.event({ kind: 'closed', id: 7 });
    expect(made.shown()).toEqual(['RST']);
    expect(made.host.log.at(-1)).toBe('close 7');
  });

  it('refuses what nobody takes, and data without a connection', () => {
    const made = rig();
    made.send(P.OP_REQUEST);
    made.event({ kind: 'closed', id: Number(made.host.log[0]!.split(' ')[1]) });
    made.send(P.OP_RW, { sourcePort: 5, data: bytes('?') });
    made.send(P.OP_RST, { sourcePort: 5 });
    made.send(P.OP_REQUEST, { type: 9 });
    const packets = made.got();
    expect(packets.map(({ shown }) => shown)).toEqual(['RST', 'RST', 'RST']);
    expect(packets[1]!.destinationPort).toBe(5);
    expect(packets[2]!.type).toBe(9);
    made.event({ kind: 'open', id: 1, port: 9 });
    const { sourcePort } = made.got()[0]!;
    made.send(P.OP_RST, { sourcePort: 9, destinationPort: sourcePort });
    expect(made.host.log.at(-1)).toBe('close 1');
  });

  it('drops packets from or to a wrong address', () => {
    const made = rig();
    made.send(P.OP_REQUEST, { sourceCid: 4n });
    made.send(P.OP_REQUEST, { destinationCid: 1n });
    expect(made.shown()).toEqual([]);
    expect(made.host.log).toEqual([]);
  });

  it('sends no more than the guest has credit for, and asks for more once', () => {
    const made = rig();
    const id = opened(made);
    made.send(P.OP_CREDIT_UPDATE, { bufAlloc: 10 });
    made.event({ kind: 'data', id, data: bytes('0123456789abcdef') });
    expect(made.shown()).toEqual(['RW 0123456789', 'ASK']);
    made.event({ kind: 'data', id, data: bytes('g') });
    expect(made.shown()).toEqual([]);
    made.send(P.OP_CREDIT_UPDATE, { bufAlloc: 10, fwdCnt: 4 });
    expect(made.shown()).toEqual(['RW abcd', 'ASK']);
    made.send(P.OP_CREDIT_UPDATE, { bufAlloc: 10, fwdCnt: 14 });
    expect(made.shown()).toEqual(['RW efg']);
  });

  it('cuts off a guest that sends without credit; gives it back as the host takes data', () => {
    const made = rig();
    const id = opened(made);
    for (let i = 0; i < 4; i++) made.send(P.OP_RW, { data: new Uint8Array(VSOCK_WINDOW / 4) });
    expect(made.host.sent.get(id)).toBe(VSOCK_WINDOW);
    expect(made.shown()).toEqual([]);
    made.event({ kind: 'sent', id, bytes: VSOCK_WINDOW / 4 });
    const [update] = made.got();
    expect(update).toMatchObject({ shown: 'UPDATE', fwdCnt: VSOCK_WINDOW / 4 });
    made.send(P.OP_CREDIT_REQUEST);
    expect(made.shown()).toEqual(['UPDATE']);
    made.send(P.OP_RW, { data: new Uint8Array(VSOCK_WINDOW / 4) });
    expect(made.shown()).toEqual([]);
    made.send(P.OP_RW, { data: Uint8Array.of(1) });
    expect(made.shown()).toEqual(['RST']);
    expect(made.host.log.at(-1)).toBe(`close ${id}`);
  });

  it('waits for receive buffers, connections in turn', () => {
    const made = rig(4);
    const first = opened(made);
    made.send(P.OP_REQUEST, { sourcePort: 1001 });
    const second = Number(made.host.log.at(-1)!.split(' ')[1]);
    made.event({ kind: 'connected', id: second });
    made.shown();
    made.event({ kind: 'data', id: first, data: bytes('a'.repeat(48)) });
    made.event({ kind: 'data', id: second, data: bytes('b'.repeat(32)) });
    const text = () => made.shown().join('');
    expect(text()).toBe('RW aaaa'.repeat(8));
    expect(text()).toBe('RW aaaaRW bbbb'.repeat(4));
  });

  it('hears no more from a guest that takes no refusals, and goes on later', () => {
    const made = rig();
    made.driver.start({ sizes: [128, 128, 128] });
    made.offer(8);
    // 256 wait in the device and 100 in the queue.
    for (let i = 0; i < 8 + 356; i++) made.send(P.OP_RW, { sourcePort: i });
    expect(made.got()).toHaveLength(8);
    let refused = 0;
    for (let i = 0; i < 60; i++) {
      made.clock.advance(10_000);
      refused += made.got().length;
    }
    expect(refused).toBe(356);
  });

  it('goes on with what waited when it was saved', () => {
    const made = rig();
    made.driver.start({ sizes: [128, 128, 128] });
    made.offer(8);
    for (let i = 0; i < 8 + 260; i++) made.send(P.OP_RW, { sourcePort: i });
    // No refusal is left, and the guest's last packets are not yet looked at.
    while (made.got().length > 0);
    made.device.restore(made.device.snapshot());
    let refused = 0;
    for (let i = 0; i < 10; i++) {
      made.clock.advance(10_000);
      refused += made.got().length;
    }
    expect(refused).toBe(4);
  });

  it('numbers connections anew that one moment begins and ends', () => {
    const made = rig();
    const ids = () => made.host.log.filter((each) => each.startsWith('connect'));
    for (let i = 0; i < 3; i++) {
      made.send(P.OP_REQUEST);
      made.send(P.OP_RST);
    }
    made.driver.start();
    made.offer();
    made.send(P.OP_REQUEST);
    made.device.restore(made.device.snapshot());
    made.send(P.OP_REQUEST);
    expect(ids()).toHaveLength(5);
    expect(new Set(ids()).size).toBe(5);
  });

  it('has at most so many connections', () => {
    const made = rig();
    for (let i = 0; i <= VSOCK_CONNECTIONS; i++) made.send(P.OP_REQUEST, { sourcePort: i });
    expect(made.host.log).toHaveLength(VSOCK_CONNECTIONS);
    expect(made.shown()).toEqual(['RST']);
  });

  it('throws away what a guest that listens no more would get', () => {
    const made = rig();
    const id = opened(made);
    made.send(P.OP_SHUTDOWN, { flags: P.SHUTDOWN_RCV });
    made.event({ kind: 'data', id, data: bytes('lost') });
    expect(made.shown()).toEqual([]);
    expect(made.host.granted.get(id)).toBe(VSOCK_WINDOW + 4);
  });

  it('tells a restored guest that had connections of a reset', () => {
    const made = rig();
    const id = opened(made);
    const saved = made.device.snapshot();
    made.driver.add(2, [], [8]);
    made.driver.transport.notify(2);
    expect(made.driver.take(2)).toBeNull();
    made.device.restore(saved);
    expect(made.host.log.at(-1)).toBe('reset');
    made.clock.advance(10_000);
    expect(made.driver.result(2)).toMatchObject({ written: 4, data: new Uint8Array(8) });
    // Data that was under way when the VM was saved finds no connection.
    made.event({ kind: 'data', id, data: bytes('late') });
    expect(made.shown()).toEqual([]);
    made.send(P.OP_REQUEST);
    expect(made.host.log.at(-1)).toMatch(/^connect /);
    expect(made.host.log.at(-1)).not.toBe(`connect ${id} 52`);
  });

  it.each([
    [
      'a packet without a header',
      (made: ReturnType<typeof rig>) => {
        made.driver.submit(1, [new Uint8Array(43)], []);
      },
    ],
    [
      'a packet that says it is longer',
      (made: ReturnType<typeof rig>) => {
        made.send(P.OP_RW, { length: 1 });
      },
    ],
    [
      'a receive buffer without room for a header',
      (made: ReturnType<typeof rig>) => {
        made.shown();
        made.driver.start();
        made.driver.add(0, [], [43]);
        made.send(P.OP_RW);
      },
    ],
  ])('asks for a reset on %s', (_, act) => {
    const made = rig();
    act(made);
    expect(made.driver.transport.status() & STATUS_NEEDS_RESET).not.toBe(0);
    expect(made.host.log.at(-1)).toBe('reset');
    made.event({ kind: 'open', id: 1, port: 2 });
    expect(made.host.log.at(-1)).toBe('close 1');
  });

  it('passes on exactly what there is credit for', () => {
    const size = fc.oneof(fc.nat(300), fc.constantFrom(20_000, 45_536, VSOCK_WINDOW));
    const step = fc.oneof(fc.record({ rw: size }), fc.record({ sent: size }));
    fc.assert(
      fc.property(fc.array(step, { minLength: 4, maxLength: 30 }), (steps) => {
        const made = rig();
        const id = opened(made);
        let under = 0;
        for (const each of steps) {
          if ('sent' in each) {
            made.event({ kind: 'sent', id, bytes: each.sent });
            under = Math.max(0, under - each.sent);
            made.got();
            continue;
          }
          const before = made.host.sent.get(id) ?? 0;
          made.send(P.OP_RW, { data: new Uint8Array(each.rw) });
          const passed = (made.host.sent.get(id) ?? 0) - before;
          const fits = under + each.rw <= VSOCK_WINDOW;
          expect(passed).toBe(fits ? each.rw : 0);
          expect(made.shown().includes('RST')).toBe(!fits);
          if (!fits) return;
          under += each.rw;
        }
      }),
      { numRuns: FULL ? 1000 : 60 },
    );
  });

  it('takes any packets and events: bounded, and never data beyond a window', () => {
    const number = fc.oneof(fc.nat(4), fc.constantFrom(2 ** 30, 0xffffffff), fc.nat(70_000));
    const packet = fc.record({
      op: fc.oneof(fc.nat(9), fc.constant(P.OP_RW)),
      sourcePort: fc.oneof(fc.nat(3), fc.constant(1000)),
      destinationPort: fc.oneof(fc.nat(2), fc.constantFrom(2 ** 30, 2 ** 30 + 1, 52)),
      flags: fc.nat(4),
      type: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, fc.nat(3)),
      bufAlloc: number,
      fwdCnt: number,
      size: fc.oneof(fc.nat(300), fc.constant(20_000)),
    });
    const happening = fc.oneof(
      fc.record({ packet }),
      fc.record({
        kind: fc.constantFrom('open', 'connected', 'end', 'closed', 'sent', 'data'),
        which: fc.nat(6),
        number,
      }),
      fc.record({ raw: fc.uint8Array({ maxLength: 40 }) }),
    );
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60 }), (list) => {
        const made = rig(64);
        opened(made);
        for (const each of list) {
          if ('packet' in each) {
            const { op, size, ...header } = each.packet;
            made.send(op, { ...header, data: new Uint8Array(size) });
          } else if ('raw' in each) made.model.receive(each.raw);
          else {
            const { kind, which: id, number: port } = each;
            const data = new Uint8Array(port % 1000);
            const under = made.host.sent.get(id) ?? 0;
            if (kind === 'sent') made.host.sent.set(id, Math.max(0, under - port));
            made.event({ kind, id, port, bytes: port, data } as unknown as VsockEvent);
          }
          made.got();
          for (const [, count] of made.host.sent) expect(count).toBeLessThanOrEqual(VSOCK_WINDOW);
        }
        expect(made.failures).toEqual([]);
        expect(made.ram.refused).toEqual([]);
        made.device.restore(made.device.snapshot());
        made.driver.start();
        made.host.log.length = 0;
        made.send(P.OP_REQUEST);
        expect(made.host.log).toHaveLength(1);
      }),
      { numRuns: FULL ? 5000 : 100 },
    );
  });
});

it('events survive their encoding; what is none is found to be none', () => {
  const events: VsockEvent[] = [
    { kind: 'open', id: 2 ** 50 + 1, port: 0xffffffff },
    { kind: 'connected', id: 2 },
    { kind: 'end', id: 1 },
    { kind: 'closed', id: 1 },
    { kind: 'sent', id: 1, bytes: 65_536 },
    { kind: 'data', id: 1, data: Uint8Array.of(1, 2) },
  ];
  for (const event of events) expect(decodeEvent(encodeEvent(event))).toEqual(event);
  expect(decodeEvent(new Uint8Array(15))).toBeNull();
  expect(decodeEvent(new Uint8Array(40))).toBeNull();
  expect(decodeEvent(encodeEvent(events[0]!).subarray(0, 18))).toBeNull();
});

deviceKit(
  { describe, it },
  {
    name: 'virtio-vsock',
    make: (ports) => {
      const { clock } = ports;
      const model = vsockModel(CID, { clock, host: NO_HOST });
      const dma = new FakeRam(65_536);
      const device = mmioDevice(model, { base: 0xd0000000 })({ dma, clock, irq: ports.line() });
      const open = (id: number) => model.receive(encodeEvent({ kind: 'open', id, port: id }));
      return { device, stimuli: [open] };
    },
  },
);
