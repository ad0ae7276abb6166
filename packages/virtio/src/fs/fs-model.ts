/**
 * virtio file system device: FUSE requests in, work of the host, replies out.
 *
 * Source: virtio 1.2, 5.11. Queue 0 is for requests of high priority (FORGET), the others for all
 * else. What a request means is the share's business; what comes back enters by the input port
 * (`HostWork`), so a replay needs no directory.
 *
 * Known inaccuracies: no notification queue, no DAX window.
 */
import type { Clock, InputPort, SnapshotValue } from '@cloister/core';
import { state } from '@cloister/core/devices';
import {
  type HostRequest,
  HostRequests,
  LATENCY,
  type SavedRequests,
} from '../device/host-requests.js';
import { HostResult, savedWorkField, type Work } from '../device/host-work.js';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import { byteLength, type Chain, chainField } from '../queue/chain.js';
import { DATA_MAX, ERRNO, IN_HEADER, OUT_HEADER, reply, SILENT } from './fuse.js';
import type { ShareServer } from './share.js';

export const FS_DEVICE_ID = 26;

export interface FsOptions {
  /** Unique in a VM; `fs0` unless given. */
  readonly name?: string;
  /** What the guest mounts: 1 to 36 bytes of UTF-8. */
  readonly tag: string;
  /** Request queues; 1 unless given. */
  readonly queues?: number;
  /** Virtual nanoseconds from request to answer with the counted clock; 1 µs unless given. */
  readonly latency?: number;
}

export interface FsPorts {
  readonly share: ShareServer;
  readonly input: InputPort;
  readonly clock: Clock;
}

export const TAG_BYTES = 36;
const CONFIG_SIZE = TAG_BYTES + 4;
/** Linux puts a request of MAX_PAGES pages and its headers into one chain. */
const QUEUE_SIZE = 512;
/** A request is a WRITE at most: headers and data; a reply, a READ. */
const REQUEST_MAX = DATA_MAX + 8192;
const IN_FLIGHT_BYTES = 32 * 2 ** 20;
const REQUESTS_MAX = 65_536;

interface FsRequest {
  queue: number;
  chain: Chain;
}

interface InFlight extends FsRequest, HostRequest {
  bytes: Uint8Array;
}

interface State extends SavedRequests<InFlight> {
  waiting: FsRequest[];
  share: SnapshotValue;
}

const place = { queue: state.u16, chain: chainField };

class FsModel implements VirtioModel<State> {
  readonly name: string;
  readonly deviceId = FS_DEVICE_ID;
  /** Mass storage, other. */
  readonly pciClass = 0x018000;
  readonly features = [];
  readonly queueSizes: readonly number[];
  /** tag, padded with zeroes; le32 num_request_queues. */
  readonly config = new Uint8Array(CONFIG_SIZE);
  readonly state: state.Field<State> = state.record<State>({
    nextToken: state.u32,
    waiting: state.listUpTo(state.record<FsRequest>(place), REQUESTS_MAX),
    inFlight: state.listUpTo(
      state.record<InFlight>({ ...place, token: state.u32, bytes: state.bytes(REQUEST_MAX) }),
      REQUESTS_MAX,
    ),
    work: state.listUpTo(savedWorkField, REQUESTS_MAX),
    // The share looks at it itself.
    share: (value) => structuredClone(value ?? null) as SnapshotValue,
  });
  private port: VirtioPort | null = null;
  private readonly requests: HostRequests<InFlight>;
  private readonly latency: number;
  private waiting: FsRequest[] = [];

  constructor(
    options: FsOptions,
    private readonly ports: FsPorts,
  ) {
    const { name = 'fs0', tag, queues = 1, latency = LATENCY } = options;
    this.name = name;
    this.latency = latency;
    this.queueSizes = Array.from({ length: 1 + queues }, () => QUEUE_SIZE);
    this.config.set(new TextEncoder().encode(tag).subarray(0, TAG_BYTES));
    new DataView(this.config.buffer).setUint32(TAG_BYTES, queues, true);
    const { input, clock } = ports;
    this.requests = new HostRequests<InFlight>({
      ...{ name, input, clock, limit: IN_FLIGHT_BYTES },
      weight: weightOf,
      work: (entry) => this.workOf(entry),
      answered: (entry, result) => this.answered(entry, result),
    });
  }

