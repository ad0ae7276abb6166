/**
 * The image of a core module: what generating it gives, made by the build, so that a process that
 * starts need not do it. The sources have none, and without a file system it cannot be read: there
 * the module is generated.
 */
import { nodeModule } from '../node-module.js';
import type { AllHandlers, HandlerSet } from './handlers.js';

export interface CoreImage {
  /** Keys of the forms in the order of their handlers' numbers, from `first`, by semicolons. */
  readonly keys: string;
  readonly first: number;
  /** Where the module's bytes are, beside this module; the name has their hash. */
  readonly file: string;
}

/** For code that is translated. In a build `tools/core-image.mjs` puts it here. */
export const coreImage: CoreImage | undefined = undefined;

/** What an image says of the handlers of a module; it knows no sequences. */
export function imageOf({ forms, cases, cold }: AllHandlers): Omit<CoreImage, 'file'> {
  const keys = forms.flatMap((info) => info?.key ?? []);
  if (keys.length !== cases.length + cold.length) throw new Error('an image has no sequences');
  return { keys: keys.join(';'), first: forms.length - keys.length };
}

/** The handlers of an image. */
export function imageHandlers({ keys, first }: Omit<CoreImage, 'file'>): HandlerSet {
  const numbers = new Map(keys.split(';').map((key, index) => [key, first + index]));
  return { cases: [], numbers, forms: [] };
}

interface NodeFiles {
  readFileSync(file: URL): Uint8Array;
}

/** The bytes of an image's module; undefined if they cannot be read. */
export function imageBytes(file: string, scope: object = globalThis): Uint8Array | undefined {
  try {
    return nodeModule<NodeFiles>('node:fs', scope)?.readFileSync(new URL(file, import.meta.url));
  } catch {
    // Bundled again, without the file.
    return undefined;
  }
}
