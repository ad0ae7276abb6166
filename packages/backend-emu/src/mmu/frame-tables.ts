/**
 * What TypeScript and emitted code both look up on the way from a guest-physical page to its bytes:
 * the map of the pages below a limit, flags of each frame, and where its predecoded code lies.
 *
 * The tables lie in the WebAssembly memory, or in a buffer of their own where no emitted code is to
 * use them.
 */

/** Bytes of a frame that one bit of `lines` stands for. */
export const LINE_SIZE = 64;
/** Pages below 4 GiB. */
export const LOW_PAGES = 1 << 20;

export interface FrameTables {
  /** By page: (frame << 1 | read-only) + 1, so that 0 means nothing. */
  readonly map: Int32Array;
  /** By frame, see `physical.ts`. */
  readonly flags: Uint8Array;
  /** By frame, two words each: a bit for each line that holds predecoded code. */
  readonly lines: Int32Array;
  /** Emitted code may use them. */
  readonly inMemory: boolean;
}

/** Bytes that the tables take, a multiple of 4096. */
export function frameTableBytes(pages: number, frames: number): number {
  return Math.ceil((pages * 4 + frames * 9) / 4096) * 4096;
}

/** Tables at byte `offset` of `buffer`, a multiple of 8; where that is undefined, elsewhere. */
export function frameTables(
  buffer: ArrayBufferLike,
  offset: number | undefined,
  pages: number,
  frames: number,
): FrameTables {
  const inMemory = offset !== undefined;
  const where = inMemory ? buffer : new ArrayBuffer(frameTableBytes(pages, frames));
  const at = offset ?? 0;
  return {
    map: new Int32Array(where, at, pages),
    lines: new Int32Array(where, at + pages * 4, frames * 2),
    flags: new Uint8Array(where, at + pages * 4 + frames * 8, frames),
    inMemory,
  };
}
