// The virtio kit against the devices of this package.
import { FakeRandom, FakeSink } from '@cloister/core/testing';
import { describe, it } from 'vitest';
import { balloonModel } from '../balloon/balloon-model.js';
import { blkModel } from '../blk/blk-model.js';
import { memoryDisk } from '../blk/disk.js';
import { consoleModel } from '../console/console-model.js';
import { fsModel } from '../fs/fs-model.js';
import { OP, reply } from '../fs/fuse.js';
import { NO_SHARE } from '../fs/share.js';
import { batchOf } from '../net/frames.js';
import { CONTROL, type NetModel, netModel, RECEIVE, TRANSMIT } from '../net/net-model.js';
import { rngModel } from '../rng/rng-model.js';
import { NO_HOST } from '../vsock/vsock-host.js';
import { vsockModel } from '../vsock/vsock-model.js';
import * as P from '../vsock/vsock-packet.js';
import { DirectInput } from './direct-input.js';
import { EchoModel } from './echo-model.js';
import { fuseRequest, INIT_BODY } from './fuse-client.js';
import type { VirtioKitPorts } from './kit-case.js';
import { virtioKit } from './virtio-kit.js';

for (const transport of ['mmio', 'pci'] as const) {
  virtioKit(
    { describe, it },
    {
      name: 'echo',
      transport,
      make: () => new EchoModel(2, 16) as never,
      request: () => ({ queue: 1, out: [Uint8Array.of(1, 2, 3)], room: [5, 3] }),
    },
  );
}

virtioKit(
  { describe, it },
  {
    name: 'rng',
    make: () => rngModel(new FakeRandom()) as never,
    request: () => ({ queue: 0, out: [], room: [16, 20] }),
  },
);

virtioKit(
  { describe, it },
  {
    name: 'balloon',
    make: ({ ram }) => balloonModel({ discard: (gpa, length) => ram.covers(gpa, length) }) as never,
    // Page 3.
    request: () => ({ queue: 0, out: [Uint8Array.of(3, 0, 0, 0)], room: [] }),
  },
);

virtioKit(
  { describe, it },
  {
    name: 'console',
    make: ({ clock }) => {
      const end = { name: 'port', output: new FakeSink(), room() {} };
      return consoleModel({ clock, ends: [end, end] }) as never;
    },
    request: () => ({ queue: 5, out: [new TextEncoder().encode('hello')], room: [] }),
  },
);

/** The header of a read: type 0, sector 1. */
const READ = new Uint8Array(16).fill(1, 8, 9);

/** Host work of promises only: a few turns, then the latency. */
async function settle({ clock }: VirtioKitPorts): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
  clock.advance(1e6);
}

virtioKit(
  { describe, it },
  {
    name: 'blk',
    make: ({ clock }) => {
      const disk = memoryDisk(new Uint8Array(8192).fill(3));
      return blkModel({ queues: 2 }, { disk, input: new DirectInput(), clock }) as never;
    },
    request: () => ({
      queue: 1,
      out: [READ],
      room: [1024, 1],
    }),
    settle,
  },
);

const NET_MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const FRAME = new Uint8Array(64).fill(2);

for (const transport of ['mmio', 'pci'] as const) {
  let net: NetModel;
  const make = ({ clock }: VirtioKitPorts) => {
    net = netModel({ mac: NET_MAC }, { clock, send() {}, room() {}, restored() {} });
    return net as never;
  };
  virtioKit(
    { describe, it },
    {
      name: 'net sending',
      transport,
      make,
      request: () => ({ queue: TRANSMIT, out: [new Uint8Array(12), FRAME], room: [] }),
    },
  );
  virtioKit(
    { describe, it },
    {
      name: 'net receiving',
      transport,
      make,
      request: () => ({ queue: RECEIVE, out: [], room: [30, 100] }),
      settle: async () => net.receive(batchOf([FRAME])),
    },
  );
  virtioKit(
    { describe, it },
    {
      name: 'net commands',
      transport,
      make,
      request: () => ({ queue: CONTROL, out: [Uint8Array.of(0, 0), Uint8Array.of(1)], room: [1] }),
    },
  );
}

/** The end of a connection that is not there. */
const PACKET = P.encodeHeader({
  sourceCid: 3n,
  destinationCid: BigInt(P.CID_HOST),
  sourcePort: 1,
  destinationPort: 2,
  length: 0,
  type: P.TYPE_STREAM,
  op: P.OP_RST,
  flags: 0,
  bufAlloc: 0,
  fwdCnt: 0,
});

for (const transport of ['mmio', 'pci'] as const) {
  virtioKit(
    { describe, it },
    {
      name: 'vsock',
      transport,
      make: ({ clock }) => vsockModel(3, { clock, host: NO_HOST }) as never,
      request: () => ({ queue: 1, out: [PACKET], room: [] }),
    },
  );
}

/** A share that agrees to everything. */
const share = {
  ...NO_SHARE,
  answer: (_: Uint8Array, room: number) =>
    Promise.resolve(room < 16 ? new Uint8Array(0) : reply(1n, 0, new Uint8Array(room - 16))),
};

for (const transport of ['mmio', 'pci'] as const) {
  virtioKit(
    { describe, it },
    {
      name: 'fs',
      transport,
      make: ({ clock }) => {
        return fsModel({ tag: 'kit' }, { share, input: new DirectInput(), clock }) as never;
      },
      request: () => ({ queue: 1, out: [fuseRequest(OP.INIT, 0, INIT_BODY)], room: [16, 64] }),
      settle,
    },
  );
}
