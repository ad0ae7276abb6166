/**
 * virtio block device: requests in, work of the host, answers out.
 *
 * Source: virtio 1.2, 5.2. Reads, writes, flush, discard, write zeroes, serial number; one or more
 * queues. Data to write is taken from the guest when a request begins, data read is put into the
 * guest when its result arrives; what happens between is the host's (`HostWork`). With the counted
 * clock it is done right at those two moments instead, between disk and guest memory, where the
 * disk can do that (`readNow`): the guest finds the same at the same time.
 *
 * Known inaccuracies: the write cache is always on (no CONFIG_WCE): a driver without FLUSH has
 * nothing that survives a power failure. No secure erase, zoned or lifetime features, no geometry.
 */
import type { Clock, InputPort } from '@cloister/core';
import { state } from '@cloister/core/devices';
import { BufferPool } from '../device/buffer-pool.js';
import {
  type HostRequest,
  HostRequests,
  LATENCY,
  type SavedRequests,
} from '../device/host-requests.js';
import { HostResult, savedWorkField, type Work } from '../device/host-work.js';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import { type RateLimit, RateLimiter, type RateState, rateField } from '../device/rate-limiter.js';
import { byteLength, type Segment, slice } from '../queue/chain.js';
import type { Virtqueue } from '../queue/virtqueue.js';
import * as R from './blk-request.js';
import { type Disk, SECTOR } from './disk.js';

export const BLK_DEVICE_ID = 2;

export const BLK_F_SEG_MAX = 2;
export const BLK_F_RO = 5;
export const BLK_F_BLK_SIZE = 6;
export const BLK_F_FLUSH = 9;
export const BLK_F_MQ = 12;
export const BLK_F_DISCARD = 13;
export const BLK_F_WRITE_ZEROES = 14;

export interface BlkOptions {
  /** Unique in a VM; `blk0` unless given. */
  readonly name?: string;
  /** At most 20 bytes of ASCII; the name unless given. */
  readonly serial?: string;
  /** Request queues; 1 unless given. */
  readonly queues?: number;
  /** Virtual nanoseconds from request to answer with the counted clock; 1 µs unless given. */
  readonly latency?: number;
  readonly rateLimit?: RateLimit;
}

export interface BlkPorts {
  readonly disk: Disk;
  readonly input: InputPort;
  readonly clock: Clock;
}

const QUEUE_SIZE = 256;
/** The chain of a request has a header and a status besides its data. */
const SEG_MAX = QUEUE_SIZE - 2;
/** Requests wait while those under way hold this much data. */
const IN_FLIGHT_BYTES = 64 * 1024 * 1024;
/** As many as can wait in all queues. */
const REQUESTS_MAX = 65_536;
const CONFIG_SIZE = 60;
/** Longest transfer, in bytes, that the guest's processor itself waits for. */
const NOW_MAX = 2 ** 20;
/** In place of a status: the data is still to be read, when the result is delivered. */
const UNREAD = 0xff;

interface InFlight extends HostRequest {
  request: R.BlkRequest;
  /** What the driver gave beside the header; empty where that is nothing. */
  data: Uint8Array;
}

interface State extends SavedRequests<InFlight> {
  waiting: R.BlkRequest[];
  rate: RateState;
}

const bytes = state.bytes(R.DATA_MAX);

class BlkModel implements VirtioModel<State> {
  readonly name: string;
  readonly deviceId = BLK_DEVICE_ID;
  /** Mass storage, other. */
  readonly pciClass = 0x018000;
  readonly features: readonly number[];
  readonly queueSizes: readonly number[];
  readonly config = new Uint8Array(CONFIG_SIZE);
  readonly state: state.Field<State> = state.record<State>({
    nextToken: state.u32,
    waiting: state.listUpTo(R.requestField, REQUESTS_MAX),
    inFlight: state.listUpTo(
      state.record<InFlight>({ token: state.u32, request: R.requestField, data: bytes }),
      REQUESTS_MAX,
    ),
    work: state.listUpTo(savedWorkField, REQUESTS_MAX),
    rate: rateField,
  });
  private port: VirtioPort | null = null;
  private readonly pool = new BufferPool();
  private readonly requests: HostRequests<InFlight>;
  private readonly limiter: RateLimiter;
  private readonly serial: Uint8Array;
  private readonly latency: number;
  private waiting: R.BlkRequest[] = [];

