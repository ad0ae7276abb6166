/**
 * VMs of this thread that are not disposed of. When a Worker ends with an error its VMs are closed:
 * descriptors and mappings are the process's, which goes on. `terminate()` gives no such chance.
 */
import { isMainThread } from 'node:worker_threads';

const open = new Set<() => void>();

function closeAll(): void {
  for (const close of open) close();
}

/** Calls `close` when this Worker ends; the returned function takes that back. */
export function closeWithThread(close: () => void): () => void {
  // The end of the process itself closes everything, and sooner.
  if (isMainThread) return () => {};
  if (open.size === 0) process.on('exit', closeAll);
  open.add(close);
  return () => {
    open.delete(close);
    if (open.size === 0) process.off('exit', closeAll);
  };
}
