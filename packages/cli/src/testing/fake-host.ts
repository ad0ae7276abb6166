/**
 * A process that is none, for tests of commands: what was written is kept, time is moved and
 * signals are sent by hand.
 */
import { EventEmitter } from 'node:events';
import type { Host, HostSignal } from '../host.js';

export class FakeStdin extends EventEmitter {
  isTTY = false;
  rawHistory: boolean[] = [];
  setRawMode(raw: boolean) {
    this.rawHistory.push(raw);
  }
  pause() {}
  resume() {}
}

export class FakeHost implements Host {
  readonly cwd = '/';
  readonly stdin = new FakeStdin();
  output = '';
  readonly lines: string[] = [];
  time = 0;
  exited: number | undefined;
  readonly signals = new Map<HostSignal, () => void>();
  readonly timers = new Map<number, () => void>();
  readonly atExit = new Set<() => void>();
  stdoutError: (error: Error) => void = () => {};
  readonly stdout = {
    write: (chunk: Uint8Array, done: () => void) => {
      this.output += Buffer.from(chunk).toString();
      setImmediate(done);
    },
    on: (event: 'error' | 'resize', listener: (error: Error) => void) => {
      if (event === 'error') this.stdoutError = listener;
    },
  };
  warn(line: string) {
    this.lines.push(line);
  }
  now() {
    return (this.time += 1000);
  }
  after(milliseconds: number, callback: () => void) {
    this.timers.set(milliseconds, callback);
    return () => this.timers.delete(milliseconds);
  }
  soon(callback: () => void) {
    setImmediate(callback);
  }
  onSignal(signal: HostSignal, listener: () => void) {
    this.signals.set(signal, listener);
    return () => this.signals.delete(signal);
  }
  onExit(listener: () => void) {
    this.atExit.add(listener);
    return () => this.atExit.delete(listener);
  }
  exit(status: number) {
    this.exited = status;
  }
}
