/**
 * The device bus: which device answers a port or a guest-physical address, and how an access is cut
 * into pieces that devices take.
 *
 * A device sees accesses of 1, 2 or 4 bytes that lie inside one of its regions. Anything else is
 * split, lowest address first: string items one by one, wide accesses into pieces of 4, 2 and 1
 * bytes, accesses across a region's end at that end. Bytes that no device claims read as ones, as
 * the backend left them. Inaccuracy: real buses split at natural boundaries of the bus width.
 */
import type { Device, DeviceRegion, IoExit, MmioExit } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';

/** A region of a device, in place. */
export interface Claim {
  readonly device: Device;
  readonly region: number;
  readonly base: number;
  /** First address behind the region. */
  readonly end: number;
  readonly name: string;
  readonly plugin: string | undefined;
}

/** Takes what a device threw: devices must not, and must not stop the VM when they do. */
export type DeviceFault = (claim: Claim, error: unknown) => void;

const PORTS = 0x10000;
const GPA_LIMIT = 2 ** 52;

function overlapMessage(a: DeviceRegion, aDevice: string, b: Claim, bDevice: string): string {
  const at = `0x${Math.max(a.base, b.base).toString(16)}`;
  return `regions ${aDevice}/${a.name} and ${bDevice}/${b.name} overlap at ${a.space} ${at}`;
}

export class DeviceBus {
  readonly io: Claim[] = [];
  readonly mmio: Claim[] = [];
  /** By port: index in `io` plus one, 0 for none. */
  private readonly ports = new Uint16Array(PORTS);
  /** The MMIO claim that was hit last: drivers poll one device many times in a row. */
  private recent: Claim | null = null;

  constructor(private readonly fault: DeviceFault) {}

  /** Claims the regions of `device`; `VmmError('plugin-conflict')` and no claim if one overlaps. */
  add(device: Device, plugin?: string): void {
    for (const [index, region] of device.regions.entries()) this.check(device, region, index);
    device.regions.forEach(({ space, base, length, name }, region) => {
      const claim: Claim = { device, region, base, end: base + length, name, plugin };
      if (space === 'io') {
        this.io.push(claim);
        this.ports.fill(this.io.length, base, base + length);
      } else {
        this.mmio.push(claim);
        this.mmio.sort((a, b) => a.base - b.base);
      }
    });
  }

  /** The claim over a port, or null. */
  atPort(port: number): Claim | null {
    const index = port < PORTS ? this.ports[port]! : 0;
    return index === 0 ? null : this.io[index - 1]!;
  }

  /** The claim over a guest-physical address, or null. */
  atGpa(gpa: number): Claim | null {
    const recent = this.recent;
    if (recent !== null && gpa >= recent.base && gpa < recent.end) return recent;
    const list = this.mmio;
    let low = 0;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (list[middle]!.base <= gpa) low = middle + 1;
      else high = middle;
    }
    const claim = list[low - 1];
    if (claim === undefined || gpa >= claim.end) return null;
    this.recent = claim;
    return claim;
  }

  /** Performs a port access; false when no byte of it is claimed. */
  accessIo(exit: IoExit): boolean {
    const { port, size } = exit;
    const claim = this.atPort(port);
    if (claim === null || port + size > claim.end) return this.splitIo(exit);
    if (exit.count === 1) this.piece(claim, port, size, exit.data, 0, exit.direction === 'in');
    else this.string(claim, exit);
    return true;
  }

  /** String items, each at the same port. */
  private string(claim: Claim, { port, size, count, data, direction }: IoExit): void {
    const read = direction === 'in';
    for (let at = 0; at < size * count; at += size) this.piece(claim, port, size, data, at, read);
  }

  private splitIo({ port, size, count, data, direction }: IoExit): boolean {
    const read = direction === 'in';
    let claimed = false;
    for (let at = 0; at < size * count; at += size) {
      if (this.split('io', port, size, data, at, read)) claimed = true;
    }
    return claimed;
  }

  /** Performs a memory-mapped access; false when no byte of it is claimed. */
  accessMmio(exit: MmioExit): boolean {
    const { gpa, size, data } = exit;
    const read = exit.direction === 'read';
    if (size === 1 || size === 2 || size === 4) {
      const claim = this.atGpa(gpa);
      if (claim !== null && gpa + size <= claim.end) {
        this.piece(claim, gpa, size, data, 0, read);
        return true;
      }
    }
    return this.split('mmio', gpa, size, data, 0, read);
  }

  private split(
    space: 'io' | 'mmio',
    address: number,
    size: number,
    data: Uint8Array,
    from: number,
    read: boolean,
  ): boolean {
    let claimed = false;
    for (let done = 0; done < size; ) {
      const at = address + done;
      const claim = space === 'io' ? this.atPort(at) : this.atGpa(at);
      if (claim === null) {
        done++;
        continue;
      }
      const room = Math.min(size - done, claim.end - at);
      const width = room >= 4 ? 4 : room >= 2 ? 2 : 1;
      this.piece(claim, at, width, data, from + done, read);
      claimed = true;
      done += width;
    }
    return claimed;
  }

  private piece(
    claim: Claim,
    address: number,
    size: number,
    data: Uint8Array,
    at: number,
    read: boolean,
  ): void {
    const offset = address - claim.base;
    try {
      if (read) {
        const value = claim.device.read(claim.region, offset, size);
        data[at] = value;
        if (size > 1) data[at + 1] = value >>> 8;
        if (size > 2) {
          data[at + 2] = value >>> 16;
          data[at + 3] = value >>> 24;
        }
      } else {
        let value = data[at]!;
        if (size > 1) value |= data[at + 1]! << 8;
        if (size > 2) value = (value | (data[at + 2]! << 16) | (data[at + 3]! << 24)) >>> 0;
        claim.device.write(claim.region, offset, size, value);
      }
    } catch (error) {
      this.fault(claim, error);
    }
  }

  private check(device: Device, region: DeviceRegion, index: number): void {
    const { space, base, length, name } = region;
    const limit = space === 'io' ? PORTS : GPA_LIMIT;
    const good = Number.isSafeInteger(base) && Number.isSafeInteger(length);
    if (!good || base < 0 || length <= 0 || base + length > limit) {
      throw new VmmError('invalid-argument', `region ${device.name}/${name} is out of range`);
    }
    for (const claim of space === 'io' ? this.io : this.mmio) {
      if (base < claim.end && claim.base < base + length) {
        throw new VmmError(
          'plugin-conflict',
          overlapMessage(region, device.name, claim, claim.device.name),
          { remedy: 'give one of them another address' },
        );
      }
    }
    for (const other of device.regions.slice(0, index)) {
      if (other.space !== space) continue;
      if (base < other.base + other.length && other.base < base + length) {
        throw new VmmError(
          'invalid-argument',
          `regions ${name} and ${other.name} of ${device.name} overlap`,
        );
      }
    }
  }
}
