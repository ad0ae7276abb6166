/**
 * `--dump-memory`: guest RAM as the host sees it, what a curious or hostile hypervisor has.
 *
 * The file is raw, in guest-physical order, as long as the RAM; the holes between are left out.
 */
import { writeSync } from 'node:fs';
import type { GuestMemory, MemorySlot } from '@cloister/core';
import { fileError } from './error-report.js';
import { writePrivately } from './private-file.js';

const PIECE = 1 << 20;

function ramSlots(memory: GuestMemory): readonly MemorySlot[] {
  return memory.slots.filter(({ name }) => name === 'ram');
}

/** Writes the dump; only the user may read it. */
export function dumpMemory(memory: GuestMemory, path: string): void {
  const piece = new Uint8Array(PIECE);
  const put = (file: number): void => {
    for (const { gpa, size } of ramSlots(memory)) {
      for (let done = 0; done < size; done += PIECE) {
        const part = piece.subarray(0, Math.min(PIECE, size - done));
        memory.read(gpa + done, part);
        for (let at = 0; at < part.length; ) at += writeSync(file, part, at);
      }
    }
  };
  try {
    writePrivately(path, put);
  } catch (error) {
    throw fileError('memory dump', path, error);
  }
}

/** Where each slot lies in the file, e.g. `0x0 at 0x0 (268435456 bytes)`. */
export function dumpLayout(memory: GuestMemory): string {
  let offset = 0;
  const parts = ramSlots(memory).map(({ gpa, size }) => {
    const text = `0x${gpa.toString(16)} at 0x${offset.toString(16)} (${size} bytes)`;
    offset += size;
    return text;
  });
  return parts.join(', ');
}
