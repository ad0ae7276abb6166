/** The corpus of guest programs on the emulated processor, through the kit for backends. */
import { backendKit } from '@cloister/core/testing';
import { describe, it } from 'vitest';
import { emulatedBackend } from './index.js';

backendKit(
  { describe, it },
  {
    name: 'emu',
    make: () => emulatedBackend(),
    print: (line) => process.stderr.write(`${line}\n`),
  },
);

// Everything is translated, at its first execution.
backendKit(
  { describe, it },
  {
    name: 'emu, translated',
    make: () => emulatedBackend({ jit: 'stress' }),
    print: (line) => process.stderr.write(`${line}\n`),
  },
);
