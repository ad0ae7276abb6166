/**
 * Boots an ELF kernel by the PVH entry point (Xen's "direct boot" ABI, which Linux, FreeBSD and
 * others offer), without firmware.
 *
 * Source: xen/docs/misc/pvh.pandoc (register state), xen/include/public/arch-x86/hvm/start_info.h
 * (hvm_start_info version 1), xen/include/public/elfnote.h (XEN_ELFNOTE_PHYS32_ENTRY). Cannot work
 * with encrypted memory: Linux's PVH entry builds page tables without the C-bit and runs CPUID
 * before it has an IDT.
 */
import { VmmError } from '../interfaces/error.js';
import type {
  BootMachine,
  BootSource,
  E820Entry,
  LaunchPlan,
  LaunchRegion,
} from '../interfaces/launch-plan.js';
import { commandLineBytes } from './command-line.js';
import { type Elf, parseElf } from './elf.js';
import { gdtRegion, protectedModeState } from './entry-state.js';
import { e820Map, HIGH_RAM_START, HOLE_END, lowStackTop, PAGE_SIZE } from './memory-layout.js';
import {
  checkPlacement,
  findBelow,
  hex,
  pagedRegion,
  type Span,
  sizeText,
  spansOf,
  structureSpace,
} from './placement.js';

const XEN_ELFNOTE_PHYS32_ENTRY = 18;

const START_MAGIC = 0x336ec578; // "xEn3" with bit 7 of the "E" set
const START_VERSION = 1;
const START_SIZE = 56;
const MODULE_SIZE = 32;
const MEMMAP_ENTRY_SIZE = 24;
/** The ABI names no limit; Linux's own is 2047. */
const COMMAND_LINE_LIMIT = 0xffff;

