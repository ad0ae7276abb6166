/**
 * Drives `oracle.c`: runs single instructions on the host's own processor, in batches.
 *
 * States are bytes in the layout of `struct state`; who makes them knows it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const STATE_SIZE = 1680;
const CODE_SIZE = 32;
/** Where the code begins: behind length, mode and three segments. */
const CODE_AT = 32;
const REQUEST_SIZE = CODE_AT + CODE_SIZE + STATE_SIZE;
const STATE_AT = 32;
const REPLY_SIZE = STATE_AT + STATE_SIZE;

/** Limit and kind of a segment of 16-bit code; see `EXPAND_DOWN` and the like in `oracle.c`. */
export interface OracleSegment {
  readonly limit: number;
  readonly kind: number;
}

export const KIND = { expandDown: 1, readOnly: 2, big: 4 } as const;

export interface OracleCase {
  readonly code: Uint8Array;
  /** Mode of the code segment. */
  readonly bits: 16 | 32 | 64;
  /** Code, stack, and data (DS, ES) of 16-bit code. */
  readonly segments: readonly OracleSegment[];
  readonly state: Uint8Array;
}

export interface OracleAnswer {
  /** The exception that ended the case: 3 where the instruction completed. */
  readonly vector: number;
  readonly error: number;
  /** What CR2 held: the linear address of a page fault. */
  readonly address: bigint;
  /** Of the segment registers, in order of encoding. */
  readonly selectors: readonly number[];
  readonly state: Uint8Array;
}

/** Why this host cannot be an oracle; null if it can. */
export function oracleProblem(): string | null {
  if (process.arch !== 'x64' || process.platform !== 'linux') return 'needs Linux on x86-64';
  return spawnSync('gcc', ['--version']).status === 0 ? null : 'needs gcc';
}

export class NativeOracle {
  readonly #folder = mkdtempSync(join(tmpdir(), 'cloister-oracle-'));
  readonly #program = join(this.#folder, 'oracle');

  constructor() {
    const source = new URL('./oracle.c', import.meta.url).pathname;
    // Program and heap then lie above 4 GiB: no address of 16- and 32-bit code meets them.
    const layout = ['-fPIE', '-pie'];
    execFileSync('gcc', ['-O1', '-Wall', ...layout, '-o', this.#program, source]);
  }

  run(cases: readonly OracleCase[]): OracleAnswer[] {
    const input = Buffer.alloc(cases.length * REQUEST_SIZE);
    cases.forEach(({ code, bits, segments, state }, index) => {
      const at = index * REQUEST_SIZE;
      input.writeUInt32LE(code.length, at);
      input.writeUInt32LE(bits, at + 4);
      segments.forEach(({ limit, kind }, i) => {
        input.writeUInt32LE(limit, at + 8 + i * 8);
        input.writeUInt32LE(kind, at + 12 + i * 8);
      });
      input.set(code, at + CODE_AT);
      input.set(state, at + CODE_AT + CODE_SIZE);
    });
    const maxBuffer = cases.length * REPLY_SIZE + 1024;
    const result = spawnSync(this.#program, { input, maxBuffer });
    const output = result.stdout;
    if (result.status !== 0 || output.length !== cases.length * REPLY_SIZE) {
      const end = result.signal ?? `status ${result.status}`;
      const answered = Math.floor(output.length / REPLY_SIZE);
      throw new Error(`the oracle ended with ${end} after ${answered} of ${cases.length} cases`);
    }
    return cases.map((_, index) => {
      const at = index * REPLY_SIZE;
      return {
        vector: output.readUInt32LE(at),
        error: output.readUInt32LE(at + 4),
        address: output.readBigUInt64LE(at + 8),
        selectors: [0, 1, 2, 3, 4, 5].map((i) => output.readUInt16LE(at + 16 + i * 2)),
        state: new Uint8Array(output.subarray(at + STATE_AT, at + REPLY_SIZE)),
      };
    });
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true });
  }
}
