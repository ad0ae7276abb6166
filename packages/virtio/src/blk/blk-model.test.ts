// The block device: every request type, its errors and bounds, failures of the host, saving.
import { FakeClock } from '@cloister/core/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { STATUS_NEEDS_RESET } from '../device/features.js';
import { DirectInput } from '../testing/direct-input.js';
import { FakeRam } from '../testing/fake-ram.js';
import { type MockRig, mmioRig } from '../testing/mmio-driver.js';
import { BLK_F_FLUSH, BLK_F_RO, type BlkOptions, blkModel } from './blk-model.js';
import { type Disk, memoryDisk } from './disk.js';

const SIZE = 1 << 16;

interface RigOptions extends BlkOptions {
  readonly disk?: Disk;
  readonly ram?: FakeRam;
  readonly recording?: boolean;
}

function rig(options: RigOptions = {}) {
  const contents = Uint8Array.from({ length: SIZE }, (_, i) => (i >> 9) + i);
  const { disk = memoryDisk(contents), ram = new FakeRam(1 << 22) } = options;
  const clock = new FakeClock();
  const input = new DirectInput();
  input.recording = options.recording ?? false;
  const model = blkModel({ latency: 1000, ...options }, { disk, input, clock });
  return { contents, model, ...mmioRig(model, {}, { clock, ram }) };
}

const latin1 = (bytes: Uint8Array) => new TextDecoder('latin1').decode(bytes);

/** A disk that other threads of the host are at. */
function slowDisk(contents: Uint8Array): Disk {
  const { readNow: _readNow, writeNow: _writeNow, ...disk } = memoryDisk(contents);
  return disk;
}

async function settle({ clock }: { clock: FakeClock }): Promise<void> {
  // What could not be read when it was due is then left to the host.
  for (const time of [1e10, 0]) {
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    clock.advance(time);
  }
}

function header(type: number, sector: number | bigint = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return bytes;
}

function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return bytes;
}

/** Submits a request and gives the status and the data before it. */
async function ask(made: MockRig, out: Uint8Array[], room: number[] = []) {
  made.driver.submit(0, out, [...room, 1]);
  await settle(made);
  const { data, written } = made.driver.result(0);
  return { status: data.at(-1), data: data.slice(0, -1), written };
}

const [OK, IOERR, UNSUPP] = [0, 1, 2];

