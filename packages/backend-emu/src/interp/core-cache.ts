/**
 * The core module is the same for every VM of a process: generated, or read from the image that the
 * build made, and compiled once, or twice if code is translated in some of them only.
 */
import '../isa/index.js';
import { systemNumber } from '../system-numbers.js';
import { coreImage, imageBytes, imageHandlers } from './core-image.js';
import { buildCoreModule, type CoreModule } from './core-module.js';
import type { CaseChoice, HandlerSet } from './handlers.js';

export interface CompiledCore {
  readonly module: WebAssembly.Module;
  readonly handlers: HandlerSet;
}

const compiled = new Map<CaseChoice, CompiledCore>();

/** The core module for VMs whose code is translated, or is not. */
export function coreModule(translated: boolean): CompiledCore {
  const choice = translated ? 'early' : 'all';
  let core = compiled.get(choice);
  if (core === undefined) {
    const { bytes, handlers } = (translated && openImage()) || generateCore(choice);
    core = { module: new WebAssembly.Module(bytes as BufferSource), handlers };
    compiled.set(choice, core);
  }
  return core;
}

/** The module that VMs need, made from the instruction descriptions. */
export function generateCore(choice: CaseChoice): CoreModule {
  return buildCoreModule({ minimum: 1, shared: false }, systemNumber, choice);
}

function openImage(): { bytes: Uint8Array; handlers: HandlerSet } | undefined {
  const bytes = coreImage && imageBytes(coreImage.file);
  return coreImage && bytes && { bytes, handlers: imageHandlers(coreImage) };
}
