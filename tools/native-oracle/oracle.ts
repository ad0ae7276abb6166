/**
 * Drives `oracle.c`: runs instruction bytes on the host's own processor in batches.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const CODE_BASE = 0x200000;
export const DATA_BASE = 0x300000;
export const DATA_SIZE = 256;
const STATE_SIZE = 664;
const REQUEST_SIZE = 32 + STATE_SIZE;
const REPLY_SIZE = 8 + STATE_SIZE;

/** User-visible state, in the layout of `struct state`. */
export interface UserState {
  readonly gpr: BigUint64Array;
  rflags: bigint;
  rip: bigint;
  /** 16 registers of 16 bytes. */
  readonly xmm: Uint8Array;
  mxcsr: number;
  readonly data: Uint8Array;
}

export interface Outcome {
  /** 0: ran to the end; else the signal. */
  readonly signal: number;
  /** x86 exception vector when there was a signal. */
  readonly vector: number;
  readonly state: UserState;
}

export interface Case {
  readonly code: Uint8Array;
  readonly state: UserState;
}

/** Whether this host can be an oracle; the reason if not. */
export function oracleProblem(): string | null {
  if (process.arch !== 'x64' || process.platform !== 'linux') return 'needs Linux on x86-64';
  return spawnSync('gcc', ['--version']).status === 0 ? null : 'needs gcc';
}

export class NativeOracle {
  readonly #folder = mkdtempSync(join(tmpdir(), 'cloister-oracle-'));
  readonly #program = join(this.#folder, 'oracle');

  constructor() {
    const source = new URL('./oracle.c', import.meta.url).pathname;
    const layout = ['-no-pie', '-Wl,-Ttext-segment=0x10000000'];
    execFileSync('gcc', ['-O1', ...layout, '-o', this.#program, source]);
  }

  run(cases: readonly Case[]): Outcome[] {
    const input = Buffer.alloc(cases.length * REQUEST_SIZE);
    cases.forEach(({ code, state }, index) => {
      const at = index * REQUEST_SIZE;
      input.writeUInt32LE(code.length, at);
      input.set(code, at + 8);
      writeState(input, at + 32, state);
    });
    const maxBuffer = cases.length * REPLY_SIZE + 1024;
    const output = execFileSync(this.#program, { input, maxBuffer });
    return cases.map((_, index) => {
      const at = index * REPLY_SIZE;
      return {
        signal: output.readUInt32LE(at),
        vector: output.readUInt32LE(at + 4),
        state: readState(output, at + 8),
      };
    });
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true });
  }
}

function writeState(buffer: Buffer, at: number, state: UserState): void {
  state.gpr.forEach((value, i) => buffer.writeBigUInt64LE(value, at + i * 8));
  buffer.writeBigUInt64LE(state.rflags, at + 128);
  buffer.writeBigUInt64LE(state.rip, at + 136);
  buffer.set(state.xmm, at + 144);
  buffer.writeUInt32LE(state.mxcsr, at + 400);
  buffer.set(state.data, at + 408);
}

function readState(buffer: Buffer, at: number): UserState {
  const gpr = new BigUint64Array(16).map((_, i) => buffer.readBigUInt64LE(at + i * 8));
  return {
    gpr,
    rflags: buffer.readBigUInt64LE(at + 128),
    rip: buffer.readBigUInt64LE(at + 136),
    xmm: new Uint8Array(buffer.subarray(at + 144, at + 400)),
    mxcsr: buffer.readUInt32LE(at + 400),
    data: new Uint8Array(buffer.subarray(at + 408, at + STATE_SIZE)),
  };
}
