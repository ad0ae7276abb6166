/**
 * The configuration space of a PCI function: 256 bytes, each bit writable or not, and its
 * capability list.
 *
 * Source: PCI Local Bus 3.0, 6.1 (header), 6.2.5.1 (base address registers: a written bit below the
 * size reads as 0, which is how a size is told), 6.7 (capabilities).
 */
import { state } from '@cloister/core/devices';

export const COMMAND = 0x04;
export const COMMAND_MEMORY = 1 << 1;
export const COMMAND_MASTER = 1 << 2;
export const COMMAND_INTX_DISABLE = 1 << 10;

const STATUS = 0x06;
const STATUS_CAPABILITIES = 1 << 4;
const BAR0 = 0x10;
const CAPABILITIES = 0x34;
const INTERRUPT_LINE = 0x3c;
const FIRST_CAPABILITY = 0x40;
const SIZE = 256;

export interface ConfigIds {
  readonly vendor: number;
  readonly device: number;
  readonly revision: number;
  /** Class, subclass, interface: 24 bits. */
  readonly classCode: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
}

export const configField: state.Field<Uint8Array> = state.bytes(SIZE, true);

export class ConfigSpace {
  readonly bytes = new Uint8Array(SIZE);
  readonly view = new DataView(this.bytes.buffer);
  /** Bits that the guest may write. */
  private readonly mask = new Uint8Array(SIZE);
  private readonly maskView = new DataView(this.mask.buffer);
  private last = CAPABILITIES;
  private end = FIRST_CAPABILITY;
  private powerOn = this.bytes.slice();

  constructor(ids: ConfigIds) {
    const { view } = this;
    view.setUint16(0, ids.vendor, true);
    view.setUint16(2, ids.device, true);
    view.setUint32(8, ids.revision + ids.classCode * 256, true);
    view.setUint16(0x2c, ids.subsystemVendor ?? 0, true);
    view.setUint16(0x2e, ids.subsystem ?? 0, true);
    this.mask[INTERRUPT_LINE] = 0xff;
    this.allow(COMMAND, 2, COMMAND_MEMORY | COMMAND_MASTER | COMMAND_INTX_DISABLE);
  }

  /** Lets the guest write the bits of `mask` in `size` (1, 2 or 4) bytes. */
  allow(offset: number, size: number, mask: number): void {
    for (let at = 0; at < size; at++) this.mask[offset + at]! |= mask >>> (8 * at);
  }

  /** BAR 0: 32-bit memory of `size` bytes, a power of 2, placed at `base` and switched on. */
  placeMemory(base: number, size: number): void {
    this.maskView.setUint32(BAR0, -size, true);
    this.view.setUint32(BAR0, base, true);
    this.view.setUint16(COMMAND, COMMAND_MEMORY, true);
  }

  /** Where BAR 0 lies, -1 while the guest has memory switched off. */
  get memory(): number {
    const on = (this.view.getUint16(COMMAND, true) & COMMAND_MEMORY) !== 0;
    return on ? (this.view.getUint32(BAR0, true) & ~0xf) >>> 0 : -1;
  }

  /** Whether the function may reach memory, messages of interrupts included. */
  get isMaster(): boolean {
    return (this.view.getUint16(COMMAND, true) & COMMAND_MASTER) !== 0;
  }

  /** Adds a capability: id and link are written here, `body` behind them. Returns its offset. */
  addCapability(id: number, body: Uint8Array): number {
    const at = this.end;
    this.bytes[this.last] = at;
    this.bytes[at] = id;
    this.bytes.set(body, at + 2);
    this.last = at + 1;
    this.end = Math.ceil((at + 2 + body.length) / 4) * 4;
    const status = this.view.getUint16(STATUS, true);
    this.view.setUint16(STATUS, status | STATUS_CAPABILITIES, true);
    return at;
  }

  /** What is there now is what a reset brings back. */
  seal(): void {
    this.powerOn = this.bytes.slice();
  }

  /** An access that lies inside an aligned dword. */
  read(offset: number, size: number): number {
    let value = 0;
    for (let at = size - 1; at >= 0; at--) value = value * 256 + this.bytes[offset + at]!;
    return value;
  }

  write(offset: number, size: number, value: number): void {
    for (let at = 0; at < size; at++) {
      const mask = this.mask[offset + at]!;
      const byte = (value >>> (8 * at)) & 0xff;
      this.bytes[offset + at] = (this.bytes[offset + at]! & ~mask) | (byte & mask);
    }
  }

  reset(): void {
    this.bytes.set(this.powerOn);
  }

  save(): Uint8Array {
    return this.bytes.slice();
  }

  /** Takes over what the guest may write; the rest is as it was made. */
  load(saved: Uint8Array): void {
    for (let at = 0; at < SIZE; at++) {
      const mask = this.mask[at]!;
      this.bytes[at] = (this.powerOn[at]! & ~mask) | (saved[at]! & mask);
    }
  }
}
