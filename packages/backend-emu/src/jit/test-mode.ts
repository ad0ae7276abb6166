/** How tests of the processor execute code: as the environment variable CLOISTER_JIT says. */
import { JIT_DEFAULT, type JitMode, jitMode } from './mode.js';

const host = globalThis as { process?: { env: Record<string, string | undefined> } };

export const TEST_JIT: JitMode = jitMode(host.process?.env.CLOISTER_JIT ?? JIT_DEFAULT);
