/**
 * virtio memory balloon: takes pages from the guest and gives them back to the host, at the host's
 * wish (inflating) or as the guest frees them (page reporting); statistics of the guest's memory.
 *
 * Source: virtio 1.2, 5.5. Pages are 4096 bytes and named by number (5.5.6); a reported range is
 * the buffer's own memory (5.5.6.7).
 *
 * Known inaccuracies: free page hints are never asked for (the command id stays at STOP); a page
 * in the balloon that the guest uses nevertheless is there, zeroed, at once.
 */
import { state } from '@cloister/core/devices';
import type { VirtioModel, VirtioPort } from '../device/model.js';
import { byteLength, type Chain, chainField } from '../queue/chain.js';
import type { Virtqueue } from '../queue/virtqueue.js';

export const BALLOON_DEVICE_ID = 5;

export const BALLOON_F_STATS_VQ = 1;
export const BALLOON_F_DEFLATE_ON_OOM = 2;
export const BALLOON_F_FREE_PAGE_HINT = 3;
export const BALLOON_F_PAGE_REPORTING = 5;

const PAGE_SIZE = 4096;
const INFLATE = 0;
const DEFLATE = 1;
const STATS = 2;
const HINT = 3;
const REPORTING = 4;

const NUM_PAGES = 0;
const ACTUAL = 4;
const CONFIG_SIZE = 16;
/** Page numbers that one buffer may hold; Linux sends 256. */
const PAGES_MAX = 65_536;
/** struct virtio_balloon_stat: le16 tag, le64 value, packed. */
const STAT_SIZE = 10;
const STATS_MAX = 64;

export interface BalloonPorts {
  /** Gives memory back to the host; false, and nothing happens, when it is not all RAM. */
  discard(gpa: number, length: number): boolean;
}

/** What the balloon has done. */
export interface BalloonCounters {
  /** Pages given back by inflating, and bytes by reporting, so far. */
  readonly inflatedPages: number;
  readonly reportedBytes: number;
  /** Pages that the driver says are in the balloon. */
  readonly actual: number;
  /** The guest's statistics as it told them last: tag (5.5.6.4) to value. */
  readonly statistics: ReadonlyMap<number, number>;
}

export interface BalloonModel extends VirtioModel<object> {
  /** Pages of 4096 bytes that the guest shall give up. */
  setTarget(pages: number): void;
  /** Asks the guest for statistics; `counters` has them when it has answered. */
  askStatistics(): void;
  readonly counters: BalloonCounters;
}

interface State {
  /** The buffer in which the guest told its statistics: it waits to be asked again. */
  stats: Chain | null;
  inflatedPages: number;
  reportedBytes: number;
}

class Balloon implements VirtioModel<State> {
  readonly deviceId = BALLOON_DEVICE_ID;
  /** Other memory controller. */
  readonly pciClass = 0x058000;
  readonly features = [
    BALLOON_F_STATS_VQ,
    BALLOON_F_DEFLATE_ON_OOM,
    // Offered so that the queues have the numbers of the specification under every driver.
    BALLOON_F_FREE_PAGE_HINT,
    BALLOON_F_PAGE_REPORTING,
  ];
  readonly queueSizes = [128, 128, 16, 64, 64];
  readonly config = new Uint8Array(CONFIG_SIZE);
  readonly state: state.Field<State> = state.record<State>({
    stats: state.optional(chainField),
    inflatedPages: state.time,
    reportedBytes: state.time,
  });
  private readonly view = new DataView(this.config.buffer);
  private port: VirtioPort | null = null;
  private stats: Chain | null = null;
  private statistics: ReadonlyMap<number, number> = new Map();
  private inflatedPages = 0;
  private reportedBytes = 0;

  constructor(
    readonly name: string,
    private readonly ports: BalloonPorts,
  ) {}

  get counters(): BalloonCounters {
    const { inflatedPages, reportedBytes, statistics } = this;
    return { inflatedPages, reportedBytes, actual: this.view.getUint32(ACTUAL, true), statistics };
  }

