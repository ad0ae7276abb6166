/** Kernel command lines: UTF-8 with a terminating zero, checked against the kernel's limit. */
import { VmmError } from '../interfaces/error.js';

/** `text` as bytes with a final zero. `limit` counts bytes without it. */
export function commandLineBytes(text: string, limit: number): Uint8Array {
  const bytes = new TextEncoder().encode(`${text}\0`);
  if (bytes.length - 1 > limit) {
    throw new VmmError(
      'invalid-config',
      `command line has ${bytes.length - 1} bytes; this kernel takes at most ${limit}`,
      { path: 'append' },
    );
  }
  if (bytes.indexOf(0) !== bytes.length - 1) {
    throw new VmmError('invalid-config', 'command line contains a NUL character', {
      path: 'append',
    });
  }
  return bytes;
}
