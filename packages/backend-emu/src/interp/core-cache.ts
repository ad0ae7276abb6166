/**
 * The core module is the same for every VM of a process: generated, or read from the image that the
 * build made, and compiled once, or twice if code is translated in some of them only.
 */
import '../isa/index.js';
import { systemNumber } from '../system-numbers.js';
import { type CoreImage, coreImage, imageBytes, imageHandlers } from './core-image.js';
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
    core = (translated && openImage()) || compileCore(generateCore(choice));
    compiled.set(choice, core);
  }
  return core;
}

/** The module that VMs need, made from the instruction descriptions. */
export function generateCore(choice: CaseChoice): CoreModule {
  return buildCoreModule({ minimum: 1, shared: false }, systemNumber, choice);
}

interface CoreBytes {
  readonly bytes: Uint8Array;
  readonly handlers: HandlerSet;
}

function compileCore({ bytes, handlers }: CoreBytes): CompiledCore {
  return { module: new WebAssembly.Module(bytes as BufferSource), handlers };
}

/** The core of an image; undefined where there is none, or a file that is not whole. */
export function openImage(
  image: CoreImage | undefined = coreImage,
  read: (file: string) => Uint8Array | undefined = imageBytes,
): CompiledCore | undefined {
  const bytes = image && read(image.file);
  if (image === undefined || bytes === undefined) return undefined;
  try {
    return compileCore({ bytes, handlers: imageHandlers(image) });
  } catch (error) {
    if (error instanceof WebAssembly.CompileError) return undefined;
    throw error;
  }
}
