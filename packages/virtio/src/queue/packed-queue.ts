/**
 * Packed virtqueues: one ring of descriptors that driver and device both write.
 *
 * Source: virtio 1.2, 2.8. A descriptor is the driver's to fill or the device's to use by its AVAIL
 * and USED flags against a wrap counter; the flags are read first, the rest only when they say so
 * (2.8.21). Positions keep the wrap counter in bit 15, as the event structures do.
 *
 * Known inaccuracies: the device never suppresses notifications.
 */
import type { DmaView } from '@cloister/core';
import type { Chain } from './chain.js';
import {
  ChainParts,
  DESC_F_AVAIL,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_USED,
  DESC_F_WRITE,
  DESC_SIZE,
  gpaOf,
} from './descriptor.js';
import { Ring, TOO_MANY } from './ring.js';
import { passesEvent, type QueueLayout, type RingFormat, type UsedChain } from './virtqueue.js';

/** Event suppression (2.8.10): le16 offset and wrap counter, le16 flags. */
const EVENT_SIZE = 4;
export const RING_EVENT_FLAGS_ENABLE = 0;
export const RING_EVENT_FLAGS_DISABLE = 1;
export const RING_EVENT_FLAGS_DESC = 2;

const FLAGS = 14;
const WRAP = 0x8000;
const SIZE_MAX = 32_768;

/** Where the flags of a used descriptor go. */
interface UsedFlags {
  readonly gpa: number;
  readonly value: number;
}

class PackedQueue extends Ring {
  protected take(): Chain | null {
    const { layout, position, ports, view } = this;
    const parts = new ChainParts(ports.dma);
    let at = position.avail;
    for (let taken = 0; taken < layout.size; taken++) {
      const gpa = layout.desc + (at & ~WRAP) * DESC_SIZE;
      const flags = this.flagsAt(gpa);
      if (flags < 0) return null;
      if (!isAvailable(flags, (at & WRAP) !== 0)) {
        // A chain becomes available as a whole: its first descriptor's flags are written last.
        return taken === 0 ? null : this.fail('a chain ends in a descriptor that is not available');
      }
      if (distance(position.used, at, layout.size) >= layout.size) return this.fail(TOO_MANY);
      if (!this.fetch(gpa, FLAGS)) return null;
      const address = gpaOf(view.getUint32(0, true), view.getUint32(4, true));
      const length = view.getUint32(8, true);
      const id = view.getUint16(12, true);
      at = advance(at, 1, layout.size);
      if ((flags & DESC_F_INDIRECT) !== 0) {
        if ((flags & DESC_F_NEXT) !== 0 || taken > 0) {
          return this.fail('an indirect descriptor is part of a chain');
        }
        if (!this.addIndirect(parts, address, length, false)) return null;
        return this.taken(id, 1, at, parts);
      }
      const wrong = parts.add(address, length, (flags & DESC_F_WRITE) !== 0);
      if (wrong !== null) return this.fail(wrong);
      // The buffer's id is in its last descriptor (2.8.6).
      if ((flags & DESC_F_NEXT) === 0) return this.taken(id, taken + 1, at, parts);
    }
    return this.fail('a chain has a loop');
  }

  private taken(id: number, descriptors: number, at: number, parts: ChainParts): Chain {
    this.position.avail = at;
    return { id, descriptors, readable: parts.readable, writable: parts.writable };
  }

  private flagsAt(gpa: number): number {
    return this.fetch(gpa + FLAGS, 2) ? this.view.getUint16(0, true) : -1;
  }

  push(chain: Chain, written: number): void {
    if (this.broken) return;
    const flags = this.place(chain, written);
    if (flags !== null) this.publish(flags);
  }

  /** The first descriptor's flags come last: the driver reads no other before them (2.8.21). */
  pushTogether(used: readonly UsedChain[]): void {
    if (this.broken) return;
    const placed: UsedFlags[] = [];
    for (const { chain, written } of used) {
      const flags = this.place(chain, written);
      if (flags === null) return;
      placed.push(flags);
    }
    for (const flags of placed.reverse()) this.publish(flags);
  }

  /** Writes length and id of the next used descriptor; says which flags make it the driver's. */
  private place(chain: Chain, written: number): UsedFlags | null {
    const { layout, position, view } = this;
    const gpa = layout.desc + (position.used & ~WRAP) * DESC_SIZE;
    view.setUint32(0, written, true);
    view.setUint16(4, chain.id, true);
    if (!this.store(gpa + 8, FLAGS - 8)) return null;
    const wrap = (position.used & WRAP) !== 0;
    const value = (wrap ? DESC_F_AVAIL | DESC_F_USED : 0) | (written > 0 ? DESC_F_WRITE : 0);
    position.used = advance(position.used, chain.descriptors, layout.size);
    position.unsignalled = Math.min(position.unsignalled + chain.descriptors, 0xffff);
    return { gpa: gpa + FLAGS, value };
  }

  private publish({ gpa, value }: UsedFlags): void {
    this.view.setUint16(0, value, true);
    this.store(gpa, 2);
  }

  protected wantsSignal(): boolean {
    const { layout, position, ports, view } = this;
    if (!this.fetch(layout.driver, EVENT_SIZE)) return false;
    const flags = view.getUint16(2, true) & 3;
    if (flags !== RING_EVENT_FLAGS_DESC || !ports.eventIdx) {
      return flags !== RING_EVENT_FLAGS_DISABLE;
    }
    const event = view.getUint16(0, true);
    const now = position.used & ~WRAP;
    const behind = (event & WRAP) !== (position.used & WRAP) ? layout.size : 0;
    return passesEvent((event & ~WRAP) - behind, now, now - position.unsignalled);
  }
}

/** Available: AVAIL is the wrap counter and USED its inverse (2.8.1). */
function isAvailable(flags: number, wrap: boolean): boolean {
  const avail = (flags & DESC_F_AVAIL) !== 0;
  const used = (flags & DESC_F_USED) !== 0;
  return avail === wrap && used !== wrap;
}

/** `count` (at most `size`) entries on; passing the ring's end flips the wrap counter. */
function advance(position: number, count: number, size: number): number {
  const next = (position & ~WRAP) + count;
  return next < size ? (position & WRAP) | next : ((position ^ WRAP) & WRAP) | (next - size);
}

/** Entries from one position to another, modulo twice the size: a lap of each wrap counter. */
function distance(from: number, to: number, size: number): number {
  const entries = (to & ~WRAP) - (from & ~WRAP) + ((from ^ to) & WRAP ? size : 0);
  return (entries + 2 * size) % (2 * size);
}

/** Ring 16-byte, event structures 4-byte aligned; any size up to 2^15 (2.8). */
function check(layout: QueueLayout, dma: DmaView): string | null {
  const { size, desc, driver, device } = layout;
  if (size < 1 || size > SIZE_MAX) return `a packed queue cannot have ${size} descriptors`;
  if (desc % 16 !== 0 || driver % 4 !== 0 || device % 4 !== 0) return 'a ring is not aligned';
  const inMemory =
    desc >= 0 &&
    driver >= 0 &&
    device >= 0 &&
    dma.covers(desc, DESC_SIZE * size, 'write') &&
    dma.covers(driver, EVENT_SIZE, 'read') &&
    dma.covers(device, EVENT_SIZE, 'write');
  return inMemory ? null : 'a ring is not in guest memory';
}

export const packedRing: RingFormat = {
  start: { avail: WRAP, used: WRAP, unsignalled: 0 },
  check,
  open: (layout, position, ports) => new PackedQueue(layout, position, ports),
};
