/**
 * The host port over Node's process.
 */
import { performance } from 'node:perf_hooks';
import type { Host } from './host.js';

export function nodeHost(): Host {
  return {
    cwd: process.cwd(),
    // Asked for late: opening standard input has effects on it.
    get stdin() {
      return process.stdin;
    },
    stdout: process.stdout,
    warn: (line) => {
      process.stderr.write(`${line}\n`);
    },
    now: () => performance.now(),
    after: (milliseconds, callback) => {
      // A longer delay than a 32-bit timer holds would fire at once.
      const timer = setTimeout(callback, Math.min(milliseconds, 2 ** 31 - 1));
      return () => clearTimeout(timer);
    },
    soon: (callback) => {
      setImmediate(callback);
    },
    onSignal: (signal, listener) => {
      if (signal === 'SIGPIPE') return () => {};
      process.on(signal, listener);
      return () => process.off(signal, listener);
    },
    onExit: (listener) => {
      process.on('exit', listener);
      return () => process.off('exit', listener);
    },
    exit: (status) => process.exit(status),
  };
}