describe('virtio-blk', () => {
  it('tells capacity, segments and block size', () => {
    const { driver } = rig({ queues: 3 });
    const { transport } = driver;
    expect(transport.readConfig(0, 4)).toBe(SIZE / 512);
    expect(transport.readConfig(12, 4)).toBe(254);
    expect(transport.readConfig(20, 4)).toBe(512);
    expect(transport.readConfig(34, 2)).toBe(3);
    driver.start();
    expect(driver.queues).toHaveLength(3);
  });

  it('reads and writes, however the driver cuts the buffers', async () => {
    for (const packed of [false, true]) {
      const made = rig();
      made.driver.start({ packed });
      const data = Uint8Array.from({ length: 1024 }, (_, i) => i * 7);
      const whole = [...header(1, 4), ...data];
      const cut = [whole.slice(0, 5), whole.slice(5, 700), whole.slice(700)];
      const written = await ask(
        made,
        cut.map((part) => Uint8Array.from(part)),
      );
      expect(written).toMatchObject({ status: OK, written: 1 });
      expect(made.contents.slice(2048, 3072)).toEqual(data);
      const read = await ask(made, [header(0, 3)], [512, 100, 924]);
      expect(read.status).toBe(OK);
      expect(read.written).toBe(1537);
      expect(read.data).toEqual(made.contents.slice(1536, 3072));
    }
  });

  it('answers no sooner than its latency', async () => {
    const made = rig();
    made.driver.start();
    made.driver.submit(0, [header(0)], [512, 1]);
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
    made.clock.advance(999);
    expect(made.driver.take(0)).toBeNull();
    made.clock.advance(1);
    expect(made.driver.take(0)).not.toBeNull();
  });

  it('refuses what lies outside, odd lengths and unknown types', async () => {
    const made = rig();
    made.driver.start();
    const sectors = SIZE / 512;
    expect((await ask(made, [header(0, sectors)], [512])).status).toBe(IOERR);
    expect((await ask(made, [header(0, sectors - 1)], [1024])).status).toBe(IOERR);
    expect((await ask(made, [header(0, (1n << 64n) - 1n)], [512])).status).toBe(IOERR);
    expect((await ask(made, [header(0)], [511])).status).toBe(IOERR);
    expect((await ask(made, [header(1, sectors), new Uint8Array(512)])).status).toBe(IOERR);
    expect((await ask(made, [header(99)])).status).toBe(UNSUPP);
    expect(made.failures).toEqual([]);
  });

  it('flushes, tells its serial, discards and zeroes', async () => {
    const calls: string[] = [];
    const memory = memoryDisk(new Uint8Array(SIZE).fill(7));
    const disk: Disk = {
      ...memory,
      flush: async () => void calls.push('flush'),
      discard: async (offset, length) => void calls.push(`discard ${offset} ${length}`),
      writeZeroes: async (offset, length) => void calls.push(`zero ${offset} ${length}`),
    };
    const made = rig({ disk, serial: 'DISK-1' });
    made.driver.start();
    expect((await ask(made, [header(4)])).status).toBe(OK);
    const id = await ask(made, [header(8)], [20]);
    expect(new TextDecoder().decode(id.data).replace(/\0+$/, '')).toBe('DISK-1');
    expect((await ask(made, [header(11), range(2, 3)])).status).toBe(OK);
    expect((await ask(made, [header(13), range(4, 1, 1), range(9, 2)])).status).toBe(OK);
    expect(calls).toEqual(['flush', 'discard 1024 1536', 'zero 2048 512', 'zero 4608 1024']);
    expect((await ask(made, [header(11), range(0, 1, 1)])).status).toBe(UNSUPP);
    expect((await ask(made, [header(13), range(0, 1, 2)])).status).toBe(UNSUPP);
    expect((await ask(made, [header(13), range(120, 9)])).status).toBe(IOERR);
    expect((await ask(made, [header(13)])).status).toBe(IOERR);
  });

  it('offers no writing on a read-only disk, and refuses it', async () => {
    const made = rig({ disk: memoryDisk(new Uint8Array(SIZE), { readOnly: true }) });
    const features = made.driver.transport.deviceFeatures();
    expect(features.has(BLK_F_RO)).toBe(true);
    expect(features.has(BLK_F_FLUSH)).toBe(false);
    made.driver.start();
    expect((await ask(made, [header(1), new Uint8Array(512)])).status).toBe(IOERR);
    expect((await ask(made, [header(13), range(0, 1)])).status).toBe(IOERR);
  });

  it('reports errors of the host as I/O errors', async () => {
    const bad = () => {
      throw new Error('bad sector');
    };
    const rejecting: Disk = {
      ...slowDisk(new Uint8Array(SIZE)),
      read: () => Promise.reject(new Error('bad sector')),
      write: () => Promise.reject(new Error('bad sector')),
      flush: () => Promise.reject(new Error('disk full')),
    };
    for (const disk of [rejecting, { ...rejecting, readNow: bad, writeNow: bad }]) {
      const made = rig({ disk });
      made.driver.start();
      expect(await ask(made, [header(0)], [512])).toMatchObject({ status: IOERR, written: 0 });
      expect((await ask(made, [header(1), new Uint8Array(512)])).status).toBe(IOERR);
      expect((await ask(made, [header(4)])).status).toBe(IOERR);
    }
  });

  it('answers the same at once, by other threads, recorded, and without lent memory', async () => {
    const request = fc.record({
      write: fc.boolean(),
      sector: fc.integer({ min: 0, max: SIZE / 512 + 1 }),
      parts: fc.array(fc.constantFrom(512, 100, 412, 1024), { minLength: 1, maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(request, { maxLength: 8 }), async (requests) => {
        const copying = new FakeRam(1 << 22);
        copying.withSpans = () => false;
        const contents = Uint8Array.from({ length: SIZE }, (_, i) => (i >> 9) + i);
        const slow = rig({ disk: slowDisk(contents) });
        const rigs = [rig(), rig({ recording: true }), rig({ ram: copying }), slow];
        const answers = await Promise.all(
          rigs.map(async (made) => {
            made.driver.start();
            const found: unknown[] = [];
            for (const [i, { write, sector, parts }] of requests.entries()) {
              const data = parts.map((length) => new Uint8Array(length).fill(i + 1));
              const answer = write
                ? await ask(made, [header(1, sector), ...data])
                : await ask(made, [header(0, sector)], parts);
              found.push(answer, made.clock.now());
            }
            return { found, failures: made.failures };
          }),
        );
        for (const each of answers) expect(each).toEqual(answers[0]);
        // Comparing arrays element by element takes long.
        const [direct, recorded, copied] = rigs.map((made) => latin1(made.contents));
        expect([direct, recorded, copied]).toEqual(Array(3).fill(latin1(contents)));
      }),
      { numRuns: 10 },
    );
  });

  it('takes from the host what a saved VM had still to read', async () => {
    const made = rig();
    made.driver.start();
    made.driver.submit(0, [header(0, 5)], [512, 1]);
    const saved = made.device.snapshot();
    const clock = new FakeClock(made.clock.now());
    const ports = { disk: slowDisk(made.contents), input: new DirectInput(), clock };
    const other = mmioRig(blkModel({ latency: 1000 }, ports), {}, { clock, ram: made.ram });
    other.device.restore(saved);
    clock.advance(1000);
    await settle({ clock });
    const { data } = made.driver.result(0);
    expect(data).toEqual(Uint8Array.of(...made.contents.slice(2560, 3072), OK));
    expect(other.failures).toEqual([]);
  });

  it('asks for a reset when header or status are missing, and works after it', async () => {
    for (const [out, room] of [
      [[new Uint8Array(15)], [1]],
      [[header(4)], []],
    ] as const) {
      const made = rig();
      made.driver.start();
      made.driver.submit(0, out, room);
      expect(made.driver.transport.status() & STATUS_NEEDS_RESET).not.toBe(0);
      made.driver.start();
      expect((await ask(made, [header(4)])).status).toBe(OK);
    }
  });

  it('keeps little under way: what would be too much waits', async () => {
    const ram = new FakeRam(1 << 26);
    let most = 0;
    let now = 0;
    const disk: Disk = {
      ...slowDisk(new Uint8Array(0)),
      size: 2 ** 40,
      async read(_offset, { length }) {
        most = Math.max(most, (now += length));
        await Promise.resolve();
        now -= length;
      },
    };
    const made = rig({ disk, ram });
    made.driver.start();
    // One buffer for all: the device may not mind.
    const gpa = ram.allocate(20 << 20);
    const head = ram.place(header(0));
    const [queue] = made.driver.queues;
    for (let i = 0; i < 6; i++) {
      queue!.add([
        { gpa: head, length: 16, write: false },
        { gpa, length: 20 << 20, write: true },
        { gpa, length: 1, write: true },
      ]);
    }
    made.driver.transport.notify(0);
    for (let round = 0; round < 8; round++) await settle(made);
    let answers = 0;
    while (made.driver.take(0) !== null) answers++;
    expect(answers).toBe(6);
    expect(most).toBeLessThanOrEqual(64 << 20);
  });

  it('copies nothing of what a request has no use for', async () => {
    const made = rig();
    made.driver.start();
    let longest = 0;
    made.ram.onRead = (_gpa, length) => (longest = Math.max(longest, length));
    expect((await ask(made, [header(4), new Uint8Array(1 << 20)])).status).toBe(OK);
    expect((await ask(made, [header(99), new Uint8Array(1 << 20)])).status).toBe(UNSUPP);
    expect(longest).toBe(16);
  });

  it('limits the rate', async () => {
    const made = rig({ rateLimit: { bytesPerSecond: 512_000, burst: 1_000_000 } });
    made.driver.start();
    for (let i = 0; i < 11; i++) made.driver.submit(0, [header(0)], [512, 1]);
    for (let turn = 0; turn < 50; turn++) await Promise.resolve();
    made.clock.advance(5_000_000);
    let answers = 0;
    while (made.driver.take(0) !== null) answers++;
    expect(answers).toBe(5);
  });

  it('counts zeroes towards the rate by what they cover', async () => {
    const made = rig({ rateLimit: { bytesPerSecond: 512_000, burst: 1_000_000 } });
    made.driver.start();
    made.driver.submit(0, [header(13), range(0, 100)], [1]);
    for (let turn = 0; turn < 50; turn++) await Promise.resolve();
    made.clock.advance(98_000_000);
    expect(made.driver.take(0)).toBeNull();
    made.clock.advance(2_000_000);
    expect(made.driver.take(0)).not.toBeNull();
  });

  it('goes on with what was under way when it was saved', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(100), { maxLength: 12 }),
        fc.nat(1500),
        async (sectors, at) => {
          const made = rig();
          made.driver.start();
          const expected = sectors.map((sector, i) => {
            const write = i % 3 === 0;
            const data = new Uint8Array(512).fill(sector);
            made.driver.submit(0, write ? [header(1, sector), data] : [header(0, sector)], [
              ...(write ? [] : [512]),
              1,
            ]);
            return made.driver.queues.length;
          });
          await made.device.drain();
          made.clock.advance(at);
          const saved = made.device.snapshot();
          const disk = memoryDisk(made.contents);
          const clock = new FakeClock(made.clock.now());
          const model = blkModel({ latency: 1000 }, { disk, input: new DirectInput(), clock });
          const other = mmioRig(model, {}, { clock, ram: made.ram });
          other.device.restore(saved);
          expect(other.device.snapshot()).toEqual(saved);
          for (let turn = 0; turn < 20; turn++) await Promise.resolve();
          clock.advance(2000);
          let answers = 0;
          while (made.driver.take(0) !== null) answers++;
          expect(answers).toBe(expected.length);
          expect(other.failures).toEqual([]);
        },
      ),
      { numRuns: 12 },
    );
  });
});
