/**
 * Boots a Multiboot 1 kernel, as QEMU's -kernel takes it.
 *
 * Source: Multiboot Specification 0.6.96, 3.1 (header), 3.2 (machine state), 3.3 (information
 * format). Where the specification leaves a choice, QEMU's loader decides: address fields of the
 * header win over ELF headers; ELF must be 32-bit x86; an ELF entry point inside of a segment that
 * is linked and loaded at different addresses is moved with it; the command line starts with the
 * kernel's name; a request for a video mode is ignored.
 */
import { VmmError } from '../interfaces/error.js';
import type {
  BootMachine,
  BootSource,
  LaunchPlan,
  LaunchRegion,
} from '../interfaces/launch-plan.js';
import { EM_386, PF_X, parseElf } from './elf.js';
import { gdtRegion, protectedModeState } from './entry-state.js';
import { e820Map, HOLE_END, inRam, lowStackTop, PAGE_SIZE } from './memory-layout.js';
import { multibootInfo } from './multiboot-info.js';
import {
  alignDown,
  alignUp,
  checkPlacement,
  findAbove,
  hex,
  pagedRegion,
  type Span,
  sizeText,
  spansOf,
  structureSpace,
} from './placement.js';

const HEADER_MAGIC = 0x1badb002;
const LOADER_MAGIC = 0x2badb002n;
/** The header lies within this many bytes, on a 4-byte boundary. */
const SEARCH_LENGTH = 8192;
const HEADER_SIZE = 12;
const ADDRESSES_SIZE = 32;

const HAS_ADDRESSES = 1 << 16;
/** Required features that are known: page-aligned modules, memory information, a video mode. */
const KNOWN_REQUIREMENTS = 0b111;

export interface MultibootModule {
  readonly bytes: Uint8Array;
  /** The string that the kernel gets with it: file name and arguments. */
  readonly string: string;
}

export interface MultibootOptions {
  /** The kernel file's bytes. */
  readonly kernel: Uint8Array;
  /** The first module. */
  readonly initrd?: Uint8Array | undefined;
  readonly append?: string | undefined;
  /** What stands first on the command line; `kernel` unless given. */
  readonly kernelName?: string | undefined;
  /** The string of the first module; `initrd` unless given. */
  readonly initrdName?: string | undefined;
  /** Modules after the first. */
  readonly modules?: readonly MultibootModule[] | undefined;
}

/** A boot source for a Multiboot 1 kernel. */
export function multiboot(options: MultibootOptions): BootSource {
  return { name: 'multiboot', plan: (machine) => plan(options, machine) };
}

function damaged(message: string): VmmError {
  return new VmmError('invalid-file', `kernel: multiboot: ${message}`, { path: 'kernel' });
}

/** Offset of the header in the file, or -1. */
export function findMultibootHeader(file: Uint8Array): number {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const last = Math.min(file.length, SEARCH_LENGTH) - HEADER_SIZE;
  for (let at = 0; at <= last; at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(at + 4, true);
    if ((HEADER_MAGIC + flags + view.getUint32(at + 8, true)) >>> 0 === 0) return at;
  }
  return -1;
}

/** A kernel ready to be loaded: pieces of the file, and memory to be zero. */
interface Image {
  readonly start: number;
  readonly end: number;
  readonly entry: number;
  readonly pieces: readonly { readonly gpa: number; readonly bytes: Uint8Array }[];
}

