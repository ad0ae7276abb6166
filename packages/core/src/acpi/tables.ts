/**
 * All ACPI tables of a machine, laid out at one place in guest memory.
 *
 * RSDP first, so that guests which scan the BIOS area on 16-byte boundaries find it too.
 */
import { FIRMWARE_TABLES, PAGE_SIZE } from '../boot/memory-layout.js';
import type { AcpiFixedHardware } from '../interfaces/acpi-hardware.js';
import { VmmError } from '../interfaces/error.js';
import type { LaunchRegion } from '../interfaces/launch-plan.js';
import type { AcpiDeviceNode } from '../interfaces/plugin.js';
import { dsdt, mergeNodes } from './dsdt.js';
import { fadt } from './fadt.js';
import { FIXED_HARDWARE } from './fixed-hardware.js';
import { type InterruptControllers, madt, pcInterrupts } from './madt.js';
import { FACS_SIZE, facs, RSDP_SIZE, rsdp, xsdt } from './root-tables.js';

export interface AcpiOptions {
  readonly cpus: number;
  /** Devices to describe, besides those of `PC_NODES`. */
  readonly nodes?: readonly AcpiDeviceNode[];
  /** The fixed hardware as its device has it; `FIXED_HARDWARE` unless given. */
  readonly hardware?: AcpiFixedHardware;
  /** The interrupt controllers, e.g. an `InterruptRouter`; a PC's unless given. */
  readonly interrupts?: InterruptControllers;
  /** Where the tables go: page-aligned, below 4 GiB; the BIOS area unless given. */
  readonly at?: number;
}

export interface AcpiTables {
  /** The RSDP's address. */
  readonly rsdp: number;
  readonly regions: readonly LaunchRegion[];
}

/** The BIOS area ends here; tables placed in it must not run into RAM. */
const BIOS_AREA_END = 0x100000;
const MAX_CPUS = 4096;

/** The machine's tables and where they lie. */
export function acpiTables(options: AcpiOptions): AcpiTables {
  const { cpus, hardware = FIXED_HARDWARE, at = FIRMWARE_TABLES } = options;
  const interrupts = options.interrupts ?? pcInterrupts(hardware.sci);
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > MAX_CPUS) {
    throw new VmmError('invalid-argument', `ACPI: ${cpus} is not a number of CPUs`);
  }
  if (!Number.isSafeInteger(at) || at < 0 || at % PAGE_SIZE !== 0 || at >= 2 ** 32) {
    throw new VmmError('invalid-argument', `ACPI: tables can't lie at ${at}`, {
      remedy: 'give a page-aligned address below 4 GiB',
    });
  }
  const chunks: { offset: number; bytes: Uint8Array }[] = [];
  let next = 0;
  const place = (bytes: Uint8Array, alignment = 16): number => {
    const offset = Math.ceil(next / alignment) * alignment;
    chunks.push({ offset, bytes });
    next = offset + bytes.length;
    return at + offset;
  };
  // The RSDP's and the FACS's sizes are fixed, so that both can come first.
  next = Math.ceil(RSDP_SIZE / FACS_SIZE) * FACS_SIZE;
  const facsAt = place(facs(), FACS_SIZE);
  const dsdtAt = place(dsdt(cpus, mergeNodes(options.nodes ?? []), hardware.s5));
  const fadtAt = place(fadt(hardware, facsAt, dsdtAt));
  const madtAt = place(madt(cpus, interrupts));
  const xsdtAt = place(xsdt([fadtAt, madtAt]));
  chunks.push({ offset: 0, bytes: rsdp(xsdtAt) });

  const size = Math.ceil(next / PAGE_SIZE) * PAGE_SIZE;
  if (at < BIOS_AREA_END && at + size > BIOS_AREA_END) {
    throw new VmmError('invalid-config', `ACPI tables of ${size} bytes do not fit below 1 MiB`, {
      remedy: 'describe fewer devices, or place the tables elsewhere',
    });
  }
  const bytes = new Uint8Array(size);
  for (const chunk of chunks) bytes.set(chunk.bytes, chunk.offset);
  return { rsdp: at, regions: [{ name: 'acpi', gpa: at, bytes, type: 'normal' }] };
}
