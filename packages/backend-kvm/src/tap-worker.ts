/**
 * Waits in a thread of its own until a TAP has a frame, and says so; goes on waiting when told to.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { NR, POLLFD, POLLIN } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { addonSys } from './sys/addon.js';
import { TAP_ARMED, TAP_GONE, type TapWaiter } from './tap/tap-waiter.js';

const POLL_MS = 500;

const { tap, end, state } = workerData as TapWaiter;
const words = new Int32Array(state);
const loaded = addonSys();

if ('sys' in loaded) {
  const bytes = new Uint8Array(2 * POLLFD.size);
  const files = [0, POLLFD.size].map((offset) => new StructView(POLLFD, bytes, offset));
  files[0]!.set('fd', tap).set('events', POLLIN);
  files[1]!.set('fd', end).set('events', POLLIN);
  while (Atomics.load(words, 0) !== TAP_GONE) {
    Atomics.wait(words, 0, 0);
    if (Atomics.load(words, 0) !== TAP_ARMED) continue;
    // Not for ever: a thread that is ended from outside has to come back from the kernel.
    if (loaded.sys.syscall(NR.poll, bytes, 2, POLL_MS) === 0) continue;
    // What ended the wait may be the end itself: then there is nothing to tell.
    if (Atomics.compareExchange(words, 0, TAP_ARMED, 0) === TAP_ARMED) parentPort!.postMessage(0);
  }
}
