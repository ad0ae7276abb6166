/** AES rounds, SHA steps and CRC32 put together, against node:crypto and known answers. */
import { createCipheriv, createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { crc32 } from './crc32.js';
import { fpuFunctions } from './functions.js';
import { SLOW_DESTINATION, SLOW_RESULT, SLOW_SOURCE } from './vector-operation.js';

const view = new DataView(new ArrayBuffer(L.RECORD_SIZE));
const bytes = new Uint8Array(view.buffer);

type Vector = Uint8Array<ArrayBuffer>;

/** One instruction: destination, source, immediate. */
function step(name: string, destination: Uint8Array, source: Uint8Array, immediate = 0): Vector {
  bytes.set(destination, SLOW_DESTINATION);
  bytes.set(source, SLOW_SOURCE);
  view.setUint32(L.ARG0, immediate, true);
  expect(fpuFunctions[name](view)).toBe(0);
  return bytes.slice(SLOW_RESULT, SLOW_RESULT + 16);
}

const xor = (a: Uint8Array, b: Uint8Array): Vector => Uint8Array.from(a, (byte, i) => byte ^ b[i]);

/** The eleven round keys, with AESKEYGENASSIST as compilers' examples use it. */
function expand(key: Uint8Array): Vector[] {
  const keys = [Uint8Array.from(key)];
  for (const constant of [1, 2, 4, 8, 16, 32, 64, 128, 0x1b, 0x36]) {
    const last = keys[keys.length - 1];
    const word = step('AESKEYGENASSIST', last, last, constant).subarray(12, 16);
    const next = new Uint8Array(16);
    for (let at = 0; at < 16; at += 4) {
      const before = at === 0 ? word : next.subarray(at - 4, at);
      next.set(xor(last.subarray(at, at + 4), before), at);
    }
    keys.push(next);
  }
  return keys;
}

const sixteen = fc.uint8Array({ minLength: 16, maxLength: 16 });

describe('AES', () => {
  it('encrypts like OpenSSL and decrypts again', () => {
    fc.assert(
      fc.property(sixteen, sixteen, (key, plain) => {
        const keys = expand(key);
        let state: Vector = xor(plain, keys[0]);
        for (let i = 1; i < 10; i++) state = step('AESENC', state, keys[i]);
        state = step('AESENCLAST', state, keys[10]);
        const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false);
        expect([...state]).toEqual([...cipher.update(plain)]);
        state = xor(state, keys[10]);
        for (let i = 9; i > 0; i--) {
          state = step('AESDEC', state, step('AESIMC', keys[i], keys[i]));
        }
        expect([...step('AESDECLAST', state, keys[0])]).toEqual([...plain]);
      }),
      { numRuns: 20 },
    );
  });
});

describe('SHA', () => {
  it('hashes one block with the instructions of SHA-1', () => {
    const message = new Uint8Array(64);
    message.set([0x61, 0x62, 0x63, 0x80]);
    message[63] = 24;
    const input = new DataView(message.buffer);
    const vector = (...words: number[]): Vector => {
      const result = new Uint8Array(16);
      const into = new DataView(result.buffer);
      [...words].reverse().forEach((word, i) => {
        into.setUint32(i * 4, word, true);
      });
      return result;
    };
    const schedule = [0, 16, 32, 48].map((at) =>
      vector(...[0, 4, 8, 12].map((by) => input.getUint32(at + by))),
    );
    for (let i = 4; i < 20; i++) {
      const first = step('SHA1MSG1', schedule[i - 4], schedule[i - 3]);
      schedule.push(step('SHA1MSG2', xor(first, schedule[i - 2]), schedule[i - 1]));
    }
    const start = vector(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476);
    const e = vector(0xc3d2e1f0, 0, 0, 0);
    let state = start;
    let before = start;
    schedule.forEach((words, i) => {
      const withE = i === 0 ? addWords(words, e) : step('SHA1NEXTE', before, words);
      before = state;
      state = step('SHA1RNDS4', state, withE, Math.floor(i / 5));
    });
    const last = step('SHA1NEXTE', before, e);
    const sum = addWords(state, start);
    const digest = createHash('sha1').update('abc').digest();
    const words = new DataView(sum.buffer);
    const found = [12, 8, 4, 0].map((at) => words.getUint32(at, true));
    found.push(new DataView(last.buffer).getUint32(12, true));
    expect(found).toEqual([0, 4, 8, 12, 16].map((at) => digest.readUInt32BE(at)));
  });
});

function addWords(a: Vector, b: Vector): Vector {
  const result = new Uint8Array(16);
  const [left, right, sum] = [a, b, result].map((each) => new DataView(each.buffer));
  for (let at = 0; at < 16; at += 4) {
    sum.setUint32(at, left.getUint32(at, true) + right.getUint32(at, true), true);
  }
  return result;
}

describe('CRC32', () => {
  it('gives the check value of CRC-32C', () => {
    let value = 0xffffffff;
    for (const character of '123456789') {
      view.setUint32(L.ARG0, value, true);
      view.setUint8(L.ARG1, character.charCodeAt(0));
      view.setUint32(L.ARG2, 1, true);
      crc32(view);
      value = view.getUint32(L.ARG0, true);
    }
    expect(~value >>> 0).toBe(0xe3069283);
  });
});
