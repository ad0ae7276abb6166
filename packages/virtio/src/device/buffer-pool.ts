/**
 * Buffers of host work that are used again: a fresh one for every large request costs more, in
 * zeroing and in the collector, than the request's own copies.
 *
 * A buffer that comes from the pool holds what was in it before. Short ones are always fresh.
 */
const POOLED_MIN = 16 * 1024;
const POOLED_MAX = 2 * 1024 * 1024;
/** Bytes that are kept for later. */
const KEPT_MAX = 8 * 1024 * 1024;

export class BufferPool {
  private readonly free = new Map<number, ArrayBuffer[]>();
  private kept = 0;
  /** Buffers that were taken: nothing else may come back. */
  private readonly ours = new WeakSet<ArrayBufferLike>();

  take(length: number): Uint8Array {
    if (length < POOLED_MIN || length > POOLED_MAX) return new Uint8Array(length);
    const size = 2 ** Math.ceil(Math.log2(length));
    const kept = this.free.get(size)?.pop();
    if (kept !== undefined) this.kept -= size;
    const buffer = kept ?? new ArrayBuffer(size);
    this.ours.add(buffer);
    return new Uint8Array(buffer, 0, length);
  }

  /** Takes back what `take` gave and nobody uses any more; other buffers are left alone. */
  give(bytes: Uint8Array): void {
    // Short ones are not ours; asking one for its buffer makes V8 allocate that.
    if (bytes.length < POOLED_MIN) return;
    const { buffer } = bytes;
    if (!this.ours.delete(buffer) || this.kept + buffer.byteLength > KEPT_MAX) return;
    const size = buffer.byteLength;
    const list = this.free.get(size) ?? [];
    list.push(buffer as ArrayBuffer);
    this.free.set(size, list);
    this.kept += size;
  }
}
