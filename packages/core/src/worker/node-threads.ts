/**
 * Node's `worker_threads`, where there are any.
 *
 * Nothing is imported: `process.getBuiltinModule` (Node 20.16) hands the module over at run time,
 * so that a browser's bundle of this file holds no import that a browser lacks. Only what is used
 * here is described; Node's own types are not at hand in a package for browsers.
 */

/** A `worker_threads.MessagePort`. */
export interface NodePort {
  postMessage(message: unknown): void;
  on(event: 'message', listener: (message: unknown) => void): unknown;
}

/** A `worker_threads.Worker`. */
export interface NodeWorker extends NodePort {
  on(event: 'message' | 'error' | 'messageerror', listener: (value: unknown) => void): unknown;
  on(event: 'exit', listener: (code: number) => void): unknown;
  ref(): void;
  unref(): void;
  terminate(): Promise<unknown>;
}

export interface NodeThreads {
  readonly isMainThread: boolean;
  readonly parentPort: NodePort | null;
  readonly workerData: unknown;
  readonly Worker: new (
    module: URL,
    options: { readonly workerData: unknown; readonly name: string },
  ) => NodeWorker;
}

interface NodeProcess {
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(name: string): unknown;
}

/** The module in Node, null elsewhere. */
export function nodeThreads(): NodeThreads | null {
  const { process } = globalThis as { process?: NodeProcess };
  if (process?.versions?.node === undefined) return null;
  return (process.getBuiltinModule?.('node:worker_threads') as NodeThreads | undefined) ?? null;
}
