// The console: data both ways, ports by control messages, a slow host, size, saving.
import { deviceKit, FakeClock, FakeSink } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { FakeRam } from '../testing/fake-ram.js';
import { type MockRig, mmioRig } from '../testing/mmio-driver.js';
import { mmioDevice } from '../transport/mmio.js';
import { consoleModel } from './console-model.js';

const text = (data: string) => new TextEncoder().encode(data);

function rig(names: readonly string[] = []) {
  const sinks: FakeSink[] = [];
  const rooms: boolean[] = [];
  const ends = ['', ...names].map((name, index) => {
    const output = new FakeSink();
    sinks.push(output);
    return { name, output, room: (has: boolean) => void (rooms[index] = has) };
  });
  const clock = new FakeClock();
  const model = consoleModel({ clock, ends });
  return { model, sinks, rooms, ...mmioRig(model, {}, { clock }) };
}

function control(id: number, event: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  return bytes;
}

/** Control messages that the device sent: id, event, value, data. */
function told({ driver }: MockRig): string[] {
  const list: string[] = [];
  for (let used = driver.take(2); used !== null; used = driver.take(2)) {
    const view = new DataView(used.data.buffer);
    const data = used.data.slice(8, used.written);
    const event = view.getUint16(4, true);
    const shown = event === 7 ? new TextDecoder().decode(data) : [...data];
    list.push(`${view.getUint32(0, true)},${event},${view.getUint16(6, true)} ${shown}`);
  }
  return list;
}

describe('virtio-console with one port', () => {
  it('carries output and input, and holds input until there is a buffer', () => {
    const made = rig();
    const { model, driver, sinks, rooms } = made;
    driver.start();
    expect(driver.queues).toHaveLength(2);
    driver.submit(1, [text('hel'), text('lo')], []);
    expect(sinks[0]!.text).toBe('hello');
    expect(driver.result(1).written).toBe(0);
    model.receive(0, text('typed'));
    expect(rooms[0]).toBe(false);
    driver.submit(0, [], [3]);
    driver.submit(0, [], [8]);
    expect(driver.result(0)).toMatchObject({ written: 3, data: text('typ') });
    expect(driver.result(0).written).toBe(2);
    expect(rooms[0]).toBe(true);
  });

  it('stalls while the host takes nothing, and loses nothing', () => {
    const { driver, sinks, clock } = rig();
    driver.start();
    const [sink] = sinks;
    sink!.open = false;
    driver.submit(1, [text('abc')], []);
    driver.submit(1, [text('def')], []);
    clock.advance(5_000_000);
    expect(driver.take(1)).toBeNull();
    sink!.open = true;
    clock.advance(1_000_000);
    expect(sink!.text).toBe('abcdef');
    driver.result(1);
    driver.result(1);
  });

  it('puts out a bounded number of bytes at a time, and the others a moment later', () => {
    const { driver, sinks, clock } = rig();
    driver.start();
    const length = 200_000;
    const gpa = driver.ram.allocate(length);
    for (let i = 0; i < 3; i++) driver.queues[1]!.add([{ gpa, length, write: false }]);
    driver.transport.notify(1);
    const [sink] = sinks;
    expect(sink!.bytes).toHaveLength(262_144);
    expect(driver.take(1)).not.toBeNull();
    expect(driver.take(1)).toBeNull();
    clock.advance(1_000_000);
    expect(sink!.bytes).toHaveLength(524_288);
    clock.advance(1_000_000);
    expect(sink!.bytes).toHaveLength(3 * length);
    driver.result(1);
    driver.result(1);
  });

  it('tells its size by the configuration', () => {
    const { model, driver } = rig();
    driver.start();
    // Linux asks for the first size too only when it is told.
    expect(driver.transport.takeInterrupts().config).toBe(true);
    const before = driver.transport.generation();
    model.resize(132, 50);
    expect(driver.transport.takeInterrupts().config).toBe(true);
    expect(driver.transport.readConfig(0, 2)).toBe(132);
    expect(driver.transport.readConfig(2, 2)).toBe(50);
    expect(driver.transport.generation()).not.toBe(before);
  });

  it('puts out emergency characters without a queue', () => {
    const { driver, sinks } = rig();
    driver.transport.writeConfig(8, 4, 0x21);
    expect(sinks[0]!.text).toBe('!');
  });
});

describe('virtio-console with ports', () => {
  function open(names: readonly string[]) {
    const made = rig(names);
    const { driver } = made;
    driver.start();
    for (let count = 0; count < 16; count++) driver.add(2, [], [80]);
    driver.transport.notify(2);
    driver.submit(3, [control(0xffffffff, 0, 1)], []);
    return made;
  }

  it('adds them, names them and opens them', () => {
    const made = open(['log', 'agent']);
    const { driver } = made;
    expect(driver.queues).toHaveLength(8);
    expect(told(made)).toEqual(['0,1,1 ', '1,1,1 ', '2,1,1 ']);
    driver.submit(3, [control(0, 3, 1)], []);
    expect(told(made)).toEqual(['0,4,1 ', '0,5,0 80,0,25,0', '0,6,1 ']);
    driver.submit(3, [control(2, 3, 1)], []);
    expect(told(made)).toEqual(['2,7,1 agent', '2,6,1 ']);
  });

  it('carries each port apart, input once the guest has opened it', () => {
    const made = open(['log', 'agent']);
    const { driver, model, sinks, rooms } = made;
    driver.submit(7, [text('to agent')], []);
    expect(sinks.map((sink) => sink.text)).toEqual(['', '', 'to agent']);
    driver.submit(4, [], [8]);
    model.receive(1, text('x'));
    expect(driver.take(4)).toBeNull();
    expect(rooms[1]).toBe(false);
    driver.submit(3, [control(1, 6, 1)], []);
    expect(driver.result(4)).toMatchObject({ written: 1 });
    expect(rooms[1]).toBe(true);
  });

  it('tells a new size by a message', () => {
    const made = open(['log']);
    told(made);
    made.model.resize(100, 40);
    expect(told(made)).toEqual(['0,5,0 100,0,40,0']);
  });

  it('goes on with output that the host had not taken when it was saved', () => {
    const made = open(['log']);
    made.sinks[1]!.open = false;
    made.driver.submit(5, [text('kept')], []);
    const saved = made.device.snapshot();
    made.device.reset();
    made.sinks[1]!.open = true;
    made.device.restore(saved);
    made.clock.advance(2_000_000);
    expect(made.sinks[1]!.text).toBe('kept');
    made.driver.result(5);
  });
});

deviceKit(
  { describe, it },
  {
    name: 'virtio-console',
    make: (ports) => {
      const end = { name: 'a', output: ports.sink, room() {} };
      const model = consoleModel({ clock: ports.clock, ends: [end, end] });
      const device = mmioDevice(model, { base: 0xd0000000 })({
        dma: new FakeRam(65_536),
        clock: ports.clock,
        irq: ports.line(),
      });
      return { device, stimuli: [(bits) => model.receive(bits & 1, text(`${bits}`))] };
    },
  },
);
