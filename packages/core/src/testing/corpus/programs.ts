/**
 * The programs of the corpus, by subject. The sources are in `guest/`, the manual's sections in
 * them; README.md says how to add one.
 */
import type { CorpusProgram } from './program.js';

export const CORPUS: readonly CorpusProgram[] = [
  // Exceptions.
  { name: 'real-exceptions', mode: 'real', about: 'exceptions and the frame in real mode' },
  { name: 'long-exceptions', mode: 'long', about: 'exceptions, error codes, the aligned frame' },

  // Input and output.
  { name: 'ports', mode: 'real', about: 'IN, OUT, INS and OUTS of every size' },
  { name: 'mmio', mode: 'long', about: 'accesses outside memory, of every size and across pages' },
];

/** What finds out whether a backend has what a program needs; `probe-` and the need's name. */
export const PROBES: readonly CorpusProgram[] = [
  { name: 'probe-features', mode: 'long', about: 'CPUID' },
];
