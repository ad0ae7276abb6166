/**
 * Recordings, `--record` and `--replay`, in files. The format is core's.
 *
 * A recording is written while the guest runs, under another name in the same folder, and becomes
 * FILE when all of it is on the disk. Writing is synchronous: a slow disk slows the guest and never
 * grows memory.
 */
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readSync,
  realpathSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import {
  decodeRecording,
  type InputRecord,
  type InputRecording,
  type RecordedEnd,
  type RecordingHead,
  RecordingWriter,
  VmmError,
} from '@cloister/core';
import { fileError } from './error-report.js';
import { type Replacement, replacement } from './replacement.js';

const PIECE = 1 << 20;

/** What a full or broken disk refuses. */
export interface Disk {
  /** Writes all of a block. */
  write(file: number, block: Uint8Array): void;
  /** Returns when all that was written is on the disk. */
  flush(file: number): void;
}

const realDisk: Disk = { write: writeFileSync, flush: fsyncSync };

export class RecordingFile {
  readonly #path: string;
  readonly #failed: (error: unknown) => void;
  readonly #disk: Disk;
  #target: Target | undefined;
  #writer: RecordingWriter | undefined;

  /** `failed` is called once, for the first write that fails; later input is then dropped. */
  constructor(path: string, failed: (error: unknown) => void, disk: Disk = realDisk) {
    this.#path = path;
    this.#failed = failed;
    this.#disk = disk;
  }

  /** Begins the file, of a VM that is about to run. */
  begin(head: RecordingHead): void {
    this.#guard(() => {
      const target = openTarget(this.#path);
      this.#target = target;
      this.#writer = new RecordingWriter(head, (block) => this.#disk.write(target.file, block));
    });
  }

  add(input: InputRecord): void {
    try {
      this.#guard(() => this.#writer?.add(input));
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Writes the end; from now on the recording is there. Does nothing after a failure. */
  finish(end: RecordedEnd): void {
    this.#guard(() => {
      if (this.#writer === undefined || this.#target === undefined) return;
      this.#writer.finish(end);
      if (this.#target.isFile) this.#disk.flush(this.#target.file);
      this.#target.keep();
    });
    this.drop();
  }

  /** Takes back what was written, unless it is whole. */
  drop(): void {
    this.#writer = undefined;
    this.#target?.drop();
    this.#target = undefined;
  }

  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.drop();
      const { code, message } = fileError('recording', this.#path, error);
      throw new VmmError(code, `${message}${whatIsLeft(this.#path)}`, { cause: error });
    }
  }
}

function whatIsLeft(path: string): string {
  if (!existsSync(path)) return '; nothing is there';
  return statSync(path).isFile() ? '; what was there before is still there' : '';
}

interface Target extends Replacement {
  /** It is to be on the disk before it takes the place of another file. */
  readonly isFile: boolean;
}

/** A device or a pipe takes the recording as it comes; a file is replaced, and keeps its mode. */
function openTarget(path: string): Target {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there === undefined) return replaceFile(path, 0o666);
  accessSync(path, constants.W_OK);
  if (!there.isFile()) return openAsItIs(path);
  const mode = there.mode & 0o777;
  const target = replaceFile(realpathSync(path), mode);
  fchmodSync(target.file, mode);
  return target;
}

/** Runs that are to write one file at once do not disturb each other: the last to end wins. */
function replaceFile(path: string, mode: number): Target {
  return { ...replacement(path, mode, `${path}.${process.pid}.tmp`), isFile: true };
}

function openAsItIs(path: string): Target {
  const file = openSync(path, 'w');
  let isOpen = true;
  const close = () => {
    if (isOpen) closeSync(file);
    isOpen = false;
  };
  return { file, isFile: false, keep: close, drop: close };
}

/** Reads a recording. `VmmError('invalid-file')` for anything else. */
export function readRecording(path: string): InputRecording {
  return decodeRecording(piecesOf(path));
}

/** The bytes of a file, each piece where the last one was. */
function* piecesOf(path: string): Generator<Uint8Array> {
  const reading = <T>(read: () => T): T => {
    try {
      return read();
    } catch (error) {
      throw fileError('recording', path, error);
    }
  };
  const file = reading(() => openSync(path, 'r'));
  try {
    const piece = new Uint8Array(PIECE);
    for (;;) {
      const length = reading(() => readSync(file, piece));
      if (length === 0) return;
      yield piece.subarray(0, length);
    }
  } finally {
    closeSync(file);
  }
}
