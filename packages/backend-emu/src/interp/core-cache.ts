/**
 * The core module is the same for every VM of a process: generated and compiled once.
 */
import '../isa/index.js';
import { systemNumber } from '../system-numbers.js';
import { buildCoreModule } from './core-module.js';
import type { HandlerSet } from './handlers.js';

export interface CompiledCore {
  readonly module: WebAssembly.Module;
  readonly handlers: HandlerSet;
}

let compiled: CompiledCore | undefined;

export function coreModule(): CompiledCore {
  if (compiled === undefined) {
    const { bytes, handlers } = buildCoreModule({ minimum: 1, shared: false }, systemNumber);
    compiled = { module: new WebAssembly.Module(bytes as BufferSource), handlers };
  }
  return compiled;
}
