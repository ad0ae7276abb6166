/**
 * Waits, while a run is under way that asks for it, until something is readable, and then
 * interrupts it; see `event-watch.ts`.
 */
import { workerData } from 'node:worker_threads';
import { NR, POLLFD, POLLIN } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { addonSys } from './sys/addon.js';
import { KICK_SIGNAL } from './thread-signals.js';
import { WatchAnswer, type WatchWorkerData } from './watch-request.js';

/** Whoever ends this thread from outside waits no longer than that. */
const POLL_MS = 200;
/** A signal may be lost where exits are frequent (`ThreadSignals.open`): so often, so far apart. */
const SIGNALS_MAX = 8;
const APART_MS = 0.25;

const { words, epoll, pid, tid } = workerData as WatchWorkerData;
const answer = new WatchAnswer(words);
const loaded = addonSys();
if (!('sys' in loaded)) throw new Error(loaded.reason);
const { sys } = loaded;
const file = new StructView(POLLFD).set('fd', epoll).set('events', POLLIN);

for (let asked = answer.next(); asked !== null; asked = answer.next()) {
  if (sys.syscall(NR.poll, file.bytes, 1, POLL_MS) <= 0) continue;
  // Outside of a run the event loop sees it by itself.
  if (!answer.ring(asked)) continue;
  for (let sent = 0; sent < SIGNALS_MAX; sent++) {
    sys.syscall(NR.tgkill, pid, tid, KICK_SIGNAL);
    if (answer.heard(asked, APART_MS)) break;
  }
}
