// passt from the system's package: an answer over its socket, its end with ours, and what is said
// when it cannot be started. (What a guest does with it is in tests/net.test.ts.)
import { ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { describe, expect, it, vi } from 'vitest';
import type { NetPort } from '../net/backend.js';
import { batchOf, framesOf } from '../net/frames.js';
import { passt } from './passt.js';

const has = spawnSync('passt', ['--version']).error === undefined;

class Port implements NetPort {
  readonly frames: Uint8Array[] = [];
  sentBytes = 0;
  link = true;
  changed: () => void = () => {};

  receive(batch: Uint8Array): boolean {
    this.frames.push(...framesOf(batch));
    this.changed();
    return true;
  }

  onRoom(): void {}

  sent(bytes: number): void {
    this.sentBytes += bytes;
  }

  setLink(up: boolean): void {
    this.link = up;
    this.changed();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.changed = resolve;
      });
    }
  }
}

/** A DHCP discovery: the least that passt answers on any host. */
function discovery(): Uint8Array {
  const dhcp = new Uint8Array(244);
  dhcp.set([1, 1, 6, 0, 1, 2, 3, 4]);
  dhcp.set([0x52, 0x54, 0, 1, 2, 3], 28);
  dhcp.set([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 0xff], 236);
  const frame = new Uint8Array(14 + 20 + 8 + dhcp.length);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, 6);
  frame.set([0x52, 0x54, 0, 1, 2, 3, 0x08, 0x00, 0x45, 0], 6);
  view.setUint16(16, 28 + dhcp.length);
  frame.set([64, 17], 22);
  frame.fill(0xff, 30, 34);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  view.setUint16(24, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
  view.setUint16(34, 68);
  view.setUint16(36, 67);
  view.setUint16(38, 8 + dhcp.length);
  frame.set(dhcp, 42);
  return frame;
}

const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('cloister-passt-'));

describe.skipIf(!has)(`passt${has ? '' : ' (skipped: it is not installed)'}`, () => {
  it('answers, leaves nothing behind, and ends when it is closed', async () => {
    const backend = passt();
    const port = new Port();
    const before = folders();
    await backend.open(port);
    expect(folders().filter((name) => !before.includes(name))).toEqual([]);
    const batch = batchOf([discovery()]);
    backend.send(batch);
    await port.until(() => port.frames.length > 0);
    // From the server's port to the client's.
    expect([...port.frames[0]!.subarray(34, 38)]).toEqual([0, 67, 0, 68]);
    expect(port.sentBytes).toBe(batch.length);
    await backend.close();
  });

  it('says what passt says when it cannot serve', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const backend = passt({ tcp: [`127.0.0.1/${port}:80`] });
    await expect(backend.open(new Port())).rejects.toThrow(/passt ended with status 1.*port/i);
    await backend.close();
    server.close();
  });
});

it('says that a program is not installed', async () => {
  const backend = passt({ program: 'cloister-has-no-such-program' });
  const failure = backend.open(new Port());
  await expect(failure).rejects.toMatchObject({ code: 'unavailable' });
  await expect(failure).rejects.toThrow('is not installed');
  await backend.close();
});

it('says that no process can be started, and ends none of its host’s', async () => {
  const prototype = ChildProcess.prototype as unknown as { spawn(): number };
  // As Node does without a descriptor left: there are no pipes, and the error comes later.
  const spawning = vi.spyOn(prototype, 'spawn').mockImplementationOnce(function (this: unknown) {
    const error = Object.assign(new Error('spawn passt EMFILE'), { code: 'EMFILE' });
    process.nextTick(() => (this as ChildProcess).emit('error', error));
    return -24;
  });
  const backend = passt();
  await expect(backend.open(new Port())).rejects.toMatchObject({ code: 'unavailable' });
  await backend.close();
  spawning.mockRestore();
});
