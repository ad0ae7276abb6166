/**
 * `--disk FILE[,ro][,overlay=FILE][,serial=TEXT][,queues=N][,bps=SIZE][,iops=N][,latency=US]`: a
 * disk as a word of the command line, and the same as an object of the configuration.
 */
import { VmmError } from '@cloister/core';
import type { NamedSource } from './named-source.js';
import { parseInteger, parseSize } from './quantity.js';

export interface DiskChoice {
  readonly file: string;
  readonly readOnly: boolean;
  /** What is written goes here, and `file` stays as it is. */
  readonly overlay: string | undefined;
  readonly serial: string | undefined;
  readonly queues: number | undefined;
  /** Bytes and requests per second at most. */
  readonly bps: number | undefined;
  readonly iops: number | undefined;
  /** Microseconds of counted time that a request takes. */
  readonly latency: number | undefined;
}

/** A disk of the configuration file. */
export interface RawDisk {
  readonly file: string;
  readonly readOnly?: boolean;
  readonly overlay?: string;
  readonly serial?: string;
  readonly queues?: number | string;
  readonly bps?: number | string;
  readonly iops?: number | string;
  readonly latency?: number | string;
}

/** Parts of the word that have a value. */
const KEYS = ['overlay', 'serial', 'queues', 'bps', 'iops', 'latency'];
const QUEUES_MAX = 64;
/** A second: more would look like a disk that hangs. */
const LATENCY_MAX = 1_000_000;

/** For the command's help. */
export const DISK_HELP =
  'a disk: FILE[,ro][,overlay=FILE][,serial=TEXT], also queues=N, bps=SIZE, iops=N, latency=US; ' +
  'repeatable';

/** Reads the word of `--disk`. A comma always ends a part: such names need the configuration. */
export function parseDiskWord(word: string): RawDisk | string {
  const [file = '', ...parts] = word.split(',');
  if (file === '') return 'no file is named';
  let disk: RawDisk = { file };
  for (const part of parts) {
    const [key = '', value] = part.split(/=(.*)/s);
    if (part === 'ro') disk = { ...disk, readOnly: true };
    else if (KEYS.includes(key) && value) disk = { ...disk, [key]: value };
    else return `${JSON.stringify(part)} is not ro or ${KEYS.join('=, ')}=`;
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
  const number = (
    name: 'queues' | 'bps' | 'iops' | 'latency',
    [min, max]: readonly [number, number],
    parse = parseInteger,
  ) => {
    const given = raw[name];
    if (given === undefined) return undefined;
    const parsed = parse(given);
    if (parsed !== undefined && parsed >= min && parsed <= max) return parsed;
    throw refuse(`${name} ${JSON.stringify(given)} is not a number from ${min} to ${max}`);
  };
  return {
    file: source.resolvePath(file),
    readOnly,
    overlay: overlay === undefined ? undefined : source.resolvePath(overlay),
    serial,
    queues: number('queues', [1, QUEUES_MAX]),
    bps: number('bps', [1, Number.MAX_SAFE_INTEGER], parseSize),
    iops: number('iops', [1, Number.MAX_SAFE_INTEGER]),
    latency: number('latency', [0, LATENCY_MAX]),
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
