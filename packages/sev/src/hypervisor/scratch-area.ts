/**
 * The scratch area of string I/O and MMIO: bytes that are too many for a register, in the GHCB's
 * shared buffer or, if the guest likes, elsewhere in its shared memory (GHCB specification 56421,
 * 4.1.3 "IOIO", 4.1.5 "MMIO access").
 *
 * The rules for what is no scratch area are Linux/KVM's: none in the GHCB's page but the shared
 * buffer, and no more than 64 KiB outside.
 */
import type { GuestMemory } from '@cloister/core';
import { GHCB, GHCB_SIZE, SHARED_BUFFER_SIZE } from '../abi/ghcb.js';
import type { GhcbPage } from './ghcb-page.js';

/** Bytes. */
export const SCRATCH_LIMIT = 16 * 4096;

export class ScratchArea {
  readonly #buffer = new Uint8Array(SCRATCH_LIMIT);
  #gpa = 0;
  #bytes = this.#buffer.subarray(0, 0);

  /**
   * A copy of the first `length` bytes of the area that `ghcb` names, or null where that is none.
   * For bytes that go to the guest see `publish`.
   */
  open(ghcb: GhcbPage, memory: GuestMemory, length: number): Uint8Array | null {
    const gpa = ghcb.number('SW_SCRATCH');
    if (gpa === 0 || length > SCRATCH_LIMIT || !inBuffer(gpa, length, ghcb.gpa)) return null;
    const bytes = this.#buffer.subarray(0, length);
    if (!memory.covers(gpa, length, 'write') || !memory.tryRead(gpa, bytes)) return null;
    this.#gpa = gpa;
    this.#bytes = bytes;
    return bytes;
  }

  /** Writes what became of the bytes of `open` back to the guest. */
  publish(memory: GuestMemory): void {
    memory.tryWrite(this.#gpa, this.#bytes);
  }
}

/** An area that begins in the GHCB's page must lie in the shared buffer. */
function inBuffer(gpa: number, length: number, ghcb: number): boolean {
  if (gpa < ghcb || gpa >= ghcb + GHCB_SIZE) return true;
  const from = ghcb + GHCB.SHARED_BUFFER;
  return gpa >= from && gpa + length <= from + SHARED_BUFFER_SIZE;
}
