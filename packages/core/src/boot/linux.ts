/**
 * Boots a Linux bzImage by its 64-bit or its 32-bit entry, without firmware.
 *
 * Source: Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol" (code + 0x200, long mode,
 * identity map, RSI) and "32-bit Boot Protocol" (code + 0, paging off, ESI). Both work unchanged
 * under SEV, SEV-ES and SEV-SNP: with the 64-bit entry the page tables carry the C-bit, with the
 * 32-bit entry paging is off and every access is private.
 *
 * Low memory: 0x6000 GDT, 0x7000 boot_params, 0x8000 page tables (64-bit), 0x20000 command line.
 * The kernel lies at its preferred address, the initrd at the end of memory. The kernel moves or
 * replaces all of these before it reuses the memory: boot_params and command line are copied in
 * early start-up, GDT and page tables are replaced by its decompressor.
 */
import { VmmError } from '../interfaces/error.js';
import type {
  BootMachine,
  BootSource,
  LaunchPlan,
  LaunchRegion,
} from '../interfaces/launch-plan.js';
import { bootParams } from './boot-params.js';
import { type BzImage, parseBzImage } from './bzimage.js';
import { commandLineBytes } from './command-line.js';
import {
  gdtRegion,
  IDENTITY_MAPPED,
  identityTables,
  longModeState,
  protectedModeState,
} from './entry-state.js';
import { e820Map, HIGH_RAM_START, HOLE_END, inRam } from './memory-layout.js';
import {
  alignUp,
  checkPlacement,
  findBelow,
  hex,
  pagedRegion,
  type Span,
  sizeText,
  spansOf,
} from './placement.js';

export const LINUX_LAYOUT = {
  gdt: 0x6000,
  bootParams: 0x7000,
  pageTables: 0x8000,
  commandLine: 0x20000,
} as const;

/** Largest command line that the layout has room for, whatever the kernel says. */
const COMMAND_LINE_ROOM = 0xffff;

const ENTRY64_OFFSET = 0x200;

export interface LinuxOptions {
  /** The file's bytes. */
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  /** The command line. */
  readonly append?: string | undefined;
  /** Which entry point to use; 64 unless given. */
  readonly entry?: 64 | 32 | undefined;
}

/** A boot source for a Linux bzImage. */
export function linux(options: LinuxOptions): BootSource {
  const entry = options.entry ?? 64;
  return { name: `linux${entry}`, plan: (machine) => plan(options, entry, machine) };
}

function plan(options: LinuxOptions, entry: 64 | 32, machine: BootMachine): LaunchPlan {
  const image = parseBzImage(options.kernel);
  if (entry === 64 && !image.entry64) {
    throw new VmmError('unsupported', 'kernel: no 64-bit entry point (XLF_KERNEL_64 is not set)', {
      path: 'kernel',
      remedy: 'use --entry 32, or a 64-bit kernel of Linux 3.8 or later',
    });
  }
  const append = options.append ?? '';
  const commandLine = commandLineBytes(append, Math.min(image.cmdlineSize, COMMAND_LINE_ROOM));
  const load = loadAddress(image, machine);
  // While it unpacks itself the kernel uses init_size bytes from where it lies.
  const kernelSpan: Span = { name: 'kernel', gpa: load, size: image.initSize };
  const initrd = placeInitrd(options.initrd, image, kernelSpan, machine);
  const e820 = e820Map(machine);

  const { gdt, bootParams: zeroPage, pageTables, commandLine: cmdline } = LINUX_LAYOUT;
  const params = bootParams({
    image,
    loadAddress: load,
    commandLine: cmdline,
    initrd: initrd === null ? null : { gpa: initrd.gpa, size: options.initrd?.length ?? 0 },
    rsdp: machine.acpi?.rsdp ?? null,
    e820,
  });
  const regions: LaunchRegion[] = [
    gdtRegion(gdt, entry),
    pagedRegion('boot-params', zeroPage, params),
    ...(entry === 64 ? [identityTables(pageTables, machine.cBit)] : []),
    pagedRegion('command-line', cmdline, commandLine),
    ...(machine.acpi?.regions ?? []),
    pagedRegion('kernel', load, image.code),
    ...(initrd === null ? [] : [initrd]),
  ];
  const others = spansOf(regions).filter((span) => span.name !== 'kernel');
  checkPlacement(machine.ram, [kernelSpan, ...others]);

  const state =
    entry === 64
      ? longModeState({ rip: load + ENTRY64_OFFSET, gdt, tables: pageTables, cBit: machine.cBit })
      : protectedModeState({ rip: load, gdt });
  state.gpr.rsi = BigInt(zeroPage);
  return { regions, vcpus: new Map([[0, state]]), e820, entry: `linux${entry}` };
}

/** Where the kernel goes: its preferred address, or the next aligned one above 1 MiB. */
function loadAddress(image: BzImage, machine: BootMachine): number {
  const wanted = Math.max(image.prefAddress, HIGH_RAM_START);
  const address = image.relocatable ? alignUp(wanted, image.alignment) : wanted;
  if (!inRam(machine.ram, address, image.initSize) || address + image.initSize > IDENTITY_MAPPED) {
    throw new VmmError(
      'invalid-config',
      `kernel (${sizeText(image.initSize)} at ${hex(address)}) does not fit into ` +
        `${sizeText(machine.ramSize)} of memory`,
      { path: 'memory', remedy: 'give the VM more memory' },
    );
  }
  return address;
}

function placeInitrd(
  bytes: Uint8Array | undefined,
  image: BzImage,
  kernel: Span,
  machine: BootMachine,
): LaunchRegion | null {
  if (bytes === undefined || bytes.length === 0) return null;
  const region = pagedRegion('initrd', 0, bytes);
  const taken = [kernel, ...spansOf(machine.acpi?.regions ?? [])];
  const size = region.bytes.length;
  const limit = image.initrdAddrMax === 0 ? HOLE_END : image.initrdAddrMax + 1;
  let gpa = findBelow(machine.ram, taken, size, HIGH_RAM_START, Math.min(limit, HOLE_END));
  if (gpa < 0 && image.initrdAbove4G) {
    gpa = findBelow(machine.ram, taken, size, HOLE_END, Number.MAX_SAFE_INTEGER);
  }
  if (gpa < 0) {
    throw new VmmError(
      'invalid-config',
      `initrd (${sizeText(bytes.length)}) does not fit beside the kernel ` +
        `(${sizeText(kernel.size)} at ${hex(kernel.gpa)}) into ` +
        `${sizeText(machine.ramSize)} of memory`,
      { path: 'initrd', remedy: 'give the VM more memory' },
    );
  }
  return { ...region, gpa };
}