  connect(port: VirtioPort): void {
    this.port = port;
  }

  notify(index: number): void {
    const port = this.port!;
    const queue = port.queue(index);
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      if (!isRequest(chain)) {
        port.needsReset('a file system request has no header, no room for one, or too much data');
        return;
      }
      this.waiting.push({ queue: index, chain });
    }
    this.startWaiting();
  }

  private startWaiting(): void {
    while (this.waiting.length > 0) {
      const [request] = this.waiting as [FsRequest];
      if (!this.requests.hasRoom(weightOf(request))) return;
      this.waiting.shift();
      if (!this.start(request)) return;
    }
  }

  private start(request: FsRequest): boolean {
    const bytes = new Uint8Array(byteLength(request.chain.readable));
    if (!this.port!.queue(request.queue).read(request.chain, 0, bytes)) {
      this.port!.needsReset('a file system request is not in guest memory');
      return false;
    }
    const latency = this.ports.clock.mode === 'icount' ? this.latency : 0;
    const { queue, chain } = request;
    this.requests.start({ token: 0, queue, chain, bytes }, latency);
    return true;
  }

  private workOf({ bytes, chain }: InFlight): Work {
    const room = Math.min(byteLength(chain.writable), OUT_HEADER + DATA_MAX);
    return async () => {
      const answer = await this.ports.share.answer(bytes, room);
      const result = new HostResult(answer.length);
      result.data.set(answer);
      return result;
    };
  }

  private answered(entry: InFlight, result: Uint8Array): void {
    const { chain } = entry;
    const queue = this.port!.queue(entry.queue);
    const answer =
      byteLength(chain.writable) === 0 ? result.subarray(0, 0) : fitting(entry, result);
    if (!queue.write(chain, 0, answer)) {
      this.port!.needsReset('the room for a reply is not in guest memory');
    }
    queue.push(chain, answer.length);
    queue.signal();
    this.startWaiting();
  }

  reset(): void {
    this.requests.reset();
    this.waiting = [];
    this.ports.share.reset();
  }

  save(): State {
    return {
      ...this.requests.save(),
      waiting: structuredClone(this.waiting),
      share: this.ports.share.save(),
    };
  }

  load(saved: State): void {
    this.reset();
    this.waiting = saved.waiting.filter(({ chain }) => isRequest(chain));
    this.ports.share.load(saved.share);
    // A saved VM may be made to harm.
    const inFlight = saved.inFlight.filter(({ bytes }) => bytes.length >= IN_HEADER);
    this.requests.load({ ...saved, inFlight });
  }

  drain(): Promise<void> {
    return this.requests.drain();
  }

  async dispose(): Promise<void> {
    await this.requests.dispose();
    await this.ports.share.close();
  }
}

/** Whether a chain has a header, no more data than any request, and room for a reply if for any. */
function isRequest({ readable, writable }: Chain): boolean {
  const length = byteLength(readable);
  const room = byteLength(writable);
  return length >= IN_HEADER && length <= REQUEST_MAX && (room === 0 || room >= OUT_HEADER);
}

/** Host memory that a request takes while it is under way. */
function weightOf({ chain }: FsRequest): number {
  const room = Math.min(byteLength(chain.writable), OUT_HEADER + DATA_MAX);
  return byteLength(chain.readable) + room;
}

/** The reply; an error in place of one that is none, such as a recording of other devices has. */
function fitting({ bytes, chain }: InFlight, result: Uint8Array): Uint8Array {
  const fits = result.length >= OUT_HEADER && result.length <= byteLength(chain.writable);
  const view = new DataView(bytes.buffer, bytes.byteOffset, IN_HEADER);
  if (fits || (result.length === 0 && SILENT.has(view.getUint32(4, true)))) return result;
  return reply(view.getBigUint64(8, true), ERRNO.EIO, new Uint8Array(0));
}

/** A file system device for `ports.share`, which it closes at the end. */
export function fsModel(options: FsOptions, ports: FsPorts): VirtioModel<object> {
  return new FsModel(options, ports) as unknown as VirtioModel<object>;
}
