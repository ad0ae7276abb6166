/**
 * System memory as extensions reach it: by system-physical address, under any key.
 */
import { type SystemMemory, VmmError } from '@cloister/core';
import { FRAME_CACHED, PAGE_SIZE, type PhysicalMemory } from './physical.js';

/** `pages` of it are for one extension's own use. */
export function systemMemory(physical: PhysicalMemory, pages = 0): SystemMemory {
  let pagesLeft = pages;
  const { keys } = physical;
  const size = physical.bytes.length;
  const check = (spa: number, length: number) => {
    if (Number.isSafeInteger(spa) && spa >= 0 && spa + length <= size) return;
    throw new VmmError('invalid-argument', `there is no system memory at ${spa}+${length}`);
  };
  return {
    size,
    locate: (gpa) => physical.locate(gpa),
    place: (page) => physical.place(page),
    read(spa, target, keyTag) {
      check(spa, target.length);
      keys.read(spa, target, keyTag);
    },
    write(spa, source, keyTag) {
      check(spa, source.length);
      keys.write(spa, source, keyTag);
      physical.written(spa, source.length);
    },
    defer(spa, keyTag, store) {
      check(spa, PAGE_SIZE);
      const frame = spa / PAGE_SIZE;
      // By a TLB the guest itself could see it.
      if ((physical.flags[frame] & FRAME_CACHED) !== 0) store();
      else keys.owe(frame, keyTag, store);
    },
    isDeferred: (spa) => keys.owes(spa / PAGE_SIZE),
    release(keyTag) {
      // All at once: to look for those of one frame after another takes longer.
      physical.flushAll();
      keys.release(keyTag);
    },
    reserve() {
      const frame = pagesLeft > 0 ? physical.reserve() : -1;
      if (frame < 0) {
        throw new VmmError('out-of-memory', 'no page of system memory is left for an extension', {
          remedy: 'have it ask for as many as it needs (systemPages)',
        });
      }
      pagesLeft--;
      return frame * PAGE_SIZE;
    },
  };
}
