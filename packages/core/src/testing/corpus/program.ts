/**
 * What a program of the corpus is: what it needs, and what a conforming processor makes of it.
 */

/** How the host enters the program; see `entry.ts`. */
export type CorpusMode = 'real' | 'protected' | 'long';

/**
 * What a program needs besides the base (integer instructions in its mode). A word with `cpuid:` is
 * a feature bit that the guest's CPUID must state; any other names the program in the corpus that
 * probes for it: the need is there if that program runs to its end.
 */
export type CorpusNeed = `cpuid:${string}` | (string & {});

export interface CorpusProgram {
  readonly name: string;
  readonly mode: CorpusMode;
  /** What it shows, in a few words. */
  readonly about: string;
  readonly needs?: readonly CorpusNeed[];
  /** CPUs; 1 unless given. CPU 0 starts, the others wait for SIPI. */
  readonly cpus?: number;
  /** Bytes of RAM; 2 MiB unless given. */
  readonly memory?: number;
  /** Whether it needs the PC platform's devices; its port exits are then not compared. */
  readonly pc?: boolean;
  /** How it ends; by a write of 0 to the debug-exit port unless given. */
  readonly end?: 'debug-exit' | 'triple-fault';
  /** What it prints to the first serial port, where it has one. */
  readonly console?: string;
  /** Instructions that suffice, for a backend that counts them; 1 million unless given. */
  readonly limit?: number;
}

/** What the tool makes of a program's source. */
export interface CorpusImage {
  /** Base64. */
  readonly image: string;
  /** What is recorded in each result slot, and the value. */
  readonly checks: readonly (readonly [what: string, value: string])[];
  /** Canonical lines of its exits, in the order of the source. */
  readonly exits: readonly string[];
  /** Registers of CPU 0 at the end, by the names of `VcpuState`. */
  readonly final: readonly (readonly [register: string, value: string])[];
}
