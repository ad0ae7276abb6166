/**
 * A Worker as the host sees it, the same in Node and in browsers.
 */
import { VmmError } from '../interfaces/index.js';
import { type NodeThreads, nodeThreads } from './node-threads.js';
import { WORKER_DATA } from './parent-line.js';
import type { Line } from './protocol.js';
import { messageOf } from './wire-error.js';

/** How a Worker failed. */
export interface ThreadFailure {
  readonly code: 'internal' | 'out-of-memory';
  readonly message: string;
  readonly cause?: unknown;
}

export interface Thread extends Line {
  /** Called when the thread has failed or has ended by itself; maybe more than once. */
  onFailure(listener: (failure: ThreadFailure) => void): void;
  /** Whether it keeps the process from ending. */
  keepAlive(on: boolean): void;
  terminate(): Promise<void>;
}

/** An event of a Web Worker: a message, or an error (without words where the module is missing). */
export interface WebWorkerEvent {
  readonly type: string;
  readonly data?: unknown;
  readonly message?: string;
  readonly error?: unknown;
  preventDefault(): void;
}

/** What is used of a Web Worker: the browser's own type is not there for everybody. */
export interface WebWorker {
  postMessage(message: unknown): void;
  addEventListener(type: string, listener: (event: WebWorkerEvent) => void): void;
  terminate(): void;
}

/** A VM module's address, or a function that makes the Web Worker of one. */
export type VmModule = URL | (() => WebWorker);

const NAME = 'cloister-vm';

export function startThread(module: VmModule): Thread {
  const threads = nodeThreads();
  try {
    if (typeof module === 'function') return webThread(module());
    if (!(module instanceof URL)) {
      throw new VmmError('invalid-argument', 'the VM module is not a URL', {
        remedy: "write new URL('./vm.js', import.meta.url)",
      });
    }
    if (threads !== null) return nodeThread(threads, module);
    return webThread(new Worker(module, { type: 'module', name: NAME }));
  } catch (error) {
    if (error instanceof VmmError) throw error;
    throw new VmmError('unavailable', `no Worker could be started: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function nodeThread(threads: NodeThreads, module: URL): Thread {
  const worker = new threads.Worker(module, { workerData: WORKER_DATA, name: NAME });
  return {
    send: (message) => worker.postMessage(message),
    onMessage: (listener) => void worker.on('message', listener),
    onFailure(listener) {
      worker.on('error', (error) => listener({ ...failureOf(error), cause: error }));
      worker.on('messageerror', (error) => listener({ ...failureOf(error), cause: error }));
      worker.on('exit', (code) => {
        listener({ code: 'internal', message: `the Worker ended by itself, with status ${code}` });
      });
    },
    keepAlive(on) {
      if (on) worker.ref();
      else worker.unref();
    },
    async terminate() {
      await worker.terminate();
    },
  };
}

function failureOf(error: unknown): ThreadFailure {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  const message = messageOf(error);
  return { code: code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'out-of-memory' : 'internal', message };
}

function webThread(worker: WebWorker): Thread {
  return {
    send: (message) => worker.postMessage(message),
    onMessage: (listener) => worker.addEventListener('message', ({ data }) => listener(data)),
    onFailure(listener) {
      worker.addEventListener('error', (event) => {
        // Told as a failure of the VM's, it is no error of the page's beside.
        event.preventDefault();
        const { message, error } = event;
        listener({
          code: 'internal',
          message: message || 'it could not be loaded',
          cause: error ?? undefined,
        });
      });
      worker.addEventListener('messageerror', () => {
        listener({ code: 'internal', message: 'a message of the Worker could not be read' });
      });
    },
    // A page does not wait for its Workers.
    keepAlive: () => {},
    terminate: async () => worker.terminate(),
  };
}
