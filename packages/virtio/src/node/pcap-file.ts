/**
 * A pcap file that is written while a VM runs.
 *
 * It ends before the record that would make it longer than its limit: a guest sends as much as it
 * likes. Records are gathered and written at the end of the event loop's turn, so that a file is
 * whole up to then however the process ends.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { VmmError } from '@cloister/core';
import type { FrameSink } from '../net/backend.js';
import { pcapHeader, pcapRecord } from '../net/pcap.js';

const GATHERED_MAX = 256 * 1024;

export interface PcapOptions {
  /** Most bytes of the file; no limit unless given. */
  readonly limit?: number;
}

class PcapFile implements FrameSink {
  private readonly fd: number;
  private gathered: Uint8Array[] = [pcapHeader()];
  private length = 0;
  /** Bytes that may still be written. */
  private left: number;
  private scheduled = false;
  private broken = false;

  constructor(
    private readonly path: string,
    private readonly epochSeconds: number,
    { limit = Number.POSITIVE_INFINITY }: PcapOptions,
  ) {
    this.left = limit - this.gathered[0]!.length;
    if (!(this.left >= 0)) {
      throw new VmmError(
        'invalid-argument',
        `a capture of ${limit} bytes has no room for a header`,
      );
    }
    try {
      this.fd = openSync(path, 'w');
    } catch (cause) {
      throw new VmmError('invalid-file', `capture ${path}: ${(cause as Error).message}`, { cause });
    }
    this.write();
  }

  frame(frame: Uint8Array, at: number): void {
    if (this.broken) return;
    const record = pcapRecord(frame, at, this.epochSeconds);
    this.left -= record.length;
    if (this.left < 0) {
      this.write();
      this.end('its limit is reached');
      return;
    }
    this.gathered.push(record);
    this.length += record.length;
    if (this.length > GATHERED_MAX) this.write();
    else if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(() => {
        this.scheduled = false;
        this.write();
      });
    }
  }

  close(): void {
    this.write();
    this.broken = true;
    closeSync(this.fd);
  }

  /** A disk that is full ends the capture, not the VM. */
  private write(): void {
    const bytes = Buffer.concat(this.gathered);
    this.gathered = [];
    this.length = 0;
    try {
      for (let done = 0; !this.broken && done < bytes.length; ) {
        done += writeSync(this.fd, bytes, done);
      }
    } catch (error) {
      this.end((error as Error).message);
    }
  }

  private end(why: string): void {
    this.broken = true;
    process.emitWarning(`capture ${this.path} ends here: ${why}`);
  }
}

/**
 * Captures to a file; `VmmError('invalid-file')` when it cannot be made. A warning of the process
 * says where it ends before the VM does.
 */
export function pcapFile(path: string, epochSeconds: number, options: PcapOptions = {}): FrameSink {
  return new PcapFile(path, epochSeconds, options);
}
