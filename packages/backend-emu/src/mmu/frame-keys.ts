/**
 * Under which key each frame of system memory is kept.
 *
 * A frame under tag 0 holds what stands in memory; under another tag it holds the same bytes
 * deciphered with that key. An access under another tag re-encodes the frame with the cipher and
 * switches the tag, after every translation to it has been dropped: both views of a frame are
 * exact at any time, and an access that finds its own tag costs nothing. Tags are what a cache is:
 * nothing that guest or host can see depends on them.
 *
 * A frame that nobody has written yet is zeros, and need not be deciphered where the cipher has a
 * copy of what zeros are. And a frame that is written often and hardly ever looked at may be owed:
 * its bytes are stored when somebody looks.
 */
import { type FrameCipher, VmmError } from '@cloister/core';

const PAGE_SIZE = 4096;
/** Frames that are re-encoded together at most. */
const GROUP = 16;
/** The tag of a frame whose bytes are owed; no key has it, so that emitted code takes none. */
const OWED = 0xffff;

export class FrameKeys {
  /** By frame: 1 while nobody has written it, so that it is zeros under its tag. */
  readonly blank: Uint8Array;
  cipher: FrameCipher | null = null;
  /** Frames re-encoded so far. */
  switches = 0;
  private patience = 0;
  private exhausted: () => void = () => {};
  private readonly scratch = new Uint8Array(PAGE_SIZE);
  /** Of frames that are owed, or were: whose key they are under, and who stores their bytes. */
  private readonly debts = new Map<number, { tag: number; store: () => void }>();

  /**
   * `bytes` are zeros. `drop` forgets what is derived from a frame's bytes: translations and
   * decoded code. `tags` are by frame, all 0 without a cipher.
   */
  constructor(
    private readonly bytes: Uint8Array,
    private readonly drop: (frame: number) => void,
    readonly tags: Uint16Array = new Uint16Array(bytes.length / PAGE_SIZE),
  ) {
    this.blank = new Uint8Array(bytes.length / PAGE_SIZE).fill(1);
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

  /** Whether `frame` is zeros under its tag, since nobody has written it. */
  isBlank(frame: number): boolean {
    return this.blank[frame] === 1 && this.tags[frame] !== OWED;
  }

  /**
   * As `require`, for a frame all of which is about to be written: what it holds is nobody's. If it
   * is blank it stays so, under `tag`.
   */
  claim(frame: number, tag: number): void {
    if (this.tags[frame] === tag) return;
    // What is owed is written now, if it was not before.
    this.settle(frame);
    this.drop(frame);
    this.tags[frame] = tag;
  }

  private switch(frame: number, tag: number): void {
    const from = this.settle(frame);
    if (from === tag) return;
    this.drop(frame);
    const blank = from === 0 && this.blank[frame] === 1;
    const zeros = blank ? this.cipher?.zeros?.(tag) : undefined;
    if (zeros === undefined) this.recode(frame, from, tag, this.bytesOf(frame));
    else {
      const at = (frame * PAGE_SIZE) % zeros.length;
      this.bytes.set(zeros.subarray(at, at + PAGE_SIZE), frame * PAGE_SIZE);
    }
    this.blank[frame] = 0;
    this.tags[frame] = tag;
    this.count(1);
  }

  private count(frames: number): void {
    this.switches += frames;
    const before = this.patience;
    this.patience -= frames;
    if (before > 0 && this.patience <= 0) this.exhausted();
  }

  // --- Owed frames ----------------------------------------------------------------------------

  /** Leaves it to `store` to write `frame`, kept under `tag`, before anybody sees what it holds. */
  owe(frame: number, tag: number, store: () => void): void {
    const debt = this.debts.get(frame);
    if (this.tags[frame] !== OWED) this.require(frame, tag);
    this.blank[frame] = 0;
    this.tags[frame] = OWED;
    if (debt?.tag !== tag || debt.store !== store) this.debts.set(frame, { tag, store });
  }

  /** Whether nobody has looked at `frame` since it was owed. */
  owes(frame: number): boolean {
    return this.tags[frame] === OWED;
  }

  /** Has an owed frame written; its tag then. */
  private settle(frame: number): number {
    if (this.tags[frame] === OWED) {
      const { tag, store } = this.debts.get(frame)!;
      this.tags[frame] = tag;
      store();
    }
    return this.tags[frame];
  }

  private settleAll(): void {
    for (const frame of this.debts.keys()) this.settle(frame);
  }

  // --- Whole frames ---------------------------------------------------------------------------

  /** Has `frame` hold `content`, as seen under `tag`. */
  replace(frame: number, tag: number, content: Uint8Array): void {
    if (this.settle(frame) !== tag) this.drop(frame);
    this.bytesOf(frame).set(content);
    this.blank[frame] = 0;
    this.tags[frame] = tag;
  }

  /** A copy of `frame` as seen under `tag`, in `into`. */
  view(frame: number, tag: number, into = new Uint8Array(PAGE_SIZE)): Uint8Array {
    const from = this.settle(frame);
    into.set(this.bytesOf(frame));
    this.recode(frame, from, tag, into);
    return into;
  }

  /** Fills `target` with the bytes at `spa` as seen under `tag`. */
  read(spa: number, target: Uint8Array, tag: number): void {
    if (this.isOpen(spa, target.length, tag)) {
      target.set(this.bytes.subarray(spa, spa + target.length));
      return;
    }
    this.eachFrame(spa, target.length, (frame, offset, size, done) => {
      const same = this.settle(frame) === tag;
      const page = same ? this.bytesOf(frame) : this.view(frame, tag, this.scratch);
      target.set(page.subarray(offset, offset + size), done);
    });
  }

  /** Stores `source` at `spa` under `tag`. What was decoded of it is the caller's to drop. */
  write(spa: number, source: Uint8Array, tag: number): void {
    if (this.isOpen(spa, source.length, tag)) {
      this.bytes.set(source, spa);
      this.blank[Math.floor(spa / PAGE_SIZE)] = 0;
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
      this.blank[frame] = 0;
    });
  }

