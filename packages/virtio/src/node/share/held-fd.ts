/**
 * A file descriptor that is closed only when nobody uses it: a number that was closed under work
 * under way may be another file's by then.
 */
import { closeSync } from 'node:fs';

export class HeldFd {
  users = 0;
  private closing = false;

  constructor(readonly fd: number) {}

  /** The object itself, whatever its name is by now. */
  get path(): string {
    return `/proc/self/fd/${this.fd}`;
  }

  /** To be paired with `release`. */
  take(): this {
    this.users++;
    return this;
  }

  release(): void {
    this.users--;
    this.settle();
  }

  close(): void {
    if (this.closing) return;
    this.closing = true;
    this.settle();
  }

  private settle(): void {
    if (!this.closing || this.users > 0) return;
    try {
      closeSync(this.fd);
    } catch {
      // An error of a write before (NFS) has no one left to be told to.
    }
  }
}

/** The path of `name`, one component, in the directory that is held. */
export function within(directory: HeldFd, name: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${directory.path}/`), name]);
}
