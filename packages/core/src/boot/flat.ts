/**
 * Boots a flat binary: bytes at an address, entered in real, protected or long mode.
 *
 * Real mode enters as a BIOS enters a boot sector: CS:IP at the entry, data segments 0, DL = 0x80,
 * stack below 0x7c00; there are no BIOS services. Protected and long mode have flat segments, the
 * stack at the end of conventional memory, and in long mode the first 4 GiB mapped to themselves.
 */
import { VmmError } from '../interfaces/error.js';
import type {
  BootMachine,
  BootSource,
  LaunchPlan,
  LaunchRegion,
} from '../interfaces/launch-plan.js';
import type { GprName, VcpuState } from '../interfaces/vcpu-state.js';
import {
  gdtRegion,
  IDENTITY_MAPPED,
  IDENTITY_TABLES_SIZE,
  identityTables,
  longModeState,
  protectedModeState,
  realModeState,
} from './entry-state.js';
import { e820Map, HIGH_RAM_START, lowStackTop, PAGE_SIZE } from './memory-layout.js';
import { alignDown, checkPlacement, hex, spansOf, structureSpace } from './placement.js';

export type FlatMode = 'real' | 'protected' | 'long';

/** Where boot sectors lie, and the boot drive that they find in DL. */
const BOOT_SECTOR = 0x7c00;
const BOOT_DRIVE = 0x80n;
/** Real mode reaches this far (with segment 0xf000). */
const REAL_MODE_END = 0x100000;

export interface FlatOptions {
  readonly image: Uint8Array;
  /** Real mode unless given. */
  readonly mode?: FlatMode | undefined;
  /** Where the image goes: 0x7c00 in real mode, 1 MiB otherwise. */
  readonly loadAddress?: number | undefined;
  /** Address of the first instruction; the load address unless given. */
  readonly entry?: number | undefined;
  /** Registers to start with, over those of the mode. */
  readonly registers?: Readonly<Partial<Record<GprName, bigint>>> | undefined;
}

/** A boot source for a flat binary. */
export function flat(options: FlatOptions): BootSource {
  return { name: 'flat', plan: (machine) => plan(options, machine) };
}

function plan(options: FlatOptions, machine: BootMachine): LaunchPlan {
  const mode = options.mode ?? 'real';
  const load = options.loadAddress ?? (mode === 'real' ? BOOT_SECTOR : HIGH_RAM_START);
  const entry = options.entry ?? load;
  if (options.image.length === 0) {
    throw new VmmError('invalid-file', 'flat image is empty', { path: 'kernel' });
  }
  if (!Number.isSafeInteger(load) || load < 0) {
    throw new VmmError('invalid-argument', `flat image: no load address ${load}`, {
      path: 'loadAddress',
    });
  }
  const limit = mode === 'real' ? REAL_MODE_END : IDENTITY_MAPPED;
  if (!Number.isSafeInteger(entry) || entry < 0 || entry >= limit) {
    throw new VmmError(
      'invalid-argument',
      `flat image: ${mode} mode can't be entered at ${hex(entry)}`,
      { path: 'entry', remedy: `give an entry below ${hex(limit)}` },
    );
  }
  const image = imageRegion(options.image, load);
  const acpi = machine.acpi?.regions ?? [];
  const { state, tables } = enter(mode, entry, [image, ...acpi], machine);
  Object.assign(state.gpr, options.registers);
  const regions = [...tables, ...acpi, image];
  checkPlacement(machine.ram, spansOf(regions));
  const e820 = e820Map(machine);
  return { regions, vcpus: new Map([[0, state]]), e820, entry: 'flat' };
}

/** The image in whole pages, with zeros around it. */
function imageRegion(image: Uint8Array, load: number): LaunchRegion {
  const gpa = alignDown(load, PAGE_SIZE);
  const end = load + image.length;
  const bytes = new Uint8Array(Math.ceil(end / PAGE_SIZE) * PAGE_SIZE - gpa);
  bytes.set(image, load - gpa);
  return { name: 'image', gpa, bytes, type: 'normal' };
}

function enter(
  mode: FlatMode,
  entry: number,
  taken: readonly LaunchRegion[],
  machine: BootMachine,
): { state: VcpuState; tables: LaunchRegion[] } {
  if (mode === 'real') {
    const ip = entry & 0xffff;
    const state = realModeState({ segment: (entry - ip) >> 4, ip });
    state.gpr.rdx = BOOT_DRIVE;
    state.gpr.rsp = BigInt(BOOT_SECTOR);
    return { state, tables: [] };
  }
  const allocate = structureSpace(machine.ram, spansOf(taken));
  const gdt = allocate('gdt', PAGE_SIZE);
  const stack = BigInt(lowStackTop(machine.ram));
  if (mode === 'protected') {
    const state = protectedModeState({ rip: entry, gdt });
    state.gpr.rsp = stack;
    return { state, tables: [gdtRegion(gdt, 32)] };
  }
  const pages = allocate('page-tables', IDENTITY_TABLES_SIZE);
  const state = longModeState({ rip: entry, gdt, tables: pages, cBit: machine.cBit });
  state.gpr.rsp = stack;
  return { state, tables: [gdtRegion(gdt, 64), identityTables(pages, machine.cBit)] };
}
