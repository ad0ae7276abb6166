/**
 * Frozen copies of exits, for those who only look. A typed array can't be frozen: it is copied, so
 * that writing to it hurts nobody but its owner.
 */
import type { VmExit } from '../interfaces/index.js';

/** A copy of `exit` that no later exit changes. */
export function copyExit(exit: VmExit): VmExit {
  switch (exit.kind) {
    case 'io':
    case 'mmio':
      return Object.freeze({ ...exit, data: exit.data.slice() });
    case 'hypercall':
      return Object.freeze({ ...exit, args: exit.args.slice() });
    case 'system-event':
      return Object.freeze({ ...exit, data: Object.freeze([...exit.data]) });
    case 'error':
      return Object.freeze({ ...exit, bytes: exit.bytes.slice() });
    default:
      return Object.freeze({ ...exit });
  }
}
