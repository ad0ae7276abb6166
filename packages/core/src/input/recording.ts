/**
 * Recordings of external input, and their file format: JSON lines.
 *
 * First line: what the run must share with the recorded one. Then one line per input with its
 * stamps and base64 data, in order of delivery. The last line says where the recorded run ended, so
 * that a replay ends there as well; a file without it is cut off and refused.
 */
import type { InputRecord, VmEnd } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

/** Where and why the recorded run ended. */
export interface RecordedEnd {
  readonly at: number;
  readonly time: number;
  readonly reason: VmEnd['reason'];
}

/** What a replay needs. Whatever is named besides the inputs, the VM takes or must agree with. */
export interface ReplaySource {
  readonly seed?: string | number;
  readonly epochSeconds?: number;
  readonly memory?: number;
  readonly cpus?: number;
  readonly inputs: readonly InputRecord[];
  /** Without an end the replay goes on until the guest or the host ends it. */
  readonly end?: RecordedEnd;
}

export interface InputRecording extends ReplaySource {
  /** The VM's seed, decimal. */
  readonly seed: string;
  readonly epochSeconds: number;
  /** Bytes of RAM. */
  readonly memory: number;
  readonly cpus: number;
  readonly inputs: readonly InputRecord[];
  readonly end: RecordedEnd;
}

const FORMAT = 'cloister-input';
const VERSION = 1;

const REASONS: readonly string[] = [
  'power-off',
  'debug-exit',
  'reset',
  'triple-fault',
  'timeout',
  'stopped',
  'error',
] satisfies VmEnd['reason'][];

function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function fromBase64(text: string): Uint8Array | null {
  try {
    const raw = atob(text);
    return Uint8Array.from(raw, (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}

/** The text of a recording file. */
export function encodeRecording(recording: InputRecording): string {
  const { seed, epochSeconds, memory, cpus, inputs, end } = recording;
  const head = { format: FORMAT, version: VERSION, seed, epochSeconds, memory, cpus };
  const lines: object[] = [head];
  for (const { at, time, source, data } of inputs) {
    lines.push({ at, time, source, data: toBase64(data) });
  }
  lines.push({ end });
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

type Fields = Readonly<Record<string, unknown>>;

function fail(line: number, what: string): never {
  throw new VmmError('invalid-file', `recording, line ${line}: ${what}`, {
    remedy: 'record the run again',
  });
}

function parseLine(text: string, line: number): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    fail(line, 'not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    fail(line, 'not an object');
  }
  return value as Fields;
}

function count(fields: Fields, name: string, line: number): number {
  const value = fields[name];
  if (!Number.isSafeInteger(value) || (value as number) < 0) fail(line, `${name} is no count`);
  return value as number;
}

function text(fields: Fields, name: string, line: number): string {
  const value = fields[name];
  if (typeof value !== 'string') fail(line, `${name} is no text`);
  return value;
}

function parseInput(fields: Fields, line: number): InputRecord {
  const data = fromBase64(text(fields, 'data', line));
  if (data === null) fail(line, 'data is not base64');
  return {
    at: count(fields, 'at', line),
    time: count(fields, 'time', line),
    source: text(fields, 'source', line),
    data,
  };
}

function parseEnd(value: unknown, line: number): RecordedEnd {
  if (typeof value !== 'object' || value === null) fail(line, 'end is no object');
  const fields = value as Fields;
  const reason = text(fields, 'reason', line);
  if (!REASONS.includes(reason)) fail(line, `unknown reason ${reason}`);
  return {
    at: count(fields, 'at', line),
    time: count(fields, 'time', line),
    reason: reason as RecordedEnd['reason'],
  };
}

/** Reads a recording file; `VmmError('invalid-file')` names the damaged line. */
export function decodeRecording(file: string): InputRecording {
  const lines = file.split('\n');
  if (lines.at(-1) === '') lines.pop();
  const head = parseLine(lines[0] ?? '', 1);
  if (head['format'] !== FORMAT) fail(1, 'not a recording of input');
  if (head['version'] !== VERSION) fail(1, `version ${String(head['version'])} is not known`);
  const seed = text(head, 'seed', 1);
  if (!/^[0-9]{1,20}$/.test(seed)) fail(1, 'seed is no number');
  const inputs: InputRecord[] = [];
  for (let index = 1; index < lines.length; index++) {
    const line = index + 1;
    const fields = parseLine(lines[index]!, line);
    if ('end' in fields) {
      if (index !== lines.length - 1) fail(line, 'there is more behind the end');
      return {
        seed,
        epochSeconds: count(head, 'epochSeconds', 1),
        memory: count(head, 'memory', 1),
        cpus: count(head, 'cpus', 1),
        inputs,
        end: parseEnd(fields['end'], line),
      };
    }
    const input = parseInput(fields, line);
    const last = inputs.at(-1);
    if (last !== undefined && (input.at < last.at || input.time < last.time)) {
      fail(line, 'the stamps go back');
    }
    inputs.push(input);
  }
  fail(lines.length, 'the file ends too early');
}
