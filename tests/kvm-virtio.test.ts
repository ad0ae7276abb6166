// Network, sockets and shares on KVM, each by a small guest's driver, with sockets and files of the
// host's behind the last two. Linux guests, which these need no less, do not run on every KVM.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { kvm, kvmBackend } from '@cloister/backend-kvm';
import { createVm, type VmPlugin } from '@cloister/core';
import { debugExit, pc } from '@cloister/core/devices';
import {
  batchOf,
  framesOf,
  type NetPort,
  virtioFs,
  virtioMmio,
  virtioNet,
  virtioVsock,
} from '@cloister/virtio';
import { hostShare, unixVsock } from '@cloister/virtio/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { VirtioGuest } from './lib/virtio-guest.js';

const probe = await kvmBackend().probe();
/** With several CPUs, notifications are doorbells in place of exits. */
const onKvm = test.skipIf(!probe.available).each([1, 2]);

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'cloister-kvm-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

/** Runs the guest to its end; what reads its memory behind that. */
async function run(cpus: number, guest: VirtioGuest, device: VmPlugin) {
  const vm = await createVm({ memory: '4M', cpus })
    .use(kvm(), pc(), debugExit(), virtioMmio(), device, guest.boot())
    .build();
  try {
    expect((await vm.run()).reason).toBe('debug-exit');
    const bytes = new Uint8Array(vm.memory.ramSize);
    vm.memory.read(0, bytes);
    return (gpa: number, length: number) => bytes.slice(gpa, gpa + length);
  } finally {
    await vm.dispose();
  }
}

const concat = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((p) => [...p]));
const text = (value: string) => new TextEncoder().encode(value);

onKvm('a frame goes out, another comes in; %i CPUs', async (cpus) => {
  const frame = (type: number, data: string) =>
    concat(new Uint8Array(12).fill(0x52), Uint8Array.of(0x88, type), text(data.padEnd(46)));
  const sent: Uint8Array[] = [];
  let port: NetPort;
  const backend = {
    kind: 'test',
    mtu: 1500,
    open(end: NetPort) {
      port = end;
    },
    send(batch: Uint8Array) {
      sent.push(...framesOf(batch));
      // Not before the guest waits for it.
      setTimeout(() => {
        port.sent(batch.length);
        port.receive(batchOf([frame(0xb6, 'answer')]));
      }, 20);
    },
    close() {},
  };
  const guest = new VirtioGuest(2);
  const [room] = guest.give(0, 2048) as [number];
  guest.give(1, concat(new Uint8Array(12), frame(0xb5, 'question')));
  guest.await(1, 1);
  guest.await(0, 1);
  const read = await run(cpus, guest, virtioNet({ backend: () => backend }));
  expect(sent).toEqual([frame(0xb5, 'question')]);
  expect(read(room + 12, 60)).toEqual(frame(0xb6, 'answer'));
});

/** A packet of the guest's from its port 1024 to the host's port 5000. */
function packet(op: number, data = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(44);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 3n, true);
  view.setBigUint64(8, 2n, true);
  [1024, 5000, data.length].forEach((value, index) => {
    view.setUint32(16 + 4 * index, value, true);
  });
  view.setUint16(28, 1, true);
  view.setUint16(30, op, true);
  view.setUint32(36, 4096, true);
  return concat(bytes, data);
}

const OP = { REQUEST: 1, RESPONSE: 2, RW: 5 };

onKvm('a guest connects to a socket of the host’s, which answers; %i CPUs', async (cpus) => {
  const heard: string[] = [];
  const server = createServer((socket) => {
    socket.on('data', (bytes) => {
      heard.push(bytes.toString());
      socket.write('pong');
    });
    socket.on('error', () => {});
  }).listen(join(directory, 'vsock.sock_5000'));
  const guest = new VirtioGuest(3);
  const rooms = [1, 2].map(() => guest.give(0, 4096)[0]!);
  guest.give(1, packet(OP.REQUEST));
  guest.await(0, 1);
  guest.give(1, packet(OP.RW, text('ping')));
  guest.await(0, 2);
  const read = await run(cpus, guest, virtioVsock({ host: unixVsock({ directory }) }));
  server.close();
  expect(heard).toEqual(['ping']);
  const op = (gpa: number) => new DataView(read(gpa, 44).buffer).getUint16(30, true);
  expect(rooms.map(op)).toEqual([OP.RESPONSE, OP.RW]);
  expect(read(rooms[1]! + 44, 4)).toEqual(text('pong'));
});

/** A FUSE request (Linux include/uapi/linux/fuse.h): numbers of 4 bytes behind the header. */
function fuse(opcode: number, unique: number, node: number, ...body: readonly number[]) {
  const words = [0, opcode, unique, 0, node, 0, 0, 0, 0, 0, ...body];
  words[0] = 4 * words.length;
  return new Uint8Array(Uint32Array.from(words).buffer);
}

onKvm('a guest looks up a file of a share; %i CPUs', async (cpus) => {
  writeFileSync(join(directory, 'hello'), 'x'.repeat(12_345));
  const name = new Uint32Array(text('hello\0\0\0').buffer);
  const guest = new VirtioGuest(2);
  // INIT of version 7.38; LOOKUP in the root.
  const init = guest.give(1, fuse(26, 1, 0, 7, 38, ...Array(14).fill(0)), 256)[1]!;
  guest.await(1, 1);
  const found = guest.give(1, fuse(1, 2, 1, ...name), 256)[1]!;
  guest.await(1, 2);
  const share = () => hostShare({ directory, readOnly: true });
  const read = await run(cpus, guest, virtioFs({ tag: 'share', share }));
  const words = (gpa: number) => new Int32Array(read(gpa, 256).buffer);
  expect([...words(init).subarray(1, 6)]).toEqual([0, 1, 0, 7, 38]);
  // Header of 16 bytes; node, generation and times; attributes: inode, size.
  const entry = words(found);
  expect([...entry.subarray(1, 4)]).toEqual([0, 2, 0]);
  expect(entry[(16 + 40 + 8) / 4]).toBe(12_345);
});
