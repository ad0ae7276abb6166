/**
 * Under which key each frame of system memory is kept.
 *
 * A frame under tag 0 holds what stands in memory; under another tag it holds the same bytes
 * deciphered with that key. An access under another tag re-encodes the frame with the cipher and
 * switches the tag, after every translation to it has been dropped: both views of a frame are
 * exact at any time, and an access that finds its own tag costs nothing. Tags are what a cache is:
 * nothing that guest or host can see depends on them.
 */
import { type FrameCipher, VmmError } from '@cloister/core';

const PAGE_SIZE = 4096;

export class FrameKeys {
  /** By frame. All 0 without a cipher. */
  readonly tags: Uint16Array;
  cipher: FrameCipher | null = null;
  /** Frames re-encoded so far. */
  switches = 0;
  private patience = 0;
  private exhausted: () => void = () => {};
  private readonly scratch = new Uint8Array(PAGE_SIZE);

  /** `drop` forgets what is derived from a frame's bytes: translations and decoded code. */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly drop: (frame: number) => void,
  ) {
    this.tags = new Uint16Array(bytes.length / PAGE_SIZE);
  }

  /** Has `exhausted` called once so many frames more are re-encoded. */
  watch(switches: number, exhausted: () => void): void {
    this.patience = switches;
    this.exhausted = exhausted;
  }

  /** Has `frame` kept under `tag`. */
  require(frame: number, tag: number): void {
    if (this.tags[frame] !== tag) this.switch(frame, tag);
  }

  /** As `require`, for a frame all of which is about to be written: what it holds is nobody's. */
  claim(frame: number, tag: number): void {
    if (this.tags[frame] === tag) return;
    this.drop(frame);
    this.tags[frame] = tag;
  }

  private switch(frame: number, tag: number): void {
    this.drop(frame);
    this.recode(frame, this.tags[frame], tag, this.bytesOf(frame));
    this.tags[frame] = tag;
    this.switches++;
    if (--this.patience === 0) this.exhausted();
  }

  /** Has `frame` hold `content`, as seen under `tag`. */
  replace(frame: number, tag: number, content: Uint8Array): void {
    if (this.tags[frame] !== tag) this.drop(frame);
    this.bytesOf(frame).set(content);
    this.tags[frame] = tag;
  }

  /** A copy of `frame` as seen under `tag`, in `into`. */
  view(frame: number, tag: number, into = new Uint8Array(PAGE_SIZE)): Uint8Array {
    into.set(this.bytesOf(frame));
    this.recode(frame, this.tags[frame], tag, into);
    return into;
  }

  /** Fills `target` with the bytes at `spa` as seen under `tag`. */
  read(spa: number, target: Uint8Array, tag: number): void {
    if (this.isOpen(spa, target.length, tag)) {
      target.set(this.bytes.subarray(spa, spa + target.length));
      return;
    }
    this.eachFrame(spa, target.length, (frame, offset, size, done) => {
      const same = this.tags[frame] === tag;
      const page = same ? this.bytesOf(frame) : this.view(frame, tag, this.scratch);
      target.set(page.subarray(offset, offset + size), done);
    });
  }

  /** Stores `source` at `spa` under `tag`. What was decoded of it is the caller's to drop. */
  write(spa: number, source: Uint8Array, tag: number): void {
    if (this.isOpen(spa, source.length, tag)) {
      this.bytes.set(source, spa);
      return;
    }
    this.eachFrame(spa, source.length, (frame, offset, size, done) => {
      const part = source.subarray(done, done + size);
      if (size === PAGE_SIZE) {
        this.replace(frame, tag, part);
        return;
      }
      this.require(frame, tag);
      this.bytesOf(frame).set(part, offset);
    });
  }

  /** Turns all frames kept under `tag` into ciphertext. */
  release(tag: number): void {
    for (let frame = 0; frame < this.tags.length; frame++) {
      if (this.tags[frame] === tag) this.require(frame, 0);
    }
  }

  /**
   * All of memory as it stands: the bytes themselves without frames under keys, else a copy. Only
   * `chosen` frames count where they are given; what the others hold then is undefined.
   */
  raw(chosen?: Uint8Array): Uint8Array {
    const keyed = (tag: number, frame: number) => tag !== 0 && chosen?.[frame] !== 0;
    if (!this.tags.some(keyed)) return this.bytes;
    const copy = this.bytes.slice();
    this.tags.forEach((tag, frame) => {
      const at = frame * PAGE_SIZE;
      if (keyed(tag, frame)) this.recode(frame, tag, 0, copy.subarray(at, at + PAGE_SIZE));
    });
    return copy;
  }

  /** Whether a range lies in one frame that is kept under `tag` already. */
  private isOpen(spa: number, length: number, tag: number): boolean {
    const offset = spa % PAGE_SIZE;
    return offset + length <= PAGE_SIZE && this.tags[(spa - offset) / PAGE_SIZE] === tag;
  }

  private bytesOf(frame: number): Uint8Array {
    return this.bytes.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE);
  }

  private recode(frame: number, from: number, to: number, page: Uint8Array): void {
    if (from === to) return;
    const { cipher } = this;
    if (cipher === null) {
      throw new VmmError('invalid-state', `there is no cipher for key tag ${from || to}`);
    }
    if (from !== 0) cipher.encrypt(from, frame * PAGE_SIZE, page);
    if (to !== 0) cipher.decrypt(to, frame * PAGE_SIZE, page);
  }

  private eachFrame(
    spa: number,
    length: number,
    visit: (frame: number, offset: number, size: number, done: number) => void,
  ): void {
    for (let done = 0; done < length; ) {
      const offset = (spa + done) % PAGE_SIZE;
      const size = Math.min(PAGE_SIZE - offset, length - done);
      visit((spa + done - offset) / PAGE_SIZE, offset, size, done);
      done += size;
    }
  }
}