  constructor(
    options: BlkOptions,
    private readonly ports: BlkPorts,
  ) {
    const { name = 'blk0', queues = 1, latency = LATENCY, rateLimit } = options;
    const { disk, input, clock } = ports;
    this.name = name;
    this.latency = latency;
    this.serial = new TextEncoder().encode(options.serial ?? name).subarray(0, R.ID_SIZE);
    this.limiter = new RateLimiter(rateLimit);
    this.queueSizes = Array.from({ length: queues }, () => QUEUE_SIZE);
    this.features = [
      ...[BLK_F_SEG_MAX, BLK_F_BLK_SIZE],
      ...(disk.readOnly ? [BLK_F_RO] : [BLK_F_FLUSH, BLK_F_DISCARD, BLK_F_WRITE_ZEROES]),
      ...(queues > 1 ? [BLK_F_MQ] : []),
    ];
    this.writeConfigSpace(disk.size, queues);
    this.requests = new HostRequests<InFlight>({
      ...{ name, input, clock, pool: this.pool, limit: IN_FLIGHT_BYTES },
      weight: ({ request }) => weightOf(request),
      work: (entry) => this.workOf(entry),
      answered: (entry, result) => this.answered(entry, result),
    });
  }

  /** 5.2.4, little-endian. */
  private writeConfigSpace(size: number, queues: number): void {
    const view = new DataView(this.config.buffer);
    view.setBigUint64(0, BigInt(Math.floor(size / SECTOR)), true); // capacity
    view.setUint32(12, SEG_MAX, true); // seg_max
    view.setUint32(20, SECTOR, true); // blk_size
    view.setUint16(34, queues, true); // num_queues
    view.setUint32(36, R.RANGE_SECTORS_MAX, true); // max_discard_sectors
    view.setUint32(40, R.RANGES_MAX, true); // max_discard_seg
    view.setUint32(44, 1, true); // discard_sector_alignment
    view.setUint32(48, R.RANGE_SECTORS_MAX, true); // max_write_zeroes_sectors
    view.setUint32(52, R.RANGES_MAX, true); // max_write_zeroes_seg
    view.setUint8(56, 1); // write_zeroes_may_unmap
  }

  connect(port: VirtioPort): void {
    this.port = port;
  }

