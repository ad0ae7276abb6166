/**
 * Steps of SHA-1 and SHA-256 on vectors of four words.
 *
 * Source: FIPS 180-4; Intel SDM vol. 2B, SHA1MSG1 to SHA256RNDS2 (the order of words).
 */
import * as L from '../cpu/layout.js';
import { NEXT, type Outcome } from '../system/outcome.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from './vector-operation.js';

/** XMM0, of SHA256RNDS2. */
const KEYS = L.XMM;

/** Words 0 (lowest) to 3. */
function wordsAt(view: DataView, base: number): [number, number, number, number] {
  const word = (index: number): number => view.getInt32(base + index * 4, true);
  return [word(0), word(1), word(2), word(3)];
}

function put(view: DataView, words: readonly number[]): Outcome {
  words.forEach((word, index) => {
    view.setInt32(SLOW_RESULT + index * 4, word, true);
  });
  return NEXT;
}

function left(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}

function right(word: number, by: number): number {
  return left(word, 32 - by);
}

const choose = (b: number, c: number, d: number): number => (b & c) ^ (~b & d);
const parity = (b: number, c: number, d: number): number => b ^ c ^ d;
const majority = (b: number, c: number, d: number): number => (b & c) ^ (b & d) ^ (c & d);

/** Functions and constants of the four times twenty rounds of SHA-1. */
const SHA1_ROUNDS = [
  { f: choose, k: 0x5a827999 },
  { f: parity, k: 0x6ed9eba1 },
  { f: majority, k: 0x8f1bbcdc },
  { f: parity, k: 0xca62c1d6 },
];

/** A is the highest word; ARG0 chooses function and constant. E is in the first message word. */
function sha1Rounds(view: DataView): Outcome {
  let [d, c, b, a] = wordsAt(view, SLOW_DESTINATION);
  const messages = wordsAt(view, SLOW_SOURCE).reverse();
  const { f, k } = SHA1_ROUNDS[view.getUint8(L.ARG0) & 3];
  let e = 0;
  for (const message of messages) {
    const next = (f(b, c, d) + left(a, 5) + message + e + k) | 0;
    [e, d, c, b, a] = [d, c, left(b, 30), a, next];
  }
  return put(view, [d, c, b, a]);
}

function sha1NextE(view: DataView): Outcome {
  const [, , , a] = wordsAt(view, SLOW_DESTINATION);
  const [w0, w1, w2, w3] = wordsAt(view, SLOW_SOURCE);
  return put(view, [w0, w1, w2, (w3 + left(a, 30)) | 0]);
}

function sha1Message1(view: DataView): Outcome {
  const [w3, w2, w1, w0] = wordsAt(view, SLOW_DESTINATION);
  const [, , w5, w4] = wordsAt(view, SLOW_SOURCE);
  return put(view, [w5 ^ w3, w4 ^ w2, w3 ^ w1, w2 ^ w0]);
}

function sha1Message2(view: DataView): Outcome {
  const [a0, a1, a2, a3] = wordsAt(view, SLOW_DESTINATION);
  const [w15, w14, w13] = wordsAt(view, SLOW_SOURCE);
  const w16 = left(a3 ^ w13, 1);
  return put(view, [left(a0 ^ w16, 1), left(a1 ^ w15, 1), left(a2 ^ w14, 1), w16]);
}

/** State: C, D, G, H in the destination, A, B, E, F in the source, each from the top down. */
function sha256Rounds(view: DataView): Outcome {
  let [h, g, d, c] = wordsAt(view, SLOW_DESTINATION);
  let [f, e, b, a] = wordsAt(view, SLOW_SOURCE);
  for (const key of wordsAt(view, KEYS).slice(0, 2)) {
    const sum1 = right(e, 6) ^ right(e, 11) ^ right(e, 25);
    const sum0 = right(a, 2) ^ right(a, 13) ^ right(a, 22);
    const t = (choose(e, f, g) + sum1 + key + h) | 0;
    const next = (t + majority(a, b, c) + sum0) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (t + d) | 0, c, b, a, next];
  }
  return put(view, [f, e, b, a]);
}

function sha256Message1(view: DataView): Outcome {
  const words = wordsAt(view, SLOW_DESTINATION);
  const [w4] = wordsAt(view, SLOW_SOURCE);
  const next = [words[1], words[2], words[3], w4];
  const sigma = (w: number): number => right(w, 7) ^ right(w, 18) ^ (w >>> 3);
  return put(
    view,
    words.map((word, i) => (word + sigma(next[i])) | 0),
  );
}

function sha256Message2(view: DataView): Outcome {
  const words = wordsAt(view, SLOW_DESTINATION);
  const [, , w14, w15] = wordsAt(view, SLOW_SOURCE);
  const sigma = (w: number): number => right(w, 17) ^ right(w, 19) ^ (w >>> 10);
  const w16 = (words[0] + sigma(w14)) | 0;
  const w17 = (words[1] + sigma(w15)) | 0;
  return put(view, [w16, w17, (words[2] + sigma(w16)) | 0, (words[3] + sigma(w17)) | 0]);
}

export const shaFunctions: Readonly<Record<string, (view: DataView) => Outcome>> = {
  SHA1RNDS4: sha1Rounds,
  SHA1NEXTE: sha1NextE,
  SHA1MSG1: sha1Message1,
  SHA1MSG2: sha1Message2,
  SHA256RNDS2: sha256Rounds,
  SHA256MSG1: sha256Message1,
  SHA256MSG2: sha256Message2,
};
