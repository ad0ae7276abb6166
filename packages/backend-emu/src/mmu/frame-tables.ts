/**
 * What TypeScript and emitted code both look up on the way from a guest-physical page to its bytes:
 * the map of the pages below a limit; flags of each frame, where its predecoded code lies, what key
 * it is kept under; and what an extension said of pages.
 *
 * The tables lie in the WebAssembly memory, or in a buffer of their own where no emitted code is to
 * use them.
 */

import { verdictBytes } from './verdicts.js';

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
  /** By frame that is FRAME_CACHED (`physical.ts`): the virtual page that leads to it. */
  readonly cached: Int32Array;
  /** By frame, see `frame-keys.ts`. */
  readonly keyTags: Uint16Array;
  /** By page, see `verdicts.ts`; empty where no extension's verdicts last. */
  readonly verdicts: Int32Array;
  /** Emitted code may use them. */
  readonly inMemory: boolean;
}

/** Bytes of a frame in all its tables. */
const FRAME_BYTES = 8 + 4 + 2 + 1;

/** Bytes that the tables take, a multiple of 4096; with `verdicts` or without. */
export function frameTableBytes(pages: number, frames: number, verdicts = false): number {
  const ofPages = pages * 4 + (verdicts ? verdictBytes(pages) : 0);
  return Math.ceil((ofPages + frames * FRAME_BYTES) / 4096) * 4096;
}

/** Tables at byte `offset` of `buffer`, a multiple of 8; where that is undefined, elsewhere. */
export function frameTables(
  buffer: ArrayBufferLike,
  offset: number | undefined,
  pages: number,
  frames: number,
  verdicts = false,
): FrameTables {
  const inMemory = offset !== undefined;
  const where = inMemory ? buffer : new ArrayBuffer(frameTableBytes(pages, frames, verdicts));
  let next = offset ?? 0;
  const place = (bytes: number): number => {
    next += bytes;
    return next - bytes;
  };
  const words = verdicts ? verdictBytes(pages) / 4 : 0;
  return {
    map: new Int32Array(where, place(pages * 4), pages),
    lines: new Int32Array(where, place(frames * 8), frames * 2),
    verdicts: new Int32Array(where, place(words * 4), words),
    cached: new Int32Array(where, place(frames * 4), frames),
    keyTags: new Uint16Array(where, place(frames * 2), frames),
    flags: new Uint8Array(where, place(frames), frames),
    inMemory,
  };
}