export interface PvhOptions {
  /** The ELF file's bytes. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly append?: string | undefined;
}

/** A boot source for an ELF kernel with a PVH entry note. */
export function pvh(options: PvhOptions): BootSource {
  return { name: 'pvh', plan: (machine) => plan(options, machine) };
}

/** The address that the note gives, or null without one; `VmmError` where the note is damaged. */
export function pvhEntry(elf: Elf): number | null {
  const note = elf.notes.find(
    ({ name, type }) => name === 'Xen' && type === XEN_ELFNOTE_PHYS32_ENTRY,
  );
  if (note === undefined) return null;
  const { description } = note;
  if (description.length !== 4 && description.length !== 8) {
    throw new VmmError(
      'invalid-file',
      `kernel: ELF: the PVH entry note has ${description.length} bytes, not 4 or 8`,
      { path: 'kernel' },
    );
  }
  const address = description.reduceRight((value, byte) => value * 256 + byte, 0);
  return address;
}

function plan(options: PvhOptions, machine: BootMachine): LaunchPlan {
  if (machine.protection !== 'none') {
    throw new VmmError(
      'unsupported',
      `PVH entry can't work under ${machine.protection}: the kernel builds page tables ` +
        'without the C-bit there',
      { path: 'entry', remedy: 'boot the bzImage by its 64-bit or 32-bit entry' },
    );
  }
  const elf = parseElf(options.kernel);
  const entry = pvhEntry(elf);
  if (entry === null) {
    throw new VmmError('unsupported', 'kernel: no PVH entry point (XEN_ELFNOTE_PHYS32_ENTRY)', {
      path: 'kernel',
      remedy: 'use a kernel built with CONFIG_PVH, or a bzImage',
    });
  }
  const kernel = kernelRegions(elf, entry, machine);
  const acpi = machine.acpi?.regions ?? [];
  const taken = [...spansOf(kernel), ...spansOf(acpi)];
  const initrd = initrdRegion(options.initrd, taken, machine);
  if (initrd !== null) taken.push(...spansOf([initrd]));

  const allocate = structureSpace(machine.ram, taken);
  const commandLine = commandLineBytes(options.append ?? '', COMMAND_LINE_LIMIT);
  const e820 = e820Map(machine);
  const gdt = allocate('gdt', PAGE_SIZE);
  const size = START_SIZE + MODULE_SIZE + MEMMAP_ENTRY_SIZE * e820.length;
  const info = allocate('start-info', size);
  const line = allocate('command-line', commandLine.length);
  const startInfo = startInfoBytes({
    at: info,
    size,
    commandLine: line,
    initrd: initrd === null ? null : { gpa: initrd.gpa, size: options.initrd?.length ?? 0 },
    rsdp: machine.acpi?.rsdp ?? 0,
    e820,
  });
  const regions: LaunchRegion[] = [
    gdtRegion(gdt, 32),
    pagedRegion('start-info', info, startInfo),
    pagedRegion('command-line', line, commandLine),
    ...acpi,
    ...kernel,
    ...(initrd === null ? [] : [initrd]),
  ];
  checkPlacement(machine.ram, spansOf(regions));
  const state = protectedModeState({ rip: entry, gdt });
  state.gpr.rbx = BigInt(info);
  // The ABI leaves ESP open; a stack does no harm.
  state.gpr.rsp = BigInt(lowStackTop(machine.ram));
  return { regions, vcpus: new Map([[0, state]]), e820, entry: 'pvh' };
}

/** The segments, each followed by its zeros. Not padded to pages: nothing measures these. */
function kernelRegions(elf: Elf, entry: number, machine: BootMachine): LaunchRegion[] {
  const spans: Span[] = elf.segments.map((segment, index) => ({
    name: `kernel segment ${index}`,
    gpa: segment.paddr,
    size: segment.memorySize,
  }));
  // Before zeros are allocated: sizes in the file may be anything.
  checkPlacement(machine.ram, spans);
  if (!spans.some(({ gpa, size }) => entry >= gpa && entry < gpa + size)) {
    throw new VmmError('invalid-file', `kernel: PVH entry ${hex(entry)} is outside of it`, {
      path: 'kernel',
    });
  }
  return elf.segments.flatMap(({ paddr, bytes, memorySize }, index) => {
    const name = `kernel segment ${index}`;
    const zeros = new Uint8Array(memorySize - bytes.length);
    const filled: LaunchRegion = { name, gpa: paddr, bytes, type: 'normal' };
    const cleared: LaunchRegion = {
      name: `${name} zeros`,
      gpa: paddr + bytes.length,
      bytes: zeros,
      type: 'zero',
    };
    return [filled, cleared].filter((region) => region.bytes.length > 0);
  });
}

function initrdRegion(
  bytes: Uint8Array | undefined,
  taken: readonly Span[],
  machine: BootMachine,
): LaunchRegion | null {
  if (bytes === undefined || bytes.length === 0) return null;
  const region = pagedRegion('initrd', 0, bytes);
  const gpa = findBelow(machine.ram, taken, region.bytes.length, HIGH_RAM_START, HOLE_END);
  if (gpa < 0) {
    throw new VmmError(
      'invalid-config',
      `initrd (${sizeText(bytes.length)}) does not fit beside the kernel into ` +
        `${sizeText(machine.ramSize)} of memory`,
      { path: 'initrd', remedy: 'give the VM more memory' },
    );
  }
  return { ...region, gpa };
}

interface StartInfo {
  readonly at: number;
  readonly size: number;
  readonly commandLine: number;
  readonly initrd: { readonly gpa: number; readonly size: number } | null;
  readonly rsdp: number;
  readonly e820: readonly E820Entry[];
}

/** hvm_start_info, its module list and its memory map, one after another. */
function startInfoBytes(info: StartInfo): Uint8Array {
  const bytes = new Uint8Array(info.size);
  const view = new DataView(bytes.buffer);
  const u64 = (at: number, value: number) => view.setBigUint64(at, BigInt(value), true);
  const modules = START_SIZE;
  const memmap = START_SIZE + MODULE_SIZE;
  view.setUint32(0, START_MAGIC, true);
  view.setUint32(4, START_VERSION, true);
  view.setUint32(12, info.initrd === null ? 0 : 1, true);
  u64(16, info.initrd === null ? 0 : info.at + modules);
  u64(24, info.commandLine);
  u64(32, info.rsdp);
  u64(40, info.at + memmap);
  view.setUint32(48, info.e820.length, true);
  if (info.initrd !== null) {
    u64(modules, info.initrd.gpa);
    u64(modules + 8, info.initrd.size);
  }
  for (const [index, { base, length, type }] of info.e820.entries()) {
    const at = memmap + index * MEMMAP_ENTRY_SIZE;
    u64(at, base);
    u64(at + 8, length);
    view.setUint32(at + 16, type, true);
  }
  return bytes;
}
