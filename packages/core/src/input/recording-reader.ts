/**
 * Reads a recording file line by line, from pieces cut anywhere. The data of a line as it is
 * written goes straight from bytes to bytes; other JSON of the same meaning is read as well.
 */
import type { InputRecord } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import { decodeBase64 } from './base64.js';
import type { InputRecording, RecordedEnd, RecordingHead } from './recording.js';
import { FORMAT, LINE_MAX, REASONS, VERSION } from './recording.js';

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const BRACE = 0x7d;
/** Characters of a text that are made bytes at once. */
const TEXT_PIECE = 2 ** 20;

type Fields = Readonly<Record<string, unknown>>;

function fail(line: number, what: string): never {
  throw new VmmError('invalid-file', `recording, line ${line}: ${what}`, {
    remedy: 'record the run again',
  });
}

/** The lines of a file, without their ends; each is good until the next one is asked for. */
function* linesOf(pieces: Iterable<Uint8Array>, max: number): Generator<Uint8Array> {
  let begun: Uint8Array[] = [];
  let length = 0;
  let line = 1;
  for (const piece of pieces) {
    for (let from = 0; from < piece.length; ) {
      const newline = piece.indexOf(NEWLINE, from);
      const rest = piece.subarray(from, newline < 0 ? piece.length : newline);
      if (length + rest.length > max) fail(line, `it is longer than ${max} bytes`);
      from += rest.length + 1;
      length += rest.length;
      // Whoever gives the piece may fill it again.
      if (newline < 0) begun.push(rest.slice());
      else {
        yield begun.length === 0 ? rest : join([...begun, rest], length);
        begun = [];
        length = 0;
        line++;
      }
    }
  }
  if (length > 0) yield join(begun, length);
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** UTF-8 of a text in pieces; none ends within a character. */
function* piecesOf(text: string): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  for (let from = 0; from < text.length; ) {
    const isPair = (text.codePointAt(from + TEXT_PIECE - 1) ?? 0) > 0xffff;
    const to = from + TEXT_PIECE + (isPair ? 1 : 0);
    yield encoder.encode(text.slice(from, to));
    from = to;
  }
}

function parseJson(bytes: Uint8Array, line: number, behind = ''): Fields {
  let value: unknown;
  try {
    // A byte order mark is one only at the start of a file.
    const decoder = new TextDecoder('utf-8', { ignoreBOM: line > 1 });
    value = JSON.parse(decoder.decode(bytes) + behind);
  } catch {
    fail(line, 'not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    fail(line, 'not an object');
  }
  return value as Fields;
}

const LAST_FIELD = new TextEncoder().encode(',"data":"');

/** A line that ends in base64 data: the rest of it and the data; null for any other. */
function splitData(bytes: Uint8Array): { rest: Uint8Array; data: Uint8Array } | null {
  const close = bytes.length - 2;
  if (bytes[close + 1] !== BRACE || bytes[close] !== QUOTE) return null;
  const start = bytes.lastIndexOf(QUOTE, close - 1) + 1;
  const end = start - LAST_FIELD.length;
  if (end < 0 || !LAST_FIELD.every((byte, i) => bytes[end + i] === byte)) return null;
  const data = decodeBase64(bytes.subarray(start, close));
  return data === null ? null : { rest: bytes.subarray(0, end), data };
}

function parseLine(bytes: Uint8Array, line: number): Fields {
  const split = splitData(bytes);
  if (split === null) return parseJson(bytes, line);
  return { ...parseJson(split.rest, line, '}'), data: split.data };
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

function dataOf(fields: Fields, line: number): Uint8Array {
  if (fields['data'] instanceof Uint8Array) return fields['data'];
  const base64 = text(fields, 'data', line);
  try {
    return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  } catch {
    fail(line, 'data is not base64');
  }
}

function parseInput(fields: Fields, line: number): InputRecord {
  return {
    data: dataOf(fields, line),
    at: count(fields, 'at', line),
    time: count(fields, 'time', line),
    source: text(fields, 'source', line),
  };
}

function parseHead(head: Fields): RecordingHead {
  if (head['format'] !== FORMAT) fail(1, 'not a recording of input');
  if (head['version'] !== VERSION) fail(1, `version ${String(head['version'])} is not known`);
  const seed = text(head, 'seed', 1);
  if (!/^[0-9]{1,20}$/.test(seed)) fail(1, 'seed is no number');
  return {
    seed,
    epochSeconds: count(head, 'epochSeconds', 1),
    memory: count(head, 'memory', 1),
    cpus: count(head, 'cpus', 1),
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

/**
 * Reads a recording file: its text, or its bytes in pieces cut anywhere, each of which may be
 * overwritten when the next one is asked for. `VmmError('invalid-file')` names the damaged line,
 * also where one is longer than `lineMax` bytes.
 */
export function decodeRecording(
  file: string | Iterable<Uint8Array>,
  { lineMax = LINE_MAX }: { readonly lineMax?: number } = {},
): InputRecording {
  let head: RecordingHead | null = null;
  let end: RecordedEnd | null = null;
  const inputs: InputRecord[] = [];
  let line = 0;
  for (const bytes of linesOf(typeof file === 'string' ? piecesOf(file) : file, lineMax)) {
    if (end !== null) fail(line, 'there is more behind the end');
    line++;
    const fields = parseLine(bytes, line);
    if (head === null) head = parseHead(fields);
    else if ('end' in fields) end = parseEnd(fields['end'], line);
    else {
      const input = parseInput(fields, line);
      const last = inputs.at(-1);
      if (last !== undefined && (input.at < last.at || input.time < last.time)) {
        fail(line, 'the stamps go back');
      }
      inputs.push(input);
    }
  }
  if (head === null) fail(1, 'not JSON');
  if (end === null) fail(line, 'the file ends too early');
  return { ...head, inputs, end };
}
