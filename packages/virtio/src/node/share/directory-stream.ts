/**
 * The entries of an open directory, by index. Entries are read as they are asked for; a few are
 * kept, since a guest may ask again for the last ones; before those, reading starts over.
 */
import type { Dir } from 'node:fs';
import { opendir } from './host-files.js';

const KEPT = 256;

export class DirectoryStream {
  private directory: Dir | null = null;
  private recent: Uint8Array[] = [];
  /** Index of the first that is kept. */
  private start = 0;
  private atEnd = false;
  private isClosed = false;
  /** Readers take turns. */
  private last: Promise<unknown> = Promise.resolve();

  /** Runs `act` when no other does; `path` is that of the directory while it runs. */
  inTurn<T>(act: () => Promise<T>): Promise<T> {
    const next = this.last.then(act);
    this.last = next.catch(() => {});
    return next;
  }

  /** Opens the directory, unless it is. */
  async begin(path: string): Promise<void> {
    if (!this.isClosed) this.directory ??= await opendir(path);
  }

  /** To be called in turn. Name of entry `index`, without `.` and `..`; null behind the last. */
  async name(path: string, index: number): Promise<Uint8Array | null> {
    if (index < this.start) await this.rewind();
    if (this.directory === null && !this.atEnd) await this.begin(path);
    while (index >= this.start + this.recent.length && !this.atEnd) {
      const entry = this.isClosed ? null : ((await this.directory?.read()) ?? null);
      if (entry === null) {
        this.atEnd = true;
        break;
      }
      this.recent.push(entry.name as unknown as Uint8Array);
      if (this.recent.length <= KEPT) continue;
      this.recent.shift();
      this.start++;
    }
    return this.recent[index - this.start] ?? null;
  }

  /** Forgets what was read: the directory may have other entries by now. */
  async rewind(): Promise<void> {
    await this.directory?.close();
    this.directory = null;
    this.recent = [];
    this.start = 0;
    this.atEnd = false;
  }

  close(): void {
    this.isClosed = true;
    void this.inTurn(async () => {
      await this.directory?.close();
      this.directory = null;
    }).catch(() => {});
  }
}
