/**
 * Memory that is kept as it stands in DRAM and deciphered at each access under a key: no processor
 * runs in it. It is the host's own memory beside its guests', and all there is where firmware runs
 * without a processor.
 */
import { CIPHER_PAGE_SIZE, type Ciphers, ciphers, type PageCipher } from '../cipher/port.js';
import type { KeyTag, MemoryKeys, PlatformMemory } from './memory-port.js';
import { VmsaRecords } from './vmsa-records.js';

export class KeyedMemory implements PlatformMemory {
  /** As they stand in DRAM. */
  readonly bytes: Uint8Array;
  readonly keys: MemoryKeys;
  readonly vmsas = new VmsaRecords();
  readonly #keys = new Map<number, PageCipher>();

  /** `size` bytes, whole pages, from `base` on. */
  constructor(
    size: number,
    readonly base = 0,
    readonly cipher: Ciphers = ciphers(),
  ) {
    this.bytes = new Uint8Array(size);
    this.keys = {
      install: (asid, key) => void this.#keys.set(asid, this.cipher.pageCipher(key)),
      uninstall: (asid) => void this.#keys.delete(asid),
    };
  }

  contains(spa: number, length: number): boolean {
    return spa >= this.base && spa + length <= this.base + this.bytes.length;
  }

  read(spa: number, target: Uint8Array, tag: KeyTag): void {
    this.#pages(spa, target.length, tag, (page, at, from, count) => {
      target.set(page.subarray(at, at + count), from);
      return false;
    });
  }

  write(spa: number, source: Uint8Array, tag: KeyTag): void {
    this.#pages(spa, source.length, tag, (page, at, from, count) => {
      page.set(source.subarray(from, from + count), at);
      return true;
    });
  }

  /** Calls `access` with each page in the clear, which says whether it has changed it. */
  #pages(
    spa: number,
    length: number,
    tag: KeyTag,
    access: (page: Uint8Array, at: number, from: number, count: number) => boolean,
  ): void {
    const key = tag === 0 ? null : this.#keys.get(tag)!;
    for (let from = 0; from < length; ) {
      const at = (spa + from) % CIPHER_PAGE_SIZE;
      const count = Math.min(CIPHER_PAGE_SIZE - at, length - from);
      const start = spa + from - at;
      const stored = this.bytes.subarray(start - this.base, start - this.base + CIPHER_PAGE_SIZE);
      if (key === null) {
        access(stored, at, from, count);
      } else {
        const page = Uint8Array.from(stored);
        key.decrypt(start, page);
        if (access(page, at, from, count)) {
          key.encrypt(start, page);
          stored.set(page);
        }
      }
      from += count;
    }
  }
}
