/**
 * `--disk FILE[,ro][,overlay=FILE][,serial=TEXT]`: a disk as a word of the command line, and the
 * same as an object of the configuration.
 */
import { VmmError } from '@cloister/core';
import type { NamedSource } from './named-source.js';

export interface DiskChoice {
  readonly file: string;
  readonly readOnly: boolean;
  /** What is written goes here, and `file` stays as it is. */
  readonly overlay: string | undefined;
  readonly serial: string | undefined;
}

/** A disk of the configuration file. */
export interface RawDisk {
  readonly file: string;
  readonly readOnly?: boolean;
  readonly overlay?: string;
  readonly serial?: string;
}

/** Reads the word of `--disk`. A comma always ends a part: such names need the configuration. */
export function parseDiskWord(word: string): RawDisk | string {
  const [file = '', ...parts] = word.split(',');
  if (file === '') return 'no file is named';
  let disk: RawDisk = { file };
  for (const part of parts) {
    const [key = '', value] = part.split(/=(.*)/s);
    if (part === 'ro') disk = { ...disk, readOnly: true };
    else if ((key === 'overlay' || key === 'serial') && value) disk = { ...disk, [key]: value };
    else return `${JSON.stringify(part)} is not ro, overlay=FILE or serial=TEXT`;
  }
  return disk;
}

/** A disk from either source. */
export function readDisk(value: string | RawDisk, source: NamedSource): DiskChoice {
  const refuse = (message: string) => new VmmError(source.code, message, { path: source.name });
  const raw = typeof value === 'string' ? parseDiskWord(value) : value;
  if (typeof raw === 'string') throw refuse(raw);
  const { file, readOnly = false, overlay, serial } = raw;
  if (readOnly && overlay !== undefined) throw refuse('a read-only disk has no overlay');
  if (serial !== undefined && !/^[\x20-\x7e]{0,20}$/.test(serial)) {
    throw refuse('a serial number has at most 20 ASCII characters');
  }
  return {
    file: source.resolvePath(file),
    readOnly,
    overlay: overlay === undefined ? undefined : source.resolvePath(overlay),
    serial,
  };
}

/** A file that a disk writes to and that is used a second time: its contents would be lost. */
export function sharedFile(disks: readonly DiskChoice[]): string | undefined {
  const used = disks.flatMap(({ file, overlay }) =>
    overlay === undefined ? file : [file, overlay],
  );
  const written = disks.flatMap(({ file, readOnly, overlay }) => {
    return overlay ?? (readOnly ? [] : file);
  });
  return written.find((path) => used.indexOf(path) !== used.lastIndexOf(path));
}
