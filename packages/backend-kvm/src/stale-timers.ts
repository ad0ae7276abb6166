/**
 * Timers of threads that were ended in the middle of a run: they are the process's, which has a
 * limit of them. Source: proc(5), /proc/pid/timers; it needs CONFIG_CHECKPOINT_RESTORE, without
 * which nothing is found.
 */
import { existsSync, readFileSync } from 'node:fs';
import { NR } from './abi/linux.js';
import type { Sys } from './sys/sys.js';

const TIMER = /^ID: (\d+)\nsignal: (\d+)\/\S*\nnotify: signal\/tid\.(\d+)$/gm;

function timers(): string {
  try {
    return readFileSync('/proc/self/timers', 'latin1');
  } catch {
    return '';
  }
}

/** Deletes the timers that send `signal` to threads that are no more. */
export function deleteStaleTimers(sys: Sys, signal: number): void {
  for (const [, id, number, tid] of timers().matchAll(TIMER)) {
    if (Number(number) !== signal || existsSync(`/proc/self/task/${tid}`)) continue;
    sys.syscall(NR.timer_delete, Number(id));
  }
}
