/**
 * Drives `tracer.c`: runs small programs on the host's own processor under debug registers and
 * RFLAGS.TF.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CODE_SIZE = 64;
const PROGRAM_SIZE = 14 * 8 + 8 + CODE_SIZE;
const STOP_SIZE = 24;
const STOPS = 48;
const REPORT_SIZE = 8 + STOPS * STOP_SIZE;

/** A program of 64-bit user code, and what it begins with. */
export interface TracedProgram {
  readonly code: Uint8Array;
  /** Linear addresses of DR0 to DR3. */
  readonly breakpoints: readonly number[];
  readonly dr7: number;
  /** RAX to RDI, in order of encoding. */
  readonly gpr: readonly number[];
  readonly rflags: number;
  /** What every four bytes of the data pages hold. */
  readonly data: number;
}

/** A debug exception: where, its causes in DR6, and RFLAGS as it saved them. */
export interface Trap {
  readonly rip: number;
  readonly causes: number;
  readonly rflags: number;
}

/** Causes in DR6. */
const CAUSES = 0xe00f;

export class NativeTracer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'cloister-tracer-'));
  readonly #program = join(this.#folder, 'tracer');

  constructor() {
    const source = new URL('./tracer.c', import.meta.url).pathname;
    execFileSync('gcc', ['-O1', '-Wall', '-o', this.#program, source]);
  }

  /** The traps of each program; null where the host refuses its breakpoints. */
  run(programs: readonly TracedProgram[]): (readonly Trap[] | null)[] {
    const input = Buffer.alloc(programs.length * PROGRAM_SIZE);
    programs.forEach((program, index) => {
      const numbers = [...program.breakpoints, program.dr7, ...program.gpr, program.rflags];
      const at = index * PROGRAM_SIZE;
      numbers.forEach((value, i) => {
        input.writeBigUInt64LE(BigInt(value), at + i * 8);
      });
      input.writeUInt32LE(program.code.length, at + 14 * 8);
      input.writeUInt32LE(program.data, at + 14 * 8 + 4);
      input.set(program.code, at + 14 * 8 + 8);
    });
    const { status, stdout } = spawnSync(this.#program, {
      input,
      maxBuffer: programs.length * REPORT_SIZE + 1024,
    });
    if (status !== 0 || stdout.length !== programs.length * REPORT_SIZE) {
      throw new Error(`the tracer ended with status ${status}`);
    }
    return programs.map((_, index) => readReport(stdout, index * REPORT_SIZE));
  }

  dispose(): void {
    rmSync(this.#folder, { recursive: true });
  }
}

function readReport(bytes: Buffer, at: number): readonly Trap[] | null {
  if (bytes.readUInt32LE(at) !== 0) return null;
  return Array.from({ length: bytes.readUInt32LE(at + 4) }, (_, index) => {
    const stop = at + 8 + index * STOP_SIZE;
    return {
      rip: Number(bytes.readBigUInt64LE(stop)),
      causes: bytes.readUInt32LE(stop + 8) & CAUSES,
      rflags: bytes.readUInt32LE(stop + 12),
    };
  });
}
