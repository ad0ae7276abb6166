/**
 * Saved VMs, `--save` and `--restore`: a plain record as a gzip stream of
 *
 *   magic, 16 bytes; length of the JSON text, u32 little-endian; the JSON text; all blobs.
 *
 * In the JSON text a `Uint8Array` is `{"$bytes": length}`; blobs follow in the order of the text.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, createGzip } from 'node:zlib';
import { type SnapshotValue, VmmError } from '@cloister/core';
import { fileError } from './error-report.js';

const MAGIC = new TextEncoder().encode('CLOISTER STATE 1');
const JSON_MAX = 256 * 2 ** 20;
const BLOB_MAX = 2 ** 33;
const BLOCK = 2 ** 20;

/** Writes `value` to `path`, which is replaced only when all of it is written. */
export async function writeState(path: string, value: SnapshotValue): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await pipeline(
      blocks(value),
      createGzip({ level: constants.Z_BEST_SPEED }),
      // A guest's memory is nobody else's business.
      createWriteStream(temporary, { mode: 0o600 }),
    );
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw fileError('saved state', path, error);
  }
}

function* blocks(value: SnapshotValue): Generator<Uint8Array> {
  const blobs: Uint8Array[] = [];
  // The holder's own value: what is passed has been through toJSON, which a Buffer has.
  const text = JSON.stringify(value, function replace(this: Record<string, unknown>, key, each) {
    const own = this[key];
    if (!(own instanceof Uint8Array)) return each as unknown;
    blobs.push(own);
    return { $bytes: own.length };
  });
  const json = new TextEncoder().encode(text);
  yield MAGIC;
  yield new Uint8Array(Uint32Array.of(json.length).buffer);
  yield json;
  for (const blob of blobs) {
    for (let at = 0; at < blob.length; at += BLOCK) yield blob.subarray(at, at + BLOCK);
  }
}

/** Reads what `writeState` wrote. `VmmError('invalid-file')` for anything else. */
export async function readState(path: string): Promise<SnapshotValue> {
  try {
    return await pipeline(
      createReadStream(path),
      createGunzip({ chunkSize: 256 * 1024 }),
      (chunks: AsyncIterable<Uint8Array>) => readValue(new BlockReader(chunks), path),
    );
  } catch (error) {
    if (error instanceof VmmError) throw error;
    const { code } = error as { code?: string };
    if (!code?.startsWith('Z_')) throw fileError('saved state', path, error);
    throw damaged(path, error);
  }
}

async function readValue(reader: BlockReader, path: string): Promise<SnapshotValue> {
  const magic = await reader.take(MAGIC.length);
  if (magic === undefined || !magic.every((byte, index) => byte === MAGIC[index])) {
    throw damaged(path);
  }
  const size = await reader.take(4);
  const length = size === undefined ? 0 : new DataView(size.buffer).getUint32(0, true);
  if (length === 0 || length > JSON_MAX) throw damaged(path);
  const text = await reader.take(length);
  if (text === undefined) throw damaged(path);
  let total = 0;
  const blobs: Uint8Array[] = [];
  const value = parseJson(new TextDecoder().decode(text), (blobLength) => {
    total += blobLength;
    if (total > BLOB_MAX) throw damaged(path);
    const target = new Uint8Array(blobLength);
    blobs.push(target);
    return target;
  });
  if (value === undefined) throw damaged(path);
  for (const blob of blobs) {
    if (!(await reader.fill(blob))) throw damaged(path);
  }
  // The check sum comes last: only a stream read to its end is known to be whole.
  if (!(await reader.atEnd())) throw damaged(path);
  return value;
}

function damaged(path: string, cause?: unknown): VmmError {
  const message = `saved state ${JSON.stringify(path)}: damaged, or not a saved VM`;
  return new VmmError('invalid-file', message, cause === undefined ? {} : { cause });
}

function parseJson(text: string, blob: (length: number) => Uint8Array): SnapshotValue | undefined {
  try {
    return JSON.parse(text, (_key, each: unknown) => {
      const length = (each as { $bytes?: unknown } | null)?.$bytes;
      return Number.isSafeInteger(length) && (length as number) >= 0
        ? blob(length as number)
        : each;
    }) as SnapshotValue;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Takes exact lengths out of a stream of chunks. */
class BlockReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async atEnd(): Promise<boolean> {
    return this.#rest.length === 0 && (await this.#chunks.next()).done === true;
  }

  async take(length: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const target = new Uint8Array(length);
    return (await this.fill(target)) ? target : undefined;
  }

  /** False when the stream ends before `target` is full. */
  async fill(target: Uint8Array): Promise<boolean> {
    let done = 0;
    while (done < target.length) {
      if (this.#rest.length === 0) {
        const next = await this.#chunks.next();
        if (next.done) return false;
        this.#rest = new Uint8Array(next.value);
      }
      const part = this.#rest.subarray(0, target.length - done);
      target.set(part, done);
      done += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return true;
  }
}
