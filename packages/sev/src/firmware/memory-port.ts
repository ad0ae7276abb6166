/**
 * Memory as the secure processor reaches it: by system-physical address, under a key tag.
 *
 * The silicon implements this interface, the firmware uses it. A tag is 0, the bytes as they stand
 * in DRAM (what an access with the C-bit clear sees), or an ASID, the bytes deciphered with that
 * ASID's key (what its guest sees with the C-bit set). Both views of a page exist at any time.
 *
 * Source: AMD64 APM 24593, 15.34.1 "Determining support", 15.34.9 "Guest memory encryption";
 * SEV API 55766, 6.2 "ACTIVATE" (a key is installed) and 6.4 "DEACTIVATE" (it is removed).
 */

import type { VmsaRecords } from './vmsa-records.js';

/** 0 for the raw bytes, else an ASID. */
export type KeyTag = number;

export interface EncryptedMemory {
  /** Whether all of `[spa, spa + length)` is memory; false for any range that is none. */
  contains(spa: number, length: number): boolean;
  /**
   * Fills `target` with what stands at `spa` as seen under `tag`. Any alignment and length: the
   * implementation deciphers whole 16-byte blocks. The range must be memory, the ASID's key be
   * installed: the firmware has made sure of both.
   */
  read(spa: number, target: Uint8Array, tag: KeyTag): void;
  /** Stores `source` at `spa` under `tag`; blocks written in part keep their other bytes. */
  write(spa: number, source: Uint8Array, tag: KeyTag): void;
}

/** The memory controller's table of keys, which only the secure processor writes. */
export interface MemoryKeys {
  /** Gives `asid` its key: `PAGE_KEY_SIZE` bytes of the cipher port. It had none. */
  install(asid: number, key: Uint8Array): void;
  /** Takes the key away. What was written under it stays in memory as ciphertext. */
  uninstall(asid: number): void;
}

/** What the silicon offers the secure processor. */
export interface PlatformMemory extends EncryptedMemory {
  readonly keys: MemoryKeys;
  /** What the trusted memory region holds. */
  readonly vmsas: VmsaRecords;
}
