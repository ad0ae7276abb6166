/**
 * Whether code is translated: not at all; what is executed often; everything, at its first
 * execution.
 */
import { VmmError } from '@cloister/core';

export const JIT_MODES = ['off', 'on', 'stress'] as const;
export type JitMode = (typeof JIT_MODES)[number];
export const JIT_DEFAULT: JitMode = 'on';

/** The mode that `text` names. */
export function jitMode(text: string): JitMode {
  const mode = JIT_MODES.find((each) => each === text);
  if (mode !== undefined) return mode;
  throw new VmmError('invalid-config', `there is no translation mode ${JSON.stringify(text)}`, {
    remedy: `use one of ${JIT_MODES.join(', ')}`,
    path: 'jit',
  });
}
