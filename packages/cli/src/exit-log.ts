/**
 * The exit log, `--exits FILE.jsonl`: lines are gathered in a block of fixed size and written when
 * it is full. Writing is synchronous: a slow disk slows the guest and never grows memory.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import type { VmExit, WorldSwitch } from '@cloister/core';
import { fileError } from './error-report.js';
import { exitLine, isGuestExit, switchLine } from './exit-record.js';

const BLOCK = 64 * 1024;

/** Where blocks go. */
export interface BlockWriter {
  write(block: Uint8Array): void;
  close(): void;
}

export class ExitLog {
  readonly #writer: BlockWriter;
  readonly #onError: (error: unknown) => void;
  readonly #block = new Uint8Array(BLOCK);
  readonly #encoder = new TextEncoder();
  #used = 0;
  #failed = false;

  /** `onError` is called once, for the first write that fails; later exits are then dropped. */
  constructor(writer: BlockWriter, onError: (error: unknown) => void) {
    this.#writer = writer;
    this.#onError = onError;
  }

  add(exit: VmExit): void {
    if (isGuestExit(exit)) this.#line(exitLine(exit));
  }

  addSwitch(event: WorldSwitch): void {
    this.#line(switchLine(event));
  }

  #line(line: string): void {
    if (this.#failed) return;
    let rest = line;
    while (rest !== '') {
      const { read, written } = this.#encoder.encodeInto(rest, this.#block.subarray(this.#used));
      this.#used += written;
      rest = rest.slice(read);
      if (rest !== '') this.flush();
      if (this.#failed) return;
    }
  }

  flush(): void {
    if (this.#failed || this.#used === 0) return;
    try {
      this.#writer.write(this.#block.subarray(0, this.#used));
    } catch (error) {
      this.#failed = true;
      this.#onError(error);
    }
    this.#used = 0;
  }

  close(): void {
    this.flush();
    this.#writer.close();
  }
}

/** A block writer to a new file. `what` names the file's purpose in errors. */
export function blockFile(what: string, path: string): BlockWriter {
  let fd: number;
  try {
    fd = openSync(path, 'w');
  } catch (error) {
    throw fileError(what, path, error);
  }
  return {
    write(block) {
      try {
        for (let done = 0; done < block.length; ) {
          done += writeSync(fd, block, done, block.length - done);
        }
      } catch (error) {
        throw fileError(what, path, error);
      }
    },
    close: () => closeSync(fd),
  };
}
