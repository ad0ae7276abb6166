/**
 * What kind of kernel a file is, and the boot source for it.
 *
 * The order is QEMU's: a Linux header first, then Multiboot (its header may be in an ELF file),
 * then ELF with a PVH note.
 */
import { isVmmError, VmmError } from '../interfaces/error.js';
import type { BootSource } from '../interfaces/launch-plan.js';
import { looksLikeBzImage, parseBzImage } from './bzimage.js';
import { looksLikeElf, parseElf } from './elf.js';
import { type FlatOptions, flat } from './flat.js';
import { linux } from './linux.js';
import { findMultibootHeader, multiboot } from './multiboot.js';
import { pvh, pvhEntry } from './pvh.js';

export type KernelKind =
  | 'bzimage'
  | 'elf-multiboot'
  | 'multiboot'
  | 'elf-pvh'
  /** ELF without an entry that is known here, or damaged. */
  | 'elf'
  | 'boot-sector'
  | 'compressed'
  | 'unknown';

export const KERNEL_ENTRIES = ['64', '32', 'pvh', 'multiboot', 'flat'] as const;

export type KernelEntry = (typeof KERNEL_ENTRIES)[number];

export interface KernelFile {
  readonly kind: KernelKind;
  /** How such a file is entered unless said otherwise; null where that has to be said. */
  readonly entry: KernelEntry | null;
  /** For messages, e.g. `ELF with a PVH entry`. */
  readonly description: string;
}

const COMPRESSED: readonly (readonly [string, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
  ['lz4 (legacy)', [0x02, 0x21, 0x4c, 0x18]],
  ['bzip2', [0x42, 0x5a, 0x68]],
];

const SECTOR = 512;

/** Looks at a file's first bytes and headers. Never throws. */
export function detect(file: Uint8Array): KernelFile {
  if (looksLikeBzImage(file)) {
    return { kind: 'bzimage', entry: bzImageEntry(file), description: 'Linux bzImage' };
  }
  const isElf = looksLikeElf(file);
  if (findMultibootHeader(file) >= 0) {
    const kind = isElf ? 'elf-multiboot' : 'multiboot';
    return { kind, entry: 'multiboot', description: 'Multiboot kernel' };
  }
  if (isElf) {
    return hasPvhEntry(file)
      ? { kind: 'elf-pvh', entry: 'pvh', description: 'ELF with a PVH entry' }
      : { kind: 'elf', entry: null, description: 'ELF without a PVH entry' };
  }
  for (const [name, magic] of COMPRESSED) {
    if (magic.every((byte, index) => file[index] === byte)) {
      return { kind: 'compressed', entry: null, description: `${name} data` };
    }
  }
  if (file.length >= SECTOR && file[510] === 0x55 && file[511] === 0xaa) {
    return { kind: 'boot-sector', entry: 'flat', description: 'boot sector' };
  }
  return { kind: 'unknown', entry: null, description: 'no known kernel format' };
}

function bzImageEntry(file: Uint8Array): KernelEntry {
  try {
    return parseBzImage(file).entry64 ? '64' : '32';
  } catch (error) {
    // The boot source will say what is wrong with it.
    if (isVmmError(error)) return '64';
    throw error;
  }
}

function hasPvhEntry(file: Uint8Array): boolean {
  try {
    return pvhEntry(parseElf(file)) !== null;
  } catch (error) {
    if (isVmmError(error)) return false;
    throw error;
  }
}

export interface KernelOptions {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly append?: string | undefined;
  /** By file type unless given. */
  readonly entry?: KernelEntry | undefined;
  /** For Multiboot: what the command line and the first module's string say. */
  readonly kernelName?: string | undefined;
  readonly initrdName?: string | undefined;
  /** For flat binaries. */
  readonly flat?: Omit<FlatOptions, 'image'> | undefined;
}

/** The boot source for a kernel file, by its type or by the entry that is asked for. */
export function kernelSource(options: KernelOptions): BootSource {
  const { kernel } = options;
  const entry = options.entry ?? detect(kernel).entry;
  switch (entry) {
    case '64':
      return linux({ ...options, entry: 64 });
    case '32':
      return linux({ ...options, entry: 32 });
    case 'pvh':
      return pvh(options);
    case 'multiboot':
      return multiboot(options);
    case 'flat':
      return flat({ ...options.flat, image: kernel });
    case null:
      return unknownKernel(kernel);
    default:
      throw new VmmError('invalid-config', `unknown entry "${String(entry)}"`, {
        path: 'entry',
        remedy: `use one of ${KERNEL_ENTRIES.join(', ')}`,
      });
  }
}

/** Throws what is wrong with a file that has no entry known here. */
function unknownKernel(kernel: Uint8Array): never {
  if (looksLikeElf(kernel)) pvhEntry(parseElf(kernel));
  const { description } = detect(kernel);
  throw new VmmError('invalid-file', `kernel: ${description}; don't know how to enter it`, {
    path: 'kernel',
    remedy: `give a bzImage, or say the entry: ${KERNEL_ENTRIES.join(', ')}`,
  });
}
