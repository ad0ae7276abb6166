/**
 * MSI-X: a table of messages, one per vector, and the pending bits of those that are masked.
 *
 * Source: PCI Local Bus 3.0, 6.8.2. Control: bit 15 enables, bit 14 masks all; a vector is masked
 * by bit 0 of its fourth word.
 */
import { state } from '@cloister/core/devices';
import type { ConfigSpace } from './config-space.js';

export const CAP_MSIX = 0x11;
const ENABLE = 1 << 15;
const MASK_ALL = 1 << 14;
const ENTRY = 16;
const MASKED = 1;

export const NO_VECTOR = 0xffff;

export interface SavedMsix {
  table: Uint8Array;
  pending: Uint8Array;
}

export class Msix {
  private readonly table: Uint8Array;
  private readonly view: DataView;
  private readonly pending: Uint8Array;
  private readonly capability: number;

  constructor(
    private readonly config: ConfigSpace,
    readonly vectors: number,
    /** Offsets of table and pending bits in BAR 0. */
    readonly tableAt: number,
    readonly pendingAt: number,
    private readonly send: (address: number, data: number) => void,
  ) {
    const body = new Uint8Array(10);
    const view = new DataView(body.buffer);
    view.setUint16(0, vectors - 1, true);
    view.setUint32(2, tableAt, true);
    view.setUint32(6, pendingAt, true);
    this.capability = config.addCapability(CAP_MSIX, body);
    config.allow(this.capability + 2, 2, ENABLE | MASK_ALL);
    this.table = new Uint8Array(ENTRY * vectors);
    this.view = new DataView(this.table.buffer);
    this.pending = new Uint8Array(8 * Math.ceil(vectors / 64));
    this.reset();
  }

  get field(): state.Field<SavedMsix> {
    return state.record<SavedMsix>({
      table: state.bytes(this.table.length, true),
      pending: state.bytes(this.pending.length, true),
    });
  }

  private get control(): number {
    return this.config.view.getUint16(this.capability + 2, true);
  }

  get enabled(): boolean {
    return (this.control & ENABLE) !== 0;
  }

  /** Sends the message of a vector, now or once it is not masked any more. */
  fire(vector: number): void {
    if (vector >= this.vectors || !this.enabled) return;
    if (this.isMasked(vector) || !this.config.isMaster) {
      this.pending[vector >> 3]! |= 1 << (vector & 7);
      return;
    }
    const at = ENTRY * vector;
    // Messages go to local APICs, below 4 GiB; others reach nobody.
    if (this.view.getUint32(at + 4, true) !== 0) return;
    this.send(this.view.getUint32(at, true), this.view.getUint32(at + 8, true));
  }

  private isMasked(vector: number): boolean {
    const own = this.view.getUint32(ENTRY * vector + 12, true) & MASKED;
    return own !== 0 || (this.control & MASK_ALL) !== 0;
  }

  /** To be called when control or table were written: sends what is not masked any more. */
  update(): void {
    if (!this.enabled || !this.config.isMaster) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 7);
      if ((this.pending[vector >> 3]! & bit) === 0 || this.isMasked(vector)) continue;
      this.pending[vector >> 3]! &= ~bit;
      this.fire(vector);
    }
  }

  /** An aligned access inside table or pending bits; null when it is elsewhere. */
  read(offset: number, size: number): number | null {
    const [bytes, at] = this.placeOf(offset);
    if (bytes === null || at + size > bytes.length) return null;
    let value = 0;
    for (let index = size - 1; index >= 0; index--) value = value * 256 + bytes[at + index]!;
    return value;
  }

  /** False when the access is elsewhere. Pending bits are read-only. */
  write(offset: number, size: number, value: number): boolean {
    const [bytes, at] = this.placeOf(offset);
    if (bytes === null || at + size > bytes.length) return false;
    if (bytes === this.table && size === 4) {
      this.view.setUint32(at, at % ENTRY === 12 ? value & MASKED : value, true);
      this.update();
    }
    return true;
  }

  private placeOf(offset: number): readonly [Uint8Array | null, number] {
    if (offset >= this.tableAt && offset < this.tableAt + this.table.length) {
      return [this.table, offset - this.tableAt];
    }
    const at = offset - this.pendingAt;
    return at >= 0 && at < this.pending.length ? [this.pending, at] : [null, 0];
  }

  reset(): void {
    this.table.fill(0);
    this.pending.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) {
      this.view.setUint32(ENTRY * vector + 12, MASKED, true);
    }
  }

  save(): SavedMsix {
    return { table: this.table.slice(), pending: this.pending.slice() };
  }

  load(saved: SavedMsix): void {
    this.table.set(saved.table);
    this.pending.set(saved.pending);
  }
}
