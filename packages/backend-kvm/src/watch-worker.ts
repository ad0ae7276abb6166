/**
 * Waits, while a run is under way, until something is readable, and then interrupts it; see
 * `event-watch.ts`.
 */
import { workerData } from 'node:worker_threads';
import { NR, POLLFD, POLLIN } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { addonSys } from './sys/addon.js';
import { KICK_SIGNAL } from './thread-signals.js';
import { WATCH, WATCH_WORD, type WatchWorkerData } from './watch-words.js';

/** Whoever ends this thread from outside waits no longer than that. */
const POLL_MS = 200;

const { words: memory, epoll, pid, tid } = workerData as WatchWorkerData;
const words = new Int32Array(memory);
const loaded = addonSys();
if (!('sys' in loaded)) throw new Error(loaded.reason);
const { sys } = loaded;
const file = new StructView(POLLFD).set('fd', epoll).set('events', POLLIN);

for (;;) {
  const state = Atomics.load(words, WATCH_WORD.STATE);
  if (state === WATCH.END) break;
  if (state === WATCH.OFF) Atomics.wait(words, WATCH_WORD.STATE, WATCH.OFF);
  else if (sys.syscall(NR.poll, file.bytes, 1, POLL_MS) > 0) {
    // Outside of a run the event loop sees it by itself.
    const { ARMED, OFF } = WATCH;
    if (Atomics.compareExchange(words, WATCH_WORD.STATE, ARMED, OFF) !== ARMED) continue;
    Atomics.store(words, WATCH_WORD.RUNG, 1);
    sys.syscall(NR.tgkill, pid, tid, KICK_SIGNAL);
  }
}