function readImage(file: Uint8Array): Image {
  const at = findMultibootHeader(file);
  if (at < 0) throw damaged(`no header in the first ${SEARCH_LENGTH} bytes`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const flags = view.getUint32(at + 4, true);
  const unknown = flags & 0xffff & ~KNOWN_REQUIREMENTS;
  if (unknown !== 0) {
    throw new VmmError('unsupported', `kernel: multiboot: unknown requirements ${hex(unknown)}`, {
      path: 'kernel',
    });
  }
  return (flags & HAS_ADDRESSES) !== 0 ? addressedImage(file, view, at) : elfImage(file);
}

/** An image described by the header's own address fields (the "a.out kludge"). */
function addressedImage(file: Uint8Array, view: DataView, at: number): Image {
  if (at + ADDRESSES_SIZE > file.length) throw damaged('truncated within its header');
  const header = view.getUint32(at + 12, true);
  const start = view.getUint32(at + 16, true);
  const loadEnd = view.getUint32(at + 20, true);
  const bssEnd = view.getUint32(at + 24, true);
  const entry = view.getUint32(at + 28, true);
  const offset = at - (header - start);
  if (header < start || offset < 0)
    throw damaged(`load address ${hex(start)} is beyond the header`);
  const length = loadEnd === 0 ? file.length - offset : loadEnd - start;
  if (length < 0) throw damaged(`load end ${hex(loadEnd)} is below the load address`);
  if (offset + length > file.length) {
    throw damaged(`truncated: ${offset + length} bytes promised, the file has ${file.length}`);
  }
  if (bssEnd !== 0 && bssEnd < start + length) {
    throw damaged(`bss end ${hex(bssEnd)} is below the end of what is loaded`);
  }
  const bytes = file.subarray(offset, offset + length);
  const end = Math.max(bssEnd, start + length);
  return { start, end, entry, pieces: [{ gpa: start, bytes }] };
}

function elfImage(file: Uint8Array): Image {
  const elf = parseElf(file);
  if (elf.bits !== 32 || elf.machine !== EM_386) {
    throw new VmmError('unsupported', `kernel: multiboot takes 32-bit x86 ELF files only`, {
      path: 'kernel',
      remedy: 'convert it: objcopy -O elf32-i386',
    });
  }
  if (elf.segments.length === 0) throw damaged('the ELF file has nothing to load');
  let entry = Number(elf.entry);
  for (const { vaddr, paddr, bytes, flags } of elf.segments) {
    const offset = Number(elf.entry - vaddr);
    if ((flags & PF_X) !== 0 && offset >= 0 && offset < bytes.length) entry = paddr + offset;
  }
  return {
    start: Math.min(...elf.segments.map(({ paddr }) => paddr)),
    end: Math.max(...elf.segments.map(({ paddr, memorySize }) => paddr + memorySize)),
    entry,
    pieces: elf.segments.map(({ paddr, bytes }) => ({ gpa: paddr, bytes })),
  };
}

function plan(options: MultibootOptions, machine: BootMachine): LaunchPlan {
  const image = readImage(options.kernel);
  const kernel = kernelRegion(image, machine);
  const acpi = machine.acpi?.regions ?? [];
  const taken = [...spansOf([kernel]), ...spansOf(acpi)];
  const modules = placeModules(options, taken, machine);
  const allocate = structureSpace(machine.ram, [
    ...taken,
    ...spansOf(modules.map((m) => m.region)),
  ]);
  const gdt = allocate('gdt', PAGE_SIZE);
  const e820 = e820Map(machine);
  const name = options.kernelName ?? 'kernel';
  const append = options.append ?? '';
  const contents = {
    ram: machine.ram,
    e820,
    commandLine: append === '' ? name : `${name} ${append}`,
    modules: modules.map(({ region, size, string }) => ({ gpa: region.gpa, size, string })),
  };
  const length = multibootInfo(0, contents).length;
  const info = allocate('multiboot-info', length);
  const regions: LaunchRegion[] = [
    gdtRegion(gdt, 32),
    pagedRegion('multiboot-info', info, multibootInfo(info, contents)),
    ...acpi,
    kernel,
    ...modules.map(({ region }) => region),
  ];
  checkPlacement(machine.ram, spansOf(regions));
  const state = protectedModeState({ rip: image.entry, gdt });
  state.gpr.rax = LOADER_MAGIC;
  state.gpr.rbx = BigInt(info);
  // The specification leaves ESP open; kernels exist that rely on a stack.
  state.gpr.rsp = BigInt(lowStackTop(machine.ram));
  return { regions, vcpus: new Map([[0, state]]), e820, entry: 'multiboot' };
}

/** The whole kernel as one region of whole pages, gaps and bss as zeros. */
function kernelRegion(image: Image, machine: BootMachine): LaunchRegion {
  const start = alignDown(image.start, PAGE_SIZE);
  const size = alignUp(image.end, PAGE_SIZE) - start;
  if (!inRam(machine.ram, start, size)) {
    throw new VmmError(
      'invalid-config',
      `kernel (${sizeText(size)} at ${hex(image.start)}) does not fit into ` +
        `${sizeText(machine.ramSize)} of memory`,
      { path: 'memory', remedy: 'give the VM more memory' },
    );
  }
  if (image.entry < image.start || image.entry >= image.end) {
    throw damaged(`entry point ${hex(image.entry)} is outside of the kernel`);
  }
  const spans: Span[] = image.pieces.map(({ gpa, bytes }, index) => ({
    name: `kernel segment ${index}`,
    gpa,
    size: bytes.length,
  }));
  checkPlacement(machine.ram, spans);
  const bytes = new Uint8Array(size);
  for (const piece of image.pieces) bytes.set(piece.bytes, piece.gpa - start);
  return { name: 'kernel', gpa: start, bytes, type: 'normal' };
}

interface PlacedModule {
  readonly region: LaunchRegion;
  readonly size: number;
  readonly string: string;
}

/** Modules lie above the kernel, on page boundaries, in order. */
function placeModules(
  options: MultibootOptions,
  taken: readonly Span[],
  machine: BootMachine,
): PlacedModule[] {
  const modules: MultibootModule[] = [...(options.modules ?? [])];
  if (options.initrd !== undefined && options.initrd.length > 0) {
    modules.unshift({ bytes: options.initrd, string: options.initrdName ?? 'initrd' });
  }
  const used = [...taken];
  const kernelEnd = used.reduce(
    (end, span) => (span.name === 'kernel' ? span.gpa + span.size : end),
    0,
  );
  let from = kernelEnd;
  return modules.map(({ bytes, string }, index) => {
    const name = index === 0 ? 'initrd' : `module ${index}`;
    const region = pagedRegion(name, 0, bytes);
    const gpa = findAbove(machine.ram, used, region.bytes.length, from, HOLE_END);
    if (gpa < 0) {
      throw new VmmError(
        'invalid-config',
        `${name} (${sizeText(bytes.length)}) does not fit above the kernel into ` +
          `${sizeText(machine.ramSize)} of memory`,
        { path: 'initrd', remedy: 'give the VM more memory' },
      );
    }
    from = gpa + region.bytes.length;
    used.push({ name, gpa, size: region.bytes.length });
    return { region: { ...region, gpa }, size: bytes.length, string };
  });
}
