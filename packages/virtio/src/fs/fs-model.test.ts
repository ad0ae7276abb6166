// The file system device: requests to a share and back, bounds, resets, saving, any queue.
import { deviceKit, FakeClock } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { STATUS_NEEDS_RESET } from '../device/features.js';
import { DirectInput } from '../testing/direct-input.js';
import { FakeRam } from '../testing/fake-ram.js';
import { fuseBody, fuseRequest, INIT_BODY } from '../testing/fuse-client.js';
import { mmioRig } from '../testing/mmio-driver.js';
import { mmioDevice } from '../transport/mmio.js';
import { virtioFs } from './fs.js';
import { fsModel } from './fs-model.js';
import { ERRNO, OP, reply } from './fuse.js';
import { NO_SHARE, type ShareServer } from './share.js';

const REQUEST = fuseRequest(OP.GETATTR, 1, fuseBody(0, 0, 0n), 42);

/** A share that answers with the request's opcode, when it is let. */
function rig(answer?: (request: Uint8Array, room: number) => Uint8Array) {
  const asked: { opcode: number; room: number }[] = [];
  let resets = 0;
  const share: ShareServer = {
    ...NO_SHARE,
    async answer(request, room) {
      asked.push({ opcode: request[4]!, room });
      return answer?.(request, room) ?? reply(42n, 0, Uint8Array.of(request[4]!));
    },
    reset: () => void resets++,
    save: () => ({ asked: asked.length }),
  };
  const clock = new FakeClock();
  const model = fsModel({ tag: 'files', queues: 2 }, { share, input: new DirectInput(), clock });
  const made = mmioRig(model, {}, { clock, ram: new FakeRam(1 << 23) });
  made.driver.start();
  const settle = async () => {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    clock.advance(1e6);
  };
  return { ...made, asked, settle, clock, resets: () => resets };
}

describe('virtio-fs', () => {
  it('tells its tag and its queues', () => {
    const { driver } = rig();
    const bytes = Array.from({ length: 40 }, (_, at) => driver.transport.readConfig(at, 1));
    expect(String.fromCharCode(...bytes.slice(0, 7))).toBe('files\0\0');
    expect(bytes.slice(36)).toEqual([2, 0, 0, 0]);
    expect(driver.queues).toHaveLength(3);
  });

  it('passes requests of each queue on, and the replies back, after the latency', async () => {
    const { driver, asked, settle } = rig();
    driver.submit(2, [REQUEST], [16, 8]);
    expect(driver.take(2)).toBeNull();
    await settle();
    const result = driver.result(2);
    expect(result.written).toBe(17);
    expect(result.data[16]).toBe(OP.GETATTR);
    driver.submit(0, [fuseRequest(OP.FORGET, 1, fuseBody(1n))], []);
    await settle();
    expect(driver.result(0).written).toBe(0);
    expect(asked).toEqual([
      { opcode: OP.GETATTR, room: 24 },
      { opcode: OP.FORGET, room: 0 },
    ]);
  });

  it('answers EIO where there is no reply, or one that does not fit', async () => {
    for (const size of [0, 15, 100]) {
      const { driver, settle } = rig(() => new Uint8Array(size));
      driver.submit(1, [REQUEST], [16]);
      await settle();
      const { data, written } = driver.result(1);
      expect(written).toBe(16);
      expect(new DataView(data.buffer).getInt32(4, true)).toBe(-ERRNO.EIO);
    }
  });

  it.each([
    ['a request without a header', [new Uint8Array(39)], [16]],
    ['room that a reply’s header does not fit', [REQUEST], [15]],
    ['a request that is longer than any', [new Uint8Array(2 ** 20 + 8193)], [16]],
  ])('asks for a reset on %s', (_, out, room) => {
    const { driver, asked } = rig();
    driver.submit(1, out, room);
    expect(driver.transport.status() & STATUS_NEEDS_RESET).not.toBe(0);
    expect(asked).toEqual([]);
  });

  it('forgets requests at a reset, and tells the share', async () => {
    const { driver, settle, resets } = rig();
    driver.submit(1, [REQUEST], [64]);
    const before = resets();
    driver.start();
    expect(resets()).toBeGreaterThan(before);
    await settle();
    expect(driver.take(1)).toBeNull();
  });

  it('is saved with requests under way, and answers them once restored', async () => {
    const { driver, device, settle, asked } = rig();
    driver.submit(1, [REQUEST], [64]);
    await device.drain();
    const saved = device.snapshot();
    device.reset();
    device.restore(saved);
    expect(device.snapshot()).toEqual(saved);
    await settle();
    expect(driver.result(1).written).toBe(17);
    expect(asked).toHaveLength(1);
  });

  it('leaves out what a damaged record has for requests', async () => {
    const made = rig();
    made.driver.submit(1, [REQUEST], [64]);
    await made.device.drain();
    const saved = structuredClone(made.device.snapshot()) as unknown as {
      state: { controller: { model: { inFlight: { bytes: Uint8Array }[]; waiting: object[] } } };
    };
    const { model } = saved.state.controller;
    model.inFlight[0]!.bytes = new Uint8Array(3);
    const segment = (length: number) => [{ gpa: 0, length }];
    const chain = { id: 0, descriptors: 1, readable: segment(2 ** 32), writable: segment(64) };
    model.waiting.push(
      { queue: 1, chain },
      { queue: 1, chain: { ...chain, readable: segment(8) } },
    );
    made.device.restore(saved as never);
    await made.settle();
    expect(made.failures).toEqual([]);
    expect(made.driver.take(1)).toBeNull();
    made.driver.submit(1, [REQUEST], [64]);
    await made.settle();
    expect(made.driver.result(1).written).toBe(17);
  });

  it('refuses a tag that is none', () => {
    const share = () => NO_SHARE;
    for (const tag of ['', 'x'.repeat(37), 'a\0b']) {
      expect(() => virtioFs({ tag, share })).toThrow('is no tag of a share');
    }
    expect(() => virtioFs({ tag: 'x', queues: 0, share })).toThrow('no number of queues');
  });
});

deviceKit(
  { describe, it },
  {
    name: 'virtio-fs',
    make: (ports) => {
      const { clock } = ports;
      const input = new DirectInput();
      const model = fsModel({ tag: 'files' }, { share: NO_SHARE, input, clock });
      const dma = new FakeRam(65_536);
      return { device: mmioDevice(model, { base: 0xd0000000 })({ dma, clock, irq: ports.line() }) };
    },
  },
);

it('INIT has the size that Linux sends', () => expect(INIT_BODY).toHaveLength(64));
