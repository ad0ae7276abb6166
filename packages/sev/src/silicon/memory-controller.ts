/**
 * The memory controller of a processor with memory encryption: a key per ASID, and the cipher
 * between the processor and memory.
 *
 * The cipher is the port's (`cipher/port.ts`): AES-128 in XTS mode, a page being a data unit whose
 * number is its system-physical address divided by 4096. Each block of 16 bytes is enciphered by
 * itself, with a tweak by its address: equal plaintexts at two addresses differ, a changed byte of
 * ciphertext garbles 16 bytes of plaintext, and ciphertext that is put back is accepted again.
 * Blocks of zeros are an exception, for speed (`cipher/zero-blocks.ts`).
 *
 * Source: AMD64 APM vol. 2 (24593), 15.34.9 "Guest memory encryption"; 7.10 "Secure memory
 * encryption". Inaccuracy: AMD doesn't publish its tweak; nothing but the ciphertext itself can
 * tell the difference.
 */
import { type FrameCipher, type SystemMemory, VmmError } from '@cloister/core';
import { ciphers, PAGE_KEY_SIZE } from '../cipher/port.js';
import { ZeroBlocks } from '../cipher/zero-blocks.js';
import type { KeyTag, MemoryKeys, PlatformMemory } from '../firmware/memory-port.js';
import { VmsaRecords } from '../firmware/vmsa-records.js';

export class MemoryController implements PlatformMemory, FrameCipher {
  readonly keys: MemoryKeys;
  readonly vmsas = new VmsaRecords();
  readonly #keys = new Map<number, ZeroBlocks>();
  #memory: SystemMemory | null = null;

  constructor() {
    this.keys = {
      install: (asid, key) => this.#install(asid, key),
      uninstall: (asid) => this.#uninstall(asid),
    };
  }

  /** Connects the memory; the VM's backend does, once. */
  attach(memory: SystemMemory): void {
    if (this.#memory !== null) {
      throw new VmmError('invalid-state', 'this memory controller has its memory', {
        remedy: 'make a protection of its own for each VM',
      });
    }
    this.#memory = memory;
  }

  get memory(): SystemMemory {
    if (this.#memory !== null) return this.#memory;
    throw new VmmError('invalid-state', 'the memory controller has no memory yet', {
      remedy: 'use an emulated processor; it connects the memory when its VM is made',
    });
  }

  /** Whether `asid` has a key. */
  holds(asid: number): boolean {
    return this.#keys.has(asid);
  }

  contains(spa: number, length: number): boolean {
    const whole = Number.isSafeInteger(spa) && Number.isSafeInteger(length);
    // Without memory yet, no address is in it: the firmware can be asked for keys before.
    return whole && spa >= 0 && length >= 0 && spa + length <= (this.#memory?.size ?? 0);
  }

  read(spa: number, target: Uint8Array, tag: KeyTag): void {
    this.memory.read(spa, target, tag);
  }

  write(spa: number, source: Uint8Array, tag: KeyTag): void {
    this.memory.write(spa, source, tag);
  }

  encrypt(tag: number, spa: number, frames: Uint8Array): void {
    this.#keyOf(tag).encrypt(spa, frames);
  }

  decrypt(tag: number, spa: number, frames: Uint8Array): void {
    this.#keyOf(tag).decrypt(spa, frames);
  }

  zeros(tag: number): Uint8Array {
    return this.#keyOf(tag).garbage;
  }

  #install(asid: number, key: Uint8Array): void {
    if (asid < 1 || this.#keys.has(asid) || key.length !== PAGE_KEY_SIZE) {
      throw new VmmError('internal', `ASID ${asid} cannot take a key of ${key.length} bytes`);
    }
    this.#keys.set(asid, new ZeroBlocks(ciphers().pageCipher(key)));
  }

  #uninstall(asid: number): void {
    this.#memory?.release(asid);
    this.#keys.delete(asid);
  }

  #keyOf(tag: number): ZeroBlocks {
    const key = this.#keys.get(tag);
    if (key !== undefined) return key;
    throw new VmmError('invalid-state', `ASID ${tag} has no key`, {
      remedy: 'activate the guest before it runs, and stop it before it is deactivated',
    });
  }
}
