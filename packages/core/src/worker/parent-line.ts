/**
 * The Worker's line to the host that started it, in Node and in browsers.
 */
import { nodeThreads } from './node-threads.js';
import type { Line } from './protocol.js';

/** What `runInWorker` gives a Node Worker to know its kind by. */
export const WORKER_DATA = { cloister: 'vm' } as const;

/** A dedicated Worker's global scope: what is used of it here. */
interface WorkerScope {
  postMessage(message: unknown): void;
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void;
  addEventListener(
    type: 'unhandledrejection',
    listener: (event: { readonly reason: unknown }) => void,
  ): void;
}

/** Null where nobody listens: in the main thread, or in a Worker that somebody else started. */
export function parentLine(): Line | null {
  const threads = nodeThreads();
  if (threads !== null) {
    const { parentPort, workerData } = threads;
    const ours = (workerData as { readonly cloister?: unknown } | null)?.cloister === 'vm';
    if (parentPort === null || !ours) return null;
    return {
      send: (message) => parentPort.postMessage(message),
      onMessage: (listener) => void parentPort.on('message', listener),
    };
  }
  const scope = globalThis as { DedicatedWorkerGlobalScope?: unknown };
  if (scope.DedicatedWorkerGlobalScope === undefined) return null;
  return webLine(globalThis as unknown as WorkerScope);
}

function webLine(scope: WorkerScope): Line {
  // A rejection that nobody handles is the failure that it is in Node: reportError would do, but
  // a throw outside of any promise reaches the host everywhere.
  scope.addEventListener('unhandledrejection', ({ reason }) => {
    setTimeout(() => {
      throw reason;
    });
  });
  return {
    send: (message) => scope.postMessage(message),
    onMessage: (listener) => scope.addEventListener('message', ({ data }) => listener(data)),
  };
}
