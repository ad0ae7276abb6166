/**
 * Split virtqueues: descriptor table, available ring, used ring.
 *
 * Source: virtio 1.2, 2.7. Each field of the ring is read once per use: what is checked is what is
 * used. The driver may write the ring at any moment; the worst it gets is a broken queue.
 *
 * Known inaccuracies: `used.flags` is always 0 (notifications are only suppressed by
 * `avail_event`). Chains in indirect tables are no longer than the queue, as 2.7.5.3.1 says.
 */
import type { DmaView } from '@cloister/core';
import type { Chain } from './chain.js';
import {
  ChainParts,
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  DESC_SIZE,
  gpaOf,
} from './descriptor.js';
import { Ring, TOO_MANY } from './ring.js';
import { passesEvent, type QueueLayout, type RingFormat, type UsedChain } from './virtqueue.js';

export const AVAIL_F_NO_INTERRUPT = 1;

/** Offsets within the rings (2.7.6, 2.7.8). */
const AVAIL_IDX = 2;
const AVAIL_RING = 4;
const USED_IDX = 2;
const USED_RING = 4;
const USED_ELEMENT = 8;

/** Size of a split queue: a power of 2 up to 2^15 (2.7). */
const SIZE_MAX = 32_768;

class SplitQueue extends Ring {
  protected take(): Chain | null {
    const { layout, position, ports } = this;
    let ahead = this.available();
    if (ahead === 0 && ports.eventIdx) {
      // Asks for a notification of the next buffer, then looks again: the driver may have been
      // quicker (2.7.10).
      if (!this.writeAvailEvent()) return null;
      ahead = this.available();
    }
    if (ahead <= 0) return null;
    // A descriptor is the device's until it is used (2.7.13): without this bound a driver could
    // hand out the same one for ever, to a device that keeps what it cannot begin yet.
    if (((position.avail - position.used) & 0xffff) >= layout.size) return this.fail(TOO_MANY);
    const slot = position.avail % layout.size;
    if (!this.fetch(layout.driver + AVAIL_RING + 2 * slot, 2)) return null;
    const head = this.view.getUint16(0, true);
    position.avail = (position.avail + 1) & 0xffff;
    return this.chain(head);
  }

  /** Chains that wait, -1 when the index makes no sense. */
  private available(): number {
    const { layout, position } = this;
    if (!this.fetch(layout.driver + AVAIL_IDX, 2)) return -1;
    const ahead = (this.view.getUint16(0, true) - position.avail) & 0xffff;
    if (ahead <= layout.size) return ahead;
    this.fail(`the available index jumps by ${ahead} in a queue of ${layout.size}`);
    return -1;
  }

  private chain(head: number): Chain | null {
    const { layout, ports, view } = this;
    const parts = new ChainParts(ports.dma);
    let index = head;
    // A chain visits no descriptor twice, so one longer than the table has a loop.
    for (let taken = 0; taken < layout.size; taken++) {
      if (index >= layout.size) return this.fail('a descriptor lies outside its table');
      if (!this.fetch(layout.desc + index * DESC_SIZE, DESC_SIZE)) return null;
      const flags = view.getUint16(12, true);
      const next = view.getUint16(14, true);
      const gpa = gpaOf(view.getUint32(0, true), view.getUint32(4, true));
      const length = view.getUint32(8, true);
      if ((flags & DESC_F_INDIRECT) !== 0) {
        if ((flags & DESC_F_NEXT) !== 0) return this.fail('an indirect descriptor has a next one');
        if (!this.addIndirect(parts, gpa, length, true)) return null;
        return this.taken(head, taken + 1, parts);
      }
      const wrong = parts.add(gpa, length, (flags & DESC_F_WRITE) !== 0);
      if (wrong !== null) return this.fail(wrong);
      if ((flags & DESC_F_NEXT) === 0) return this.taken(head, taken + 1, parts);
      index = next;
    }
    return this.fail('a chain has a loop');
  }

  private taken(id: number, descriptors: number, parts: ChainParts): Chain {
    return { id, descriptors, readable: parts.readable, writable: parts.writable };
  }

  push(chain: Chain, written: number): void {
    if (!this.broken && this.place(chain, written)) this.publish();
  }

  pushTogether(used: readonly UsedChain[]): void {
    if (this.broken || used.length === 0) return;
    if (used.every(({ chain, written }) => this.place(chain, written))) this.publish();
  }

  /** Writes the next element of the used ring, which the driver does not see yet. */
  private place(chain: Chain, written: number): boolean {
    const { layout, position, view } = this;
    view.setUint32(0, chain.id, true);
    view.setUint32(4, written, true);
    const slot = position.used % layout.size;
    if (!this.store(layout.device + USED_RING + USED_ELEMENT * slot, USED_ELEMENT)) return false;
    position.used = (position.used + 1) & 0xffff;
    position.unsignalled = Math.min(position.unsignalled + 1, 0xffff);
    return true;
  }

  /** The index comes after the elements (2.7.8.2). */
  private publish(): void {
    this.view.setUint16(0, this.position.used, true);
    this.store(this.layout.device + USED_IDX, 2);
  }

  protected wantsSignal(): boolean {
    const { layout, position, ports } = this;
    if (!ports.eventIdx) {
      if (!this.fetch(layout.driver, 2)) return false;
      return (this.view.getUint16(0, true) & AVAIL_F_NO_INTERRUPT) === 0;
    }
    if (!this.fetch(layout.driver + AVAIL_RING + 2 * layout.size, 2)) return false;
    const usedEvent = this.view.getUint16(0, true);
    return passesEvent(usedEvent, position.used, position.used - position.unsignalled);
  }

  private writeAvailEvent(): boolean {
    const { layout, position, view } = this;
    view.setUint16(0, position.avail, true);
    return this.store(layout.device + USED_RING + USED_ELEMENT * layout.size, 2);
  }
}

/** Sizes and alignment of the three parts (2.7): 16, 2 and 4. */
function check(layout: QueueLayout, dma: DmaView): string | null {
  const { size, desc, driver, device } = layout;
  if (size < 1 || size > SIZE_MAX || (size & (size - 1)) !== 0) {
    return `a split queue cannot have ${size} descriptors`;
  }
  if (desc % 16 !== 0 || driver % 2 !== 0 || device % 4 !== 0) return 'a ring is not aligned';
  const inMemory =
    desc >= 0 &&
    driver >= 0 &&
    device >= 0 &&
    dma.covers(desc, DESC_SIZE * size, 'read') &&
    dma.covers(driver, AVAIL_RING + 2 * size + 2, 'read') &&
    dma.covers(device, USED_RING + USED_ELEMENT * size + 2, 'write');
  return inMemory ? null : 'a ring is not in guest memory';
}

export const splitRing: RingFormat = {
  start: { avail: 0, used: 0, unsignalled: 0 },
  check,
  open: (layout, position, ports) => new SplitQueue(layout, position, ports),
};