  /** Turns all frames kept under `tag` into ciphertext. */
  release(tag: number): void {
    this.settleAll();
    this.eachRun(tag, (first, end) => {
      for (let frame = first; frame < end; frame++) this.drop(frame);
      this.recode(first, tag, 0, this.bytes.subarray(first * PAGE_SIZE, end * PAGE_SIZE));
      this.blank.fill(0, first, end);
      this.tags.fill(0, first, end);
      this.count(end - first);
    });
  }

  /** Visits the frames kept under `tag`: runs of neighbours, a group at most. */
  private eachRun(tag: number, visit: (first: number, end: number) => void): void {
    for (let first = 0; first < this.tags.length; first++) {
      if (this.tags[first] !== tag) continue;
      let end = first + 1;
      while (end - first < GROUP && this.tags[end] === tag) end++;
      visit(first, end);
      first = end - 1;
    }
  }

  /**
   * All of memory as it stands: the bytes themselves without frames under keys, else a copy. Only
   * `chosen` frames count where they are given; what the others hold then is undefined.
   */
  raw(chosen?: Uint8Array): Uint8Array {
    this.settleAll();
    const keyed = (tag: number, frame: number) => tag !== 0 && chosen?.[frame] !== 0;
    if (!this.tags.some(keyed)) return this.bytes;
    const copy = this.bytes.slice();
    for (const tag of new Set(this.tags.filter(keyed))) {
      this.eachRun(tag, (first, end) => {
        this.recode(first, tag, 0, copy.subarray(first * PAGE_SIZE, end * PAGE_SIZE));
      });
    }
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

  /** Re-encodes `pages`, which are frame `first` and those behind it. */
  private recode(first: number, from: number, to: number, pages: Uint8Array): void {
    if (from === to) return;
    const { cipher } = this;
    if (cipher === null) {
      throw new VmmError('invalid-state', `there is no cipher for key tag ${from || to}`);
    }
    if (from !== 0) cipher.encrypt(from, first * PAGE_SIZE, pages);
    if (to !== 0) cipher.decrypt(to, first * PAGE_SIZE, pages);
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
