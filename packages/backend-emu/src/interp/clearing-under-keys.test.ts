/** Loops that clear memory where an extension decides on pages: it is asked as by each store. */
import type { CpuExtension, FillRequest, FillVerdict, FrameCipher } from '@cloister/core';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT } from '../cpu/test-processor.js';
import { systemMemory } from '../mmu/system-memory.js';

const PAGE = 4096;
const FRAME = 0x40000;
const VIEW = 0x60000;
/** Marks pages that are the guest's, in the upper half of an address. */
const KEY_HI = 1 << 13;
const TAG = 5;
/** dec rcx; mov [rdi], rax; lea rdi, [rdi+8]; jnz; jmp . */
const LOOP = '48 ff c9  48 89 07  48 8d 7f 08  75 f4  eb fe';

const xor = (tag: number, _spa: number, frames: Uint8Array) => {
  for (let i = 0; i < frames.length; i++) frames[i]! ^= tag;
};
const cipher: FrameCipher = { encrypt: xor, decrypt: xor };

/** The loop at its start, in a private page whose frame nobody has written; `refused`: or may. */
function clearing(refused: boolean) {
  const t = new TestComputer('', 'on').longMode();
  const key = BigInt(KEY_HI) << 32n;
  for (let i = 0; i < 512; i++) t.setU64(t.pte(i * PAGE), t.u64(t.pte(i * PAGE)) | key);
  t.setU64(t.pte(VIEW), BigInt(FRAME) | key | 7n);
  t.physical.keys.cipher = cipher;
  t.physical.keys.tags.fill(TAG);
  t.physical.keys.tags[FRAME / PAGE] = 0;
  const memory = systemMemory(t.physical);
  const seen = { refusals: 0 };
  const fill = ({ access, gpaLo, gpaHi, implicit }: FillRequest): FillVerdict => {
    const gpa = (gpaHi & ~KEY_HI) * 2 ** 32 + gpaLo;
    if (refused && access === 'write' && gpa === FRAME) {
      seen.refusals++;
      return { kind: 'exception', exception: { vector: 29, errorCode: 0x400 } };
    }
    const spa = memory.locate(gpa);
    if (spa < 0) return { kind: 'device', gpa };
    const isPrivate = (gpaHi & KEY_HI) !== 0 || implicit || access === 'execute';
    return { kind: 'page', gpa, spa, permissions: 7, keyTag: isPrivate ? TAG : 0 };
  };
  const extension: CpuExtension = { name: 'test', cipher, fill };
  t.cpu.mmu.setFillPolicy(extension, t.cpu.extension);
  t.load(AT.code, LOOP);
  t.load(AT.handlers, 'eb fe '.repeat(2048));
  const registers = [[0, 0], [1, 700], [7, VIEW]] as const; // biome-ignore format: short pairs
  for (const [index, value] of registers) t.record.setPair(L.gprOffset(index), value, 0);
  t.record.setPair(L.RIP, AT.code, 0);
  return { t, seen };
}

describe('a loop that clears memory under keys', () => {
  it('asks an extension once for each exception', () => {
    const { t, seen } = clearing(true);
    t.run(4000);
    expect(seen.refusals).toBe(1);
  });

  it('takes a frame over as zeros where it clears all of it', () => {
    const { t } = clearing(false);
    t.run(4000);
    const { keys } = t.physical;
    expect([keys.isBlank(FRAME / PAGE), keys.tags[FRAME / PAGE]]).toEqual([true, TAG]);
  });

  it.each([true, false])('may end at a data breakpoint in the middle, blank %s', (blank) => {
    const { t } = clearing(false);
    if (!blank) t.physical.keys.blank.fill(0);
    t.record.setPair(L.DR, VIEW + 0x800, 0);
    // L0, and writes of eight bytes.
    t.record.setPair(L.DR + 7 * 8, 0x401 | (0b1001 << 16), 0);
    t.cpu.breakpointsChanged();
    t.run(4000);
    const found = new Uint8Array(PAGE);
    t.physical.keys.read(FRAME, found, TAG);
    expect([found[0x400], found[0x900]]).toEqual([0, TAG]);
  });
});
