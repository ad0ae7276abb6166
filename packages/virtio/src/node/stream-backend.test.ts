// A stream socket of the host's: frames both ways, a guest that takes none for a while, the end.
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { NetPort } from '../net/backend.js';
import { batchOf, framesOf } from '../net/frames.js';
import { StreamBackend } from './stream-backend.js';

let folder: string;
let server: Server;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloister-stream-'));
  server = createServer();
});

afterEach(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

/** A guest that takes frames while it has `room`, and gives batches back at once. */
class Port implements NetPort {
  readonly frames: { readonly length: number; readonly sum: number }[] = [];
  room = true;
  refused = 0;
  sentBytes = 0;
  link = true;
  goOn: () => void = () => {};

  receive(batch: Uint8Array, release?: (batch: Uint8Array) => void): boolean {
    if (!this.room) {
      this.refused++;
      return false;
    }
    for (const frame of framesOf(batch)) {
      this.frames.push({ length: frame.length, sum: sumOf(frame) });
    }
    release?.(batch);
    return true;
  }

  onRoom(listener: () => void): void {
    this.goOn = listener;
  }

  sent(bytes: number): void {
    this.sentBytes += bytes;
  }

  setLink(up: boolean): void {
    this.link = up;
  }
}

const sumOf = (bytes: Uint8Array) => bytes.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 0);

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

async function pair(port: Port): Promise<{ stream: StreamBackend; peer: Socket }> {
  const path = join(folder, 'socket');
  server.listen(path);
  await once(server, 'listening');
  const peer = once(server, 'connection');
  const stream = await StreamBackend.connect(path, port);
  return { stream: stream!, peer: (await peer)[0] as Socket };
}

it('is null where nobody serves, and the link stays', async () => {
  const port = new Port();
  expect(await StreamBackend.connect(join(folder, 'socket'), port)).toBeNull();
  expect(port.link).toBe(true);
});

it('brings frames whole and in order, over a time in which the guest takes none', async () => {
  const port = new Port();
  const { stream, peer } = await pair(port);
  const frames = Array.from({ length: 60 }, (_, index) =>
    Uint8Array.from({ length: 60 + index * 1000 }, (_each, at) => at * index + (at >> 8)),
  );
  const expected = frames.map((frame) => ({ length: frame.length, sum: sumOf(frame) }));
  const bytes = batchOf(frames);
  port.room = false;
  peer.write(bytes.subarray(0, 1_000_000));
  await until(() => port.refused > 0);
  const { refused } = port;
  await new Promise((resolve) => setTimeout(resolve, 20));
  // The socket is not read meanwhile.
  expect(port.refused).toBe(refused);
  port.goOn();
  expect(port.refused).toBe(refused + 1);
  port.room = true;
  port.goOn();
  peer.write(bytes.subarray(1_000_000));
  await until(() => port.frames.length === frames.length);
  expect(port.frames).toEqual(expected);
  stream.close();
});

it('sends, and says how much went on', async () => {
  const port = new Port();
  const { stream, peer } = await pair(port);
  const got: Uint8Array[] = [];
  peer.on('data', (piece: Uint8Array) => void got.push(piece));
  const batch = batchOf([Uint8Array.of(1, 2, 3)]);
  stream.send(batch);
  await until(() => got.length > 0 && port.sentBytes > 0);
  expect([...got[0]!]).toEqual([...batch]);
  expect(port.sentBytes).toBe(batch.length);
  stream.close();
});

it('takes the link down when the other end goes, and when the stream is out of step', async () => {
  const port = new Port();
  const { peer } = await pair(port);
  peer.end();
  await until(() => !port.link);
  server.close();
  server = createServer();
  const other = new Port();
  const second = await pair(other);
  second.peer.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff));
  await until(() => !other.link);
});
