// How soon a guest that halts on KVM sees what comes in by a socket: a byte is written to it, the
// guest's serial interrupt wakes it, it reads the byte and sends it back. Milliseconds from the
// write to the answer, beside the socket's own way there and back. The same for a guest that
// looks for the byte without end, and for one that halts while another CPU runs.
import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import { kvm, kvmBackend } from '@cloister/backend-kvm';
import { createVm } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { pc, serial } from '@cloister/core/devices';
import { median } from './statistics.mjs';

export const name = 'kvm-wake';
export const description = 'milliseconds from a byte on a socket to the answer of a halted guest';

const COUNT = 200;
/** Between two bytes: long enough for the guest to halt. */
const REST_MS = 25;

// Real mode. The PIC's IRQs from 0x20, IRQ 4 alone unmasked; COM1 with its receive interrupt on;
// then halted. The handler reads the byte and writes it back.
const OUTS = [
  [0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0x21, 0xef],
  [0xa0, 0x11], [0xa1, 0x28], [0xa1, 2], [0xa1, 1], [0xa1, 0xff],
]; // biome-ignore format: port and value
const COM1 = [[1, 1], [4, 0x0b]]; // biome-ignore format: register and value
const VECTOR = 0x24;
const HANDLER = 0x7d00;
/** Wakes the other CPUs at 0x8000, by x2APIC. */
const dword = (word) => [0, 8, 16, 24].map((bit) => (word >>> bit) & 0xff);
const wrmsr = (index, value) => [
  ...[0x66, 0xb9, ...dword(index), 0x66, 0xb8, ...dword(value), 0x0f, 0x30],
];
const WAKE = [
  ...[0x66, 0xb9, 0x1b, 0, 0, 0, 0x0f, 0x32, 0x66, 0x0d, 0, 0x0c, 0, 0, 0x0f, 0x30],
  ...[0x66, 0x31, 0xd2, ...wrmsr(0x830, 0xc4500), ...wrmsr(0x830, 0xc4608)],
];
const SPIN = [0xeb, 0xfe];
/** mov dx, 0x3fd; in al, dx; test al, 1; jz back; mov dx, 0x3f8; in al, dx; out dx, al; again */
const LOOK = [...[0xba, 0xfd, 3, 0xec, 0xa8, 1, 0x74, 0xfb, 0xba, 0xf8, 3, 0xec, 0xee, 0xeb, 0xf1]];
const HALT = [
  0xfa, 0x31, 0xc0, 0x8e, 0xd8, // cli; xor ax, ax; mov ds, ax
  0xc7, 0x06, 4 * VECTOR, 0, HANDLER & 0xff, HANDLER >> 8, // mov word [4 * vector], handler
  0xc7, 0x06, 4 * VECTOR + 2, 0, 0, 0, // mov word [4 * vector + 2], 0
  ...OUTS.flatMap(([port, value]) => [0xb0, value, 0xe6, port]),
  ...COM1.flatMap(([register, value]) => [0xba, 0xf8 + register, 3, 0xb0, value, 0xee]),
  0xfb, 0xf4, 0xeb, 0xfd, // sti; hlt; jmp
]; // biome-ignore format: instructions
const ANSWER = [0xba, 0xf8, 3, 0xec, 0xee, 0xb0, 0x20, 0xe6, 0x20, 0xcf];

export async function run(report) {
  const probe = await kvmBackend().probe();
  if (!probe.available) return report.note(`not measured: ${probe.reason}`);
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = createConnection({ port: server.address().port, noDelay: true });
  const [peer] = await once(server, 'connection');
  try {
    const echo = (bytes) => void peer.write(bytes);
    peer.on('data', echo);
    report.row({ what: 'socket alone', ...(await measure(client)) });
    peer.off('data', echo);
    const row = async (what, code, cpus) =>
      report.row({ what, ...(await withGuest(peer, client, code, cpus)) });
    await row('by a halted guest', HALT, 1);
    await row('by a guest that looks for it', LOOK, 1);
    await row('by a halted CPU beside another', [...WAKE, ...HALT], 2);
  } finally {
    client.destroy();
    peer.destroy();
    server.close();
  }
}

async function withGuest(peer, client, code, cpus) {
  const image = new Uint8Array(0x410);
  image.set(code);
  image.set(ANSWER, HANDLER - 0x7c00);
  image.set(SPIN, 0x400);
  const input = {
    live: true,
    connect: (port) => {
      port.setLive(true);
      peer.removeAllListeners('data');
      peer.on('data', (bytes) => void port.push(bytes));
    },
  };
  const output = {
    put(byte) {
      peer.write(Uint8Array.of(byte));
      return true;
    },
  };
  const vm = await createVm({ memory: '1M', cpus })
    .use(kvm(), pc(), serial({ input, output }), boot(flat({ image })))
    .build();
  try {
    await vm.start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    return await measure(client);
  } finally {
    await vm.dispose();
  }
}

async function measure(client) {
  const times = [];
  for (let i = 0; i < COUNT; i++) {
    await new Promise((resolve) => setTimeout(resolve, REST_MS));
    const since = performance.now();
    client.write(Uint8Array.of(i & 0xff));
    await once(client, 'data');
    times.push(performance.now() - since);
  }
  times.sort((a, b) => a - b);
  return { 'median ms': median(times), '95 % ms': times[Math.floor(COUNT * 0.95)] };
}
