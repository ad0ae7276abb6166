/**
 * The core module is the same for every VM of a process: generated and compiled once, or twice if
 * code is translated in some of them only.
 */
import '../isa/index.js';
import { systemNumber } from '../system-numbers.js';
import { buildCoreModule } from './core-module.js';
import type { CaseChoice, HandlerSet } from './handlers.js';

export interface CompiledCore {
  readonly module: WebAssembly.Module;
  readonly handlers: HandlerSet;
}

const compiled = new Map<CaseChoice, CompiledCore>();

/** The core module for VMs whose code is translated, or is not. */
export function coreModule(translated: boolean): CompiledCore {
  const cases = translated ? 'early' : 'all';
  let core = compiled.get(cases);
  if (core === undefined) {
    const { bytes, handlers } = buildCoreModule({ minimum: 1, shared: false }, systemNumber, cases);
    core = { module: new WebAssembly.Module(bytes as BufferSource), handlers };
    compiled.set(cases, core);
  }
  return core;
}
