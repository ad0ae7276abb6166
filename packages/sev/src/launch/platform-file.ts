/**
 * An emulated platform as a file: its chip, and what its flash holds. Whoever reads the file has
 * the keys of every guest that it launches.
 */
import { VmmError } from '@cloister/core';
import { fromHex, toHex } from '../bytes.js';
import { memoryStore, type Store } from '../firmware/persistent.js';
import { type ChipIdentity, decodeChip, encodeChip } from '../firmware/root.js';

const FORMAT = 'cloister-emulated-sev-platform';

export interface KeptPlatform {
  readonly chip: ChipIdentity;
  readonly flash: Store;
}

/** As JSON. */
export function encodePlatform({ chip, flash }: KeptPlatform): string {
  const stored = flash.read();
  const file = {
    format: FORMAT,
    version: 1,
    chip: JSON.parse(encodeChip(chip)),
    flash: stored === null ? null : toHex(stored),
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** Reads what `encodePlatform` wrote. `VmmError('invalid-file')` for anything else. */
export function decodePlatform(text: string): KeptPlatform {
  let file: { format?: unknown; version?: unknown; chip?: unknown; flash?: unknown } | null;
  try {
    file = JSON.parse(text);
  } catch (cause) {
    throw new VmmError('invalid-file', 'emulated platform: it is not JSON', { cause });
  }
  if (file?.format !== FORMAT || file.version !== 1) {
    throw new VmmError('invalid-file', 'emulated platform: it is another kind of file', {
      remedy: 'make one with cloister psp init',
    });
  }
  const flash = memoryStore();
  const { flash: stored } = file;
  if (stored !== null) {
    if (typeof stored !== 'string' || !/^([0-9a-f]{2})*$/.test(stored)) {
      throw new VmmError('invalid-file', 'emulated platform: flash is not hexadecimal');
    }
    flash.write(fromHex(stored));
  }
  return { chip: decodeChip(JSON.stringify(file.chip ?? null)), flash };
}
