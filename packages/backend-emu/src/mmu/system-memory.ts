/**
 * System memory as extensions reach it: by system-physical address, under any key.
 */
import { type SystemMemory, VmmError } from '@cloister/core';
import { isReadOnly, type PhysicalMemory } from './physical.js';

export function systemMemory(physical: PhysicalMemory): SystemMemory {
  const { keys } = physical;
  const size = physical.bytes.length;
  const check = (spa: number, length: number) => {
    if (Number.isSafeInteger(spa) && spa >= 0 && spa + length <= size) return;
    throw new VmmError('invalid-argument', `there is no system memory at ${spa}+${length}`);
  };
  return {
    size,
    locate: (gpa) => physical.locate(gpa),
    writable: (gpa) => {
      const entry = physical.entry(Math.floor(gpa / 4096));
      return entry !== 0 && !isReadOnly(entry);
    },
    read(spa, target, keyTag) {
      check(spa, target.length);
      keys.read(spa, target, keyTag);
    },
    write(spa, source, keyTag) {
      check(spa, source.length);
      keys.write(spa, source, keyTag);
      physical.written(spa, source.length);
    },
    release: (keyTag) => keys.release(keyTag),
  };
}
