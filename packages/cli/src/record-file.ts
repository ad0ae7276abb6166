/**
 * Recordings of input, `--record` and `--replay`: JSON lines, the first describes the run, each
 * further one is an input with the instruction count and virtual time at which it was delivered.
 */
import { readFileSync } from 'node:fs';
import { type InputRecord, VmmError } from '@cloister/core';
import { fileError } from './error-report.js';
import { type BlockWriter, blockFile } from './exit-log.js';
import { hex } from './exit-record.js';

/** What has to be the same for a replay to reproduce the run. */
export interface RecordHeader {
  readonly clock: 'icount' | 'wall';
  readonly seed: number;
  readonly epochSeconds: number;
  readonly memory: number;
  readonly cpus: number;
}

const FORMAT = 'cloister-input';
const VERSION = 1;

/** Writes each record at once: a recording is complete up to wherever the process died. */
export class RecordWriter {
  readonly #file: BlockWriter;
  readonly #encoder = new TextEncoder();

  constructor(file: BlockWriter, header: RecordHeader) {
    this.#file = file;
    this.#line({ format: FORMAT, version: VERSION, ...header });
  }

  add(record: InputRecord): void {
    const { at, time, source, data } = record;
    this.#line({ at, time, source, data: hex(data) });
  }

  close(): void {
    this.#file.close();
  }

  #line(value: object): void {
    this.#file.write(this.#encoder.encode(`${JSON.stringify(value)}\n`));
  }
}

export function createRecording(path: string, header: RecordHeader): RecordWriter {
  return new RecordWriter(blockFile('recording', path), header);
}

export interface Recording {
  readonly header: RecordHeader;
  readonly records: readonly InputRecord[];
}

export function readRecording(path: string): Recording {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw fileError('recording', path, error);
  }
  return parseRecording(text, path);
}

/** Reads a recording's text; `name` is how errors call it. */
export function parseRecording(text: string, name: string): Recording {
  const lines = text.split('\n');
  // A last line without its end was cut off while it was written.
  lines.pop();
  const bad = (line: number, why: string): never => {
    const message = `recording ${JSON.stringify(name)}, line ${line + 1}: ${why}`;
    throw new VmmError('invalid-file', message);
  };
  const objects = lines.map((line, index) => parseObject(line) ?? bad(index, 'not a JSON object'));
  const head = objects[0];
  if (head === undefined || head['format'] !== FORMAT) {
    return bad(0, 'this is not a recording of input');
  }
  if (head['version'] !== VERSION) return bad(0, `version ${String(head['version'])} is not known`);
  const header = asHeader(head) ?? bad(0, 'a field is missing or of a wrong type');
  const records = objects
    .slice(1)
    .map((object, index) => asRecord(object) ?? bad(index + 1, 'not a record of input'));
  return { header, records };
}

type Fields = Readonly<Record<string, unknown>>;

function parseObject(line: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as Fields) : undefined;
  } catch {
    return undefined;
  }
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0;

function asHeader(fields: Fields): RecordHeader | undefined {
  const { clock, seed, epochSeconds, memory, cpus } = fields;
  if (clock !== 'icount' && clock !== 'wall') return undefined;
  if (!isCount(seed) || !isCount(epochSeconds) || !isCount(memory) || !isCount(cpus)) {
    return undefined;
  }
  return { clock, seed, epochSeconds, memory, cpus };
}

function asRecord(fields: Fields): InputRecord | undefined {
  const { at, time, source, data } = fields;
  if (!isCount(at) || typeof time !== 'number' || typeof source !== 'string') return undefined;
  if (typeof data !== 'string' || !/^([0-9a-f]{2})*$/.test(data)) return undefined;
  return { at, time, source, data: Uint8Array.from(Buffer.from(data, 'hex')) };
}