  setTarget(pages: number): void {
    this.view.setUint32(NUM_PAGES, pages, true);
    this.port!.configChanged();
  }

  connect(port: VirtioPort): void {
    this.port = port;
  }

  /** Only `actual` is the driver's to write (5.5.4). */
  writeConfig(offset: number, size: number, value: number): void {
    if (offset === ACTUAL && size === 4) this.view.setUint32(ACTUAL, value, true);
  }

  notify(index: number): void {
    const queue = this.port!.queue(index);
    for (let chain = queue.pop(); chain !== null; chain = queue.pop()) {
      if (index === STATS) {
        this.takeStatistics(queue, chain);
        continue;
      }
      if (!this.handle(index, queue, chain)) {
        this.port!.needsReset('a balloon request is not of pages in RAM');
        return;
      }
      queue.push(chain, 0);
    }
    queue.signal();
  }

  private handle(index: number, queue: Virtqueue, chain: Chain): boolean {
    switch (index) {
      case INFLATE:
        return this.inflate(queue, chain);
      case REPORTING:
        return this.report(queue, chain);
      case DEFLATE: // the pages are the guest's again: they are there already
      case HINT:
        return true;
      default:
        return false;
    }
  }

  private inflate(queue: Virtqueue, chain: Chain): boolean {
    const length = byteLength(chain.readable);
    if (length % 4 !== 0 || length > 4 * PAGES_MAX) return false;
    // A page is as much work as a read of the ring, and more.
    queue.spend(length / 4);
    const bytes = new Uint8Array(length);
    if (!queue.read(chain, 0, bytes)) return false;
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < length; at += 4) {
      if (!this.ports.discard(view.getUint32(at, true) * PAGE_SIZE, PAGE_SIZE)) return false;
      this.inflatedPages++;
    }
    return true;
  }

  private report(queue: Virtqueue, chain: Chain): boolean {
    queue.spend(byteLength(chain.writable) / PAGE_SIZE);
    for (const { gpa, length } of chain.writable) {
      if (!this.ports.discard(gpa, length)) return false;
      this.reportedBytes += length;
    }
    return true;
  }

  /** 5.5.6.3: the buffer comes back only when the device wants newer figures. */
  private takeStatistics(queue: Virtqueue, chain: Chain): void {
    const bytes = new Uint8Array(Math.min(byteLength(chain.readable), STAT_SIZE * STATS_MAX));
    const found = new Map<number, number>();
    if (queue.read(chain, 0, bytes)) {
      const view = new DataView(bytes.buffer);
      for (let at = 0; at + STAT_SIZE <= bytes.length; at += STAT_SIZE) {
        found.set(view.getUint16(at, true), Number(view.getBigUint64(at + 2, true)));
      }
    }
    this.statistics = found;
    this.answerStatistics(queue);
    this.stats = chain;
  }

  askStatistics(): void {
    this.answerStatistics(this.port!.queue(STATS));
  }

  private answerStatistics(queue: Virtqueue): void {
    if (this.stats === null) return;
    queue.push(this.stats, 0);
    queue.signal();
    this.stats = null;
  }

  reset(): void {
    this.stats = null;
    this.statistics = new Map();
    this.inflatedPages = 0;
    this.reportedBytes = 0;
    // What the host wishes outlives the driver.
    this.view.setUint32(ACTUAL, 0, true);
  }

  save(): State {
    const { stats, inflatedPages, reportedBytes } = this;
    return { stats: structuredClone(stats), inflatedPages, reportedBytes };
  }

  load(saved: State): void {
    this.statistics = new Map();
    this.stats = saved.stats;
    this.inflatedPages = saved.inflatedPages;
    this.reportedBytes = saved.reportedBytes;
  }
}

/** A balloon over `ports`; `balloon0` unless named. */
export function balloonModel(ports: BalloonPorts, name = 'balloon0'): BalloonModel {
  return new Balloon(name, ports) as unknown as BalloonModel;
}
