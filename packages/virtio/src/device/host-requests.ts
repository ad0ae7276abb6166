/**
 * Requests of a driver's that the host is at: each is one piece of `HostWork`, known by a token.
 *
 * They are saved with what they need to begin again, and bounded by the host memory that they hold.
 */
import {
  type HostResult,
  HostWork,
  type HostWorkOptions,
  type SavedWork,
  type Work,
} from './host-work.js';
import { UnderWay } from './under-way.js';

/**
 * Virtual nanoseconds from request to answer with the counted clock, unless a device is told
 * another: what a disk in memory takes. From some 3 µs on the driver's task goes to sleep, and a
 * guest that reads 4 KiB executes two fifths more instructions, most of them the scheduler's.
 */
export const LATENCY = 1000;

export interface HostRequest {
  token: number;
}

export interface HostRequestsOptions<T extends HostRequest>
  extends Omit<HostWorkOptions, 'bound' | 'deliver'> {
  /** Host memory, in bytes, that requests under way may hold together; a single one holds more. */
  readonly limit: number;
  /** What a request holds of it. */
  weight(request: T): number;
  /** The host's part of a request, which depends on nothing else: it may be done again. */
  work(request: T): Work;
  /** The result, between two instructions; empty where the host failed. */
  answered(request: T, result: Uint8Array): void;
}

/** Requests as they are saved. */
export interface SavedRequests<T> {
  nextToken: number;
  inFlight: T[];
  work: SavedWork[];
}

export class HostRequests<T extends HostRequest> {
  private readonly work: HostWork;
  private readonly inFlight = new UnderWay<T>();
  private nextToken = 0;
  private bytes = 0;

  constructor(private readonly options: HostRequestsOptions<T>) {
    this.work = new HostWork({
      ...options,
      bound: 2 * options.limit,
      deliver: (token, result) => this.deliver(token, result),
    });
  }

  /** Whether another request that holds so many bytes may begin. */
  hasRoom(weight: number): boolean {
    return this.bytes === 0 || this.bytes + weight <= this.options.limit;
  }

  /** As `HostWork.isClear`. */
  get isClear(): boolean {
    return this.work.isClear;
  }

  /**
   * Begins a request whose answer is due `after` nanoseconds from now, as `HostWork.start`; with
   * `result` the host has nothing to do for it. The request gets its token here.
   */
  start(entry: T, after: number, result: HostResult | null = null): void {
    const token = this.nextToken;
    this.nextToken = (token + 1) >>> 0;
    entry.token = token;
    this.add(entry);
    if (result === null) this.work.start(token, after, this.options.work(entry));
    else this.work.startDone(token, after, result);
  }

  reset(): void {
    this.work.reset();
    this.inFlight.clear();
    this.bytes = 0;
    this.nextToken = 0;
  }

  save(): SavedRequests<T> {
    return {
      nextToken: this.nextToken,
      // Data is copied when a state is saved, and only as much of its buffer as it is.
      inFlight: Array.from(this.inFlight, (entry) => ({ ...entry })),
      work: this.work.save(),
    };
  }

  /** Takes over what was saved; what the host had not finished begins again. */
  load({ nextToken, inFlight, work }: SavedRequests<T>): void {
    this.reset();
    this.nextToken = nextToken;
    // A saved VM may be made to harm: no token counts twice.
    for (const entry of inFlight) if (!this.inFlight.has(entry.token)) this.add(entry);
    this.work.load(work, (token) => {
      const entry = this.inFlight.get(token);
      if (entry === undefined) return () => Promise.reject(new Error('unknown'));
      return this.options.work(entry);
    });
  }

  /** Resolves when the host has finished all that it began. */
  drain(): Promise<void> {
    return this.work.drain();
  }

  async dispose(): Promise<void> {
    this.work.dispose();
    await this.work.drain();
  }

  private add(entry: T): void {
    this.inFlight.add(entry);
    this.bytes += this.options.weight(entry);
  }

  private deliver(token: number, result: Uint8Array): void {
    const entry = this.inFlight.take(token);
    if (entry === undefined) return;
    this.bytes -= this.options.weight(entry);
    this.options.answered(entry, result);
  }
}
