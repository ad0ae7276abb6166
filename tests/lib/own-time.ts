// How long a process took, less what it only waited for a processor: the same on a busy machine as
// on a quiet one, and as long as ever where a process hangs.
//
// Source: Linux Documentation/scheduler/sched-stats.rst (/proc/PID/schedstat: nanoseconds on a
// processor, nanoseconds waiting for one, times it ran).
import { readdirSync, readFileSync } from 'node:fs';

/** Milliseconds that a thread has waited for a processor; 0 where the kernel does not say. */
function waited(path: string): number {
  try {
    return Number(readFileSync(`${path}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

function threads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((tid) => `/proc/${pid}/task/${tid}`);
  } catch {
    return [];
  }
}

/** How often the threads are looked at: an ended process tells nothing any more. */
const LOOK_MS = 20;

/** Of a process that is watched from now on, by this one. */
export class OwnTime {
  private readonly since = performance.now();
  private readonly before = new Map<string, number>();
  private readonly last = new Map<string, number>();
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly pid: number) {
    this.look();
    this.timer = setInterval(() => this.look(), LOOK_MS);
  }

  /** The process has ended; milliseconds, less those of the thread that waited most. */
  end(): number {
    clearInterval(this.timer);
    this.look();
    const waits = [...this.last].map(([path, ms]) => ms - this.before.get(path)!);
    return performance.now() - this.since - Math.max(0, ...waits);
  }

  private look(): void {
    for (const path of [`/proc/${process.pid}/task/${process.pid}`, ...threads(this.pid)]) {
      const ms = waited(path);
      // A thread that has ended keeps what it was seen to have waited.
      if (ms < (this.last.get(path) ?? 0)) continue;
      if (!this.before.has(path)) this.before.set(path, ms);
      this.last.set(path, ms);
    }
  }
}
