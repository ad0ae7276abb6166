/**
 * A saved VM as the bytes of a file, and back.
 *
 * Format: a gzip stream (RFC 1952; its check sum covers everything) of a magic of 16 bytes, the
 * length of the JSON text as u32 little-endian, the JSON text, and all blobs. In the text a
 * `Uint8Array` stands as `{"$bytes": length}`; the blobs follow in the order of the text.
 */
import type { Snapshot, SnapshotValue } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

const MAGIC = 'CLOISTER STATE 1';
const HEAD = MAGIC.length + 4;
const JSON_MAX = 256 * 2 ** 20;
const BLOCK = 2 ** 20;
const BYTES_KEY = '$bytes';

export interface DecodeOptions {
  /** Refuses a state of more bytes than this, before it is in memory. Default 8 GiB. */
  readonly maxBytes?: number;
}

function damaged(why: string, cause?: unknown): VmmError {
  return new VmmError('invalid-file', `saved VM: ${why}`, {
    remedy: 'save the VM again',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The pieces of the stream, in order. */
function* pieces(snapshot: Snapshot): Generator<Uint8Array<ArrayBuffer>> {
  const blobs: Uint8Array[] = [];
  const text = JSON.stringify(snapshot, function replace(this: unknown, key, value: unknown) {
    // The holder's own value: a subclass of Uint8Array may have a toJSON.
    const own = (this as Record<string, unknown>)[key];
    if (own instanceof Uint8Array) {
      blobs.push(own);
      return { [BYTES_KEY]: own.length };
    }
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw new VmmError('invalid-argument', `a snapshot cannot hold the number ${value}`);
    }
    if (typeof value === 'object' && value !== null && BYTES_KEY in value) {
      throw new VmmError('invalid-argument', `a snapshot cannot hold a field ${BYTES_KEY}`);
    }
    return value;
  });
  const encoder = new TextEncoder();
  const json = encoder.encode(text);
  const head = new Uint8Array(HEAD);
  head.set(encoder.encode(MAGIC));
  new DataView(head.buffer).setUint32(MAGIC.length, json.length, true);
  yield head;
  yield json;
  for (const blob of blobs) {
    for (let at = 0; at < blob.length; at += BLOCK)
      yield new Uint8Array(blob.subarray(at, at + BLOCK));
  }
}

function streamOf(source: Iterator<Uint8Array<ArrayBuffer>>): ReadableStream<BufferSource> {
  return new ReadableStream<BufferSource>({
    pull(controller) {
      const next = source.next();
      if (next.done === true) controller.close();
      else controller.enqueue(next.value);
    },
  });
}

/** Bytes collected from chunks. */
class Collector {
  private readonly chunks: Uint8Array[] = [];
  length = 0;

  add(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.length += chunk.length;
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const chunk of this.chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    this.chunks.length = 0;
    return all;
  }
}

/** The bytes of a file that holds `snapshot`. */
export async function encodeSnapshot(snapshot: Snapshot): Promise<Uint8Array> {
  const packed = streamOf(pieces(snapshot)).pipeThrough(new CompressionStream('gzip'));
  const collector = new Collector();
  for await (const chunk of chunksOf(packed)) collector.add(chunk);
  return collector.bytes();
}

/** Reads such a file; `VmmError('invalid-file')` for anything else. */
export async function decodeSnapshot(
  file: Uint8Array,
  options: DecodeOptions = {},
): Promise<Snapshot> {
  const { maxBytes = 2 ** 33 } = options;
  const once = [new Uint8Array(file)][Symbol.iterator]();
  const plain = streamOf(once).pipeThrough(new DecompressionStream('gzip'));
  const collector = new Collector();
  try {
    for await (const chunk of chunksOf(plain)) {
      collector.add(chunk);
      if (collector.length > maxBytes) throw damaged(`it holds more than ${maxBytes} bytes`);
    }
  } catch (error) {
    if (error instanceof VmmError) throw error;
    throw damaged('it is damaged, cut off, or not a saved VM', error);
  }
  return parse(collector.bytes());
}

async function* chunksOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(bytes: Uint8Array): Snapshot {
  const magic = new TextDecoder('latin1').decode(bytes.subarray(0, MAGIC.length));
  if (magic !== MAGIC) throw damaged('it is not a saved VM of a version that is known');
  if (bytes.length < HEAD) throw damaged('it ends too early');
  const length = new DataView(bytes.buffer).getUint32(MAGIC.length, true);
  if (length > JSON_MAX || HEAD + length > bytes.length) throw damaged('it ends too early');
  let at = HEAD + length;
  const takeBlob = (size: number): Uint8Array => {
    if (at + size > bytes.length) throw damaged('it ends too early');
    at += size;
    return bytes.slice(at - size, at);
  };
  let value: SnapshotValue;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(
      bytes.subarray(HEAD, HEAD + length),
    );
    value = JSON.parse(text, (_key, each: unknown) => {
      const size = (each as { [BYTES_KEY]?: unknown } | null)?.[BYTES_KEY];
      if (size === undefined) return each;
      if (!Number.isSafeInteger(size) || (size as number) < 0) throw damaged('a blob has no size');
      return takeBlob(size as number);
    }) as SnapshotValue;
  } catch (error) {
    if (error instanceof VmmError) throw error;
    throw damaged('its text is damaged', error);
  }
  if (at !== bytes.length) throw damaged('there is more behind its end');
  const { type, version, state } = (value ?? {}) as Partial<Snapshot>;
  if (typeof type !== 'string' || typeof version !== 'number' || state === undefined) {
    throw damaged('it holds no snapshot');
  }
  return { type, version, state };
}