  notify(index: number): void {
    const port = this.port!;
    const queue = port.queue(index);
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      const request = R.parseRequest(queue, index, chain);
      if (request === null) {
        port.needsReset('a block request has no header or no status byte');
        return;
      }
      this.waiting.push(request);
    }
    this.startWaiting();
  }

  private startWaiting(): void {
    while (this.waiting.length > 0) {
      const request = this.waiting[0]!;
      if (!this.requests.hasRoom(weightOf(request))) return;
      this.waiting.shift();
      if (!this.start(request)) return;
    }
  }

  /** Begins a request; false when the device has failed. */
  private start(request: R.BlkRequest): boolean {
    const queue = this.port!.queue(request.queue);
    const status = this.startNow(queue, request);
    // Other requests have no use for what the driver gives; what is too long is refused below.
    const isTaken = status === null && WRITES.has(request.type) && request.length <= R.DATA_MAX;
    const data = isTaken ? this.pool.take(request.length) : NOTHING;
    if (isTaken && !queue.read(request.chain, R.HEADER_SIZE, data)) {
      this.port!.needsReset('the data of a block request is not in guest memory');
      return false;
    }
    const now = this.ports.clock.now();
    const wait = this.limiter.take(now, this.moved(request, data));
    const latency = this.ports.clock.mode === 'icount' ? this.latency : 0;
    const result = status === null ? null : HostResult.ofByte(status);
    this.requests.start({ token: 0, request, data }, wait + latency, result);
    return true;
  }

  /** Whether data may move between disk and guest memory while the guest's processor waits. */
  private canMoveNow({ length }: R.BlkRequest): boolean {
    const { clock, input } = this.ports;
    const free = clock.mode === 'icount' && !input.recording && !input.replaying;
    return free && this.requests.isClear && length <= NOW_MAX;
  }

  /** Writes at once, where that is possible; `UNREAD` for what is read at once when it is due. */
  private startNow(queue: Virtqueue, request: R.BlkRequest): number | null {
    const { disk } = this.ports;
    if (!this.canMoveNow(request) || R.checkData(request, disk.size) !== R.S_OK) return null;
    if (request.type === R.T_IN) return disk.readNow === undefined ? null : UNREAD;
    if (request.type !== R.T_OUT || disk.readOnly || disk.writeNow === undefined) return null;
    const data = slice(request.chain.readable, R.HEADER_SIZE, request.length);
    return move(queue, data, 'read', (spans) => disk.writeNow!(request.offset, spans));
  }

  /** Reads into guest memory; null where that is not possible now. */
  private readNow(queue: Virtqueue, request: R.BlkRequest): number | null {
    const { disk } = this.ports;
    if (!this.canMoveNow(request) || disk.readNow === undefined) return null;
    // The request may come from a file that is made to harm.
    if (request.type !== R.T_IN) return R.S_IOERR;
    const refused = R.checkData(request, disk.size);
    if (refused !== R.S_OK) return refused;
    const room = slice(request.chain.writable, 0, request.length);
    return move(queue, room, 'write', (spans) => disk.readNow!(request.offset, spans));
  }

  /** Bytes that the host reads or writes for a request; zeroes too, which the guest only names. */
  private moved(request: R.BlkRequest, data: Uint8Array): number {
    if (request.type !== R.T_WRITE_ZEROES) return weightOf(request);
    const ranges = R.parseRanges(data, this.ports.disk.size, R.T_WRITE_ZEROES);
    return typeof ranges === 'number' ? 0 : ranges.reduce((sum, { length }) => sum + length, 0);
  }

  /** The host's part: the result is a status and, for what reads, data. Depends on `entry` only. */
  private workOf({ request, data }: InFlight): Work {
    const { disk } = this.ports;
    const status = HostResult.ofByte;
    return async () => {
      if (disk.readOnly && WRITES.has(request.type)) return status(R.S_IOERR);
      switch (request.type) {
        case R.T_IN: {
          const refused = R.checkData(request, disk.size);
          if (refused !== R.S_OK) return status(refused);
          const read = answer(R.S_OK, request.length, this.pool);
          await disk.read(request.offset, read.data.subarray(1));
          return read;
        }
        case R.T_OUT: {
          const refused = R.checkData(request, disk.size);
          if (refused !== R.S_OK) return status(refused);
          await disk.write(request.offset, data);
          return status(R.S_OK);
        }
        case R.T_FLUSH:
          await disk.flush();
          return status(R.S_OK);
        case R.T_GET_ID: {
          const id = answer(R.S_OK, Math.min(request.length, R.ID_SIZE));
          id.data.set(this.serial.subarray(0, id.data.length - 1), 1);
          return id;
        }
        case R.T_DISCARD:
        case R.T_WRITE_ZEROES: {
          const ranges = R.parseRanges(data, disk.size, request.type);
          if (typeof ranges === 'number') return status(ranges);
          const each = request.type === R.T_DISCARD ? 'discard' : 'writeZeroes';
          for (const { offset, length } of ranges) await disk[each](offset, length);
          return status(R.S_OK);
        }
        default:
          return status(R.S_UNSUPP);
      }
    };
  }

  private answered(entry: InFlight, result: Uint8Array): void {
    const { request } = entry;
    const unread = result[0] === UNREAD;
    const now = unread ? this.readNow(this.port!.queue(request.queue), request) : null;
    if (unread && now === null) {
      // Left to the host after all, and due just now.
      this.requests.start(entry, 0);
      return;
    }
    // The host is done with it.
    this.pool.give(entry.data);
    const { chain } = request;
    const queue = this.port!.queue(request.queue);
    const room = byteLength(chain.writable) - 1;
    // No result at all: the host's operation failed.
    const status = now ?? result[0] ?? R.S_IOERR;
    const length = Math.min(room, Math.max(0, result.length - 1));
    const filled = now === R.S_OK ? room : length;
    STATUS[0] = status;
    const written =
      (length === 0 || queue.write(chain, 0, result.subarray(1, 1 + length))) &&
      queue.write(chain, room, STATUS);
    if (!written) this.port!.needsReset('the buffer of a block request is not in guest memory');
    // 2.7.8.2: at least so many bytes from the start were written.
    queue.push(chain, filled === room ? room + 1 : filled);
    queue.signal();
    this.startWaiting();
  }

  reset(): void {
    this.requests.reset();
    this.waiting = [];
    this.limiter.reset();
  }

  save(): State {
    return {
      ...this.requests.save(),
      waiting: structuredClone(this.waiting),
      rate: this.limiter.save(),
    };
  }

  load(saved: State): void {
    this.waiting = saved.waiting;
    this.limiter.load(saved.rate);
    this.requests.load(saved);
  }

  drain(): Promise<void> {
    return this.requests.drain();
  }

  async dispose(): Promise<void> {
    await this.requests.dispose();
    await this.ports.disk.close();
  }
}

/** Host memory that a request takes while it is under way. */
const weightOf = ({ length }: R.BlkRequest) => Math.min(length, R.DATA_MAX);

const NOTHING = new Uint8Array(0);

/** The status that is written. */
const STATUS = new Uint8Array(1);

const WRITES: ReadonlySet<number> = new Set([R.T_OUT, R.T_DISCARD, R.T_WRITE_ZEROES]);

/** Moves data between the disk and segments of a chain; null where those cannot be lent. */
function move(
  queue: Virtqueue,
  segments: readonly Segment[],
  access: 'read' | 'write',
  operation: (spans: readonly Uint8Array[]) => void,
): number | null {
  let status = R.S_OK;
  const isLent = queue.lend(segments, access, (spans) => {
    try {
      operation(spans);
    } catch {
      status = R.S_IOERR;
    }
  });
  return isLent ? status : null;
}

/** A result: a status, then room for so much data. */
function answer(status: number, length: number, pool?: BufferPool): HostResult {
  const result = new HostResult(1 + length, pool);
  result.data[0] = status;
  return result;
}

/** A block device over `ports.disk`, which it closes at the end. */
export function blkModel(options: BlkOptions, ports: BlkPorts): VirtioModel<object> {
  return new BlkModel(options, ports) as unknown as VirtioModel<object>;
}
