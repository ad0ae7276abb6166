/**
 * Writes a recording file in blocks of a fixed size, input by input: a long run needs no more
 * memory for it than a short one.
 */
import type { InputRecord } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import { encodeBase64 } from './base64.js';
import type { InputRecording, RecordedEnd, RecordingHead } from './recording.js';
import { FORMAT, INPUT_MAX, VERSION } from './recording.js';

const BLOCK = 64 * 1024;

export class RecordingWriter {
  private readonly encoder = new TextEncoder();
  private readonly block: Uint8Array;
  private used = 0;

  /**
   * `write` gets the file's bytes in order, in blocks of `size` (at least 4) that are overwritten
   * afterwards. What it throws goes to the caller of `add` or `finish`; the file is lost then.
   */
  constructor(
    head: RecordingHead,
    private readonly write: (block: Uint8Array) => void,
    size = BLOCK,
  ) {
    if (!Number.isSafeInteger(size) || size < 4) {
      throw new VmmError(
        'invalid-argument',
        `a block of ${size} bytes has no room for a character`,
      );
    }
    this.block = new Uint8Array(size);
    const { seed, epochSeconds, memory, cpus } = head;
    const line = { format: FORMAT, version: VERSION, seed, epochSeconds, memory, cpus };
    this.text(`${JSON.stringify(line)}\n`);
  }

  /** Writes an input, of at most 256 MiB; for the VM option `record`. */
  add({ at, time, source, data }: InputRecord): void {
    if (data.length > INPUT_MAX) {
      throw new VmmError('unsupported', `input of ${data.length} bytes does not fit a recording`, {
        remedy: 'have the device push its data in smaller pieces',
      });
    }
    const stamps = JSON.stringify({ at, time, source });
    this.text(`${stamps.slice(0, -1)},"data":"`);
    this.base64(data);
    this.text('"}\n');
  }

  /** Writes the end and what is left of the last block. Nothing may follow. */
  finish({ at, time, reason }: RecordedEnd): void {
    this.text(`${JSON.stringify({ end: { at, time, reason } })}\n`);
    this.flush();
  }

  private text(text: string): void {
    for (let rest = text; rest !== ''; ) {
      const { read, written } = this.encoder.encodeInto(rest, this.block.subarray(this.used));
      this.used += written;
      rest = rest.slice(read);
      if (rest !== '') this.flush();
    }
  }

  private base64(data: Uint8Array): void {
    for (let from = 0; from < data.length; ) {
      const groups = Math.floor((this.block.length - this.used) / 4);
      const piece = data.subarray(from, from + 3 * groups);
      this.used = encodeBase64(piece, this.block, this.used);
      from += piece.length;
      if (from < data.length) this.flush();
    }
  }

  private flush(): void {
    this.write(this.block.subarray(0, this.used));
    this.used = 0;
  }
}

/**
 * The text of a recording file, as one string: not for one of hundreds of megabytes, which
 * `RecordingWriter` writes in pieces.
 */
export function encodeRecording(recording: InputRecording): string {
  const decoder = new TextDecoder();
  let file = '';
  const writer = new RecordingWriter(recording, (block) => {
    file += decoder.decode(block, { stream: true });
  });
  for (const input of recording.inputs) writer.add(input);
  writer.finish(recording.end);
  return file;
}
