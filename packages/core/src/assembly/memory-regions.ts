/**
 * Memory besides RAM: where plugins put it, and what is in it at the start.
 */
import { ramRanges } from '../boot/memory-layout.js';
import type { BackendVm, LaunchRegion, MemoryRegion } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import type { Claim } from '../routing/device-bus.js';

const PAGE_SIZE = 4096;
const GPA_LIMIT = 2 ** 52;

interface Placed {
  readonly name: string;
  readonly gpa: number;
  readonly size: number;
}

function overlaps(a: Placed, b: Placed): boolean {
  return a.gpa < b.gpa + b.size && b.gpa < a.gpa + a.size;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}

export class MemoryRegions {
  private readonly ram: readonly Placed[];
  private readonly list: MemoryRegion[] = [];

  constructor(private readonly ramSize: number) {
    this.ram = ramRanges(ramSize).map((range) => ({ name: 'ram', ...range }));
  }

  get regions(): readonly MemoryRegion[] {
    return this.list;
  }

  /** Bytes of RAM and of all regions. */
  get totalSize(): number {
    return this.list.reduce((sum, { size }) => sum + size, this.ramSize);
  }

  add(region: MemoryRegion): void {
    const { name, gpa, size, bytes } = region;
    const whole = [gpa, size].every(
      (value) => Number.isSafeInteger(value) && value >= 0 && value % PAGE_SIZE === 0,
    );
    if (!whole || size === 0 || gpa + size > GPA_LIMIT) {
      throw new VmmError('invalid-argument', `memory ${name} is not whole pages below 2^52`);
    }
    if (bytes !== undefined && bytes.length > size) {
      throw new VmmError('invalid-argument', `memory ${name} is smaller than its contents`);
    }
    const other = [...this.ram, ...this.list].find((each) => overlaps(each, region));
    if (other !== undefined) {
      throw new VmmError('plugin-conflict', `memory ${name} and ${other.name} overlap`, {
        remedy: 'give one of them another address',
      });
    }
    this.list.push({ ...region, ...(bytes === undefined ? {} : { bytes: bytes.slice() }) });
  }

  /** A device where memory lies would never be asked. */
  checkDevices(claims: readonly Claim[]): void {
    for (const { device, name, base, end, plugin } of claims) {
      const placed = { name, gpa: base, size: end - base };
      const other = [...this.ram, ...this.list].find((each) => overlaps(each, placed));
      if (other === undefined) continue;
      throw new VmmError(
        'plugin-conflict',
        `region ${device.name}/${name} at ${hex(base)} lies in memory (${other.name})`,
        {
          ...(plugin === undefined ? {} : { plugin }),
          remedy: 'give the device another address, or the VM less memory',
        },
      );
    }
  }

  /** Gives the VM all its memory. */
  place(vm: BackendVm): void {
    const fixed = { readOnly: false, encryptable: true };
    const slots = [...this.ram.map((each) => ({ ...fixed, ...each })), ...this.list];
    for (const [id, slot] of slots.entries()) {
      const { name, gpa, size, readOnly, encryptable = true } = slot;
      vm.addSlot({ id, name, gpa, size, readOnly, encryptable });
    }
  }

  /** Writes what is in the regions at the start: in all, or in those that are always shared. */
  load(vm: BackendVm, which: 'all' | 'shared' = 'all'): void {
    for (const { gpa, bytes, encryptable = true } of this.list) {
      if (bytes === undefined || (which === 'shared' && encryptable)) continue;
      vm.memory.write(gpa, bytes);
    }
  }

  /** The other regions with contents, whole, for a protection to launch. */
  launchRegions(): LaunchRegion[] {
    return this.list.flatMap(({ name, gpa, size, bytes, encryptable = true }) => {
      if (bytes === undefined || !encryptable) return [];
      const whole = new Uint8Array(size);
      whole.set(bytes);
      return [{ name, gpa, bytes: whole, type: 'normal' as const }];
    });
  }
}
