/**
 * The process as the command sees it: a port, so that tests run commands without one.
 */
import type { ChunkWriter } from './console-output.js';
import type { EndingSignal } from './exit-status.js';
import type { InputStream } from './terminal.js';

export type HostSignal = EndingSignal | 'SIGUSR1';

export interface HostOutput extends ChunkWriter {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  readonly rows?: number | undefined;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'resize', listener: () => void): unknown;
}

export interface Host {
  /** The folder that relative names are relative to. */
  readonly cwd: string;
  readonly stdin: InputStream;
  readonly stdout: HostOutput;
  /** Prints to standard error. */
  warn(line: string): void;
  /** Milliseconds of a clock that only goes forward. */
  now(): number;
  /** Calls back once after so many milliseconds; the returned function cancels. */
  after(milliseconds: number, callback: () => void): () => void;
  /** Calls back when the event loop comes round. */
  soon(callback: () => void): void;
  /** Listens for a signal; the returned function stops that. */
  onSignal(signal: HostSignal, listener: () => void): () => void;
  /** Called however the process ends, synchronously; the returned function takes that back. */
  onExit(listener: () => void): () => void;
  /** Ends the process at once: for a second signal, when an orderly end hangs. */
  exit(status: number): void;
}
