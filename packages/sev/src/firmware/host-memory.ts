/**
 * Memory of the host's own, beside that of its guests: where a driver puts command buffers and what
 * they point to. On a real machine it is the kernel's.
 */
import { VmmError } from '@cloister/core';
import { KeyedMemory } from './keyed-memory.js';
import type { PlatformMemory } from './memory-port.js';

/** Where host memory begins: above what guests' memory takes. */
export const HOST_MEMORY_BASE = 2 ** 40;

const PAGE = 4096;

/** Blocks of a stretch of physical memory. */
export class HostMemory {
  readonly memory: KeyedMemory;
  #used: { readonly spa: number; readonly end: number }[] = [];

  /** `size` bytes, whole pages, from `base` on. */
  constructor(size: number, base = HOST_MEMORY_BASE) {
    this.memory = new KeyedMemory(size, base);
  }

  /** The address of so many zeroed bytes, at least page-aligned. */
  allocate(wanted: number, align = PAGE): number {
    // Nothing has a place of its own, too: it is freed by its address.
    const length = Math.max(wanted, 1);
    const { base, bytes } = this.memory;
    let spa = Math.ceil(base / align) * align;
    for (const block of this.#used) {
      if (spa + length <= block.spa) break;
      spa = Math.max(spa, Math.ceil(block.end / align) * align);
    }
    if (spa + length > base + bytes.length) {
      throw new VmmError('out-of-memory', `the host has no ${length} bytes for its driver left`);
    }
    this.#used.push({ spa, end: spa + length });
    this.#used.sort((a, b) => a.spa - b.spa);
    this.view(spa, length).fill(0);
    return spa;
  }

  free(spa: number): void {
    this.#used = this.#used.filter((block) => block.spa !== spa);
  }

  /** The bytes themselves, to read and write. */
  view(spa: number, length: number): Uint8Array {
    const { base, bytes } = this.memory;
    return bytes.subarray(spa - base, spa - base + length);
  }
}

/** One address space of a platform's memory and the host's own. No range is in both. */
export function withHostMemory(memory: PlatformMemory, host: HostMemory): PlatformMemory {
  const own = host.memory;
  const of = (spa: number, length: number) => (own.contains(spa, length) ? own : memory);
  return {
    vmsas: memory.vmsas,
    keys: {
      install: (asid, key) => {
        memory.keys.install(asid, key);
        own.keys.install(asid, key);
      },
      uninstall: (asid) => {
        memory.keys.uninstall(asid);
        own.keys.uninstall(asid);
      },
    },
    contains: (spa, length) => own.contains(spa, length) || memory.contains(spa, length),
    read: (spa, target, tag) => of(spa, target.length).read(spa, target, tag),
    write: (spa, source, tag) => of(spa, source.length).write(spa, source, tag),
  };
}
