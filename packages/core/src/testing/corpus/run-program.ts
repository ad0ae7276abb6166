/**
 * Runs one program of the corpus on a backend and compares what it did with what it should have
 * done: results, exits, final registers, how it ended.
 */
import { createVm } from '../../assembly/create-vm.js';
import { debugExit } from '../../devices/debug-exit.js';
import { pc } from '../../devices/pc.js';
import { serial } from '../../devices/serial.js';
import type { CpuBackend, InstructionAssist, VcpuState, VmEnd } from '../../interfaces/index.js';
import type { Vm, VmOptions } from '../../machine/vm.js';
import { canonicalize } from '../canonical.js';
import { collectExits } from '../trace.js';
import { corpusEntry } from './entry.js';
import { FEATURES_AT, FEATURES_SIZE } from './features.js';
import { corpusHost } from './host.js';
import type { CorpusImage, CorpusProgram } from './program.js';

const MIB = 2 ** 20;
const DEFAULT_LIMIT = 1_000_000;
/** As layout.s has them. */
const EXCEPTION = 0x600;
const RESULTS = 0x4000;
const SLOT = 16;
const SUCCESS = 1;
/** What a guest brings about, and nobody else. */
const ENDS: ReadonlySet<string> = new Set(['debug-exit', 'triple-fault']);

export interface ProgramOptions {
  /** `icount` for a backend that counts instructions, `wall` for one that cannot; else `auto`. */
  readonly clock?: VmOptions['clock'];
  /** Makes what helps the backend with instructions that it cannot execute; for each program. */
  readonly assist?: () => InstructionAssist;
  /** Host milliseconds for one program; default 20000. */
  readonly deadlineMs?: number;
}

export interface ProgramOutcome {
  readonly end: VmEnd;
  /** Whether it came to an end of its own, right or wrong: by the debug-exit port or a shutdown. */
  readonly ran: boolean;
  /** `error` where the backend said that it could not go on; see `VmExit`. */
  readonly errors: readonly string[];
  /** Canonical, of all CPUs. */
  readonly trace: readonly string[];
  /** Vector of the last exception that a handler of the includes noted. */
  readonly exception: number;
  /** The bytes at `FEATURES_AT`. */
  readonly memory: Uint8Array;
  /** What differs from what was expected, in words; empty for a processor that conforms. */
  readonly differences: readonly string[];
  /** Results that it should have recorded, and how many of them are right. */
  readonly results: { readonly right: number; readonly all: number };
}

export function decodeImage(image: CorpusImage): Uint8Array {
  return Uint8Array.from(atob(image.image), (character) => character.charCodeAt(0));
}

/** Runs `program`; rejects only where the backend's host API does. */
export async function runProgram(
  backend: CpuBackend,
  program: CorpusProgram,
  image: CorpusImage,
  options: ProgramOptions = {},
): Promise<ProgramOutcome> {
  const vm = await createVm({
    memory: program.memory ?? 2 * MIB,
    cpus: program.cpus ?? 1,
    seed: 1,
    clock: options.clock ?? 'auto',
  })
    .use(
      corpusHost(backend, corpusEntry(decodeImage(image), program.mode), options.assist?.()),
      debugExit(),
      program.pc === true && [pc(), serial()],
    )
    .build();
  try {
    const { exits } = collectExits(vm.events);
    let text = '';
    vm.events.console.subscribe(({ bytes }) => {
      text += String.fromCharCode(...bytes);
    });
    const end = await runToEnd(vm, program.limit ?? DEFAULT_LIMIT, options.deadlineMs ?? 20_000);
    const trace = canonicalize(exits);
    const wrong = compareResults(vm, image);
    const differences = [
      ...compareEnd(vm, program, end),
      ...wrong,
      ...(program.pc === true ? [] : compareExits(program, image, trace)),
      ...compareFinal(vm, image),
      ...compareConsole(program, text),
    ];
    const errors = exits.flatMap((exit) =>
      exit.kind === 'error' ? [`${exit.code}: ${exit.message}`] : [],
    );
    const memory = new Uint8Array(FEATURES_SIZE);
    vm.memory.read(FEATURES_AT, memory);
    const exception = Number(read64(vm, EXCEPTION) & 0xffffffffn);
    const ran = errors.length === 0 && ENDS.has(end.reason);
    const all = image.checks.length;
    const results = { right: all - wrong.length, all };
    return { end, ran, errors, trace, exception, memory, differences, results };
  } finally {
    await vm.dispose();
  }
}

async function runToEnd(vm: Vm, limit: number, deadlineMs: number): Promise<VmEnd> {
  const timer = setTimeout(() => void vm.stop('timeout'), deadlineMs);
  try {
    await vm.start();
    // Where instructions are not counted, the deadline alone bounds a program.
    if (vm.clock.mode === 'wall') return await vm.run();
    await vm.pause({ at: limit });
    return await vm.stop();
  } finally {
    clearTimeout(timer);
  }
}

function read64(vm: Vm, gpa: number): bigint {
  const bytes = new Uint8Array(8);
  vm.memory.read(gpa, bytes);
  return new DataView(bytes.buffer).getBigUint64(0, true);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function compareEnd(vm: Vm, program: CorpusProgram, end: VmEnd): string[] {
  const wanted = program.end ?? 'debug-exit';
  if (end.reason === wanted && (wanted !== 'debug-exit' || end.status === SUCCESS)) return [];
  const [vector, error, ip] = [0, 8, 16].map((offset) => hex(read64(vm, EXCEPTION + offset)));
  const last = `the last exception was ${vector}, error code ${error}, at ${ip}`;
  return [`ended by ${end.reason} (${end.message}, status ${end.status}); ${last}`];
}

function compareResults(vm: Vm, { checks }: CorpusImage): string[] {
  return checks.flatMap(([what, value], index) => {
    const at = RESULTS + index * SLOT;
    if (read64(vm, at + 8) === 0n) return [`${what}: not reached`];
    const found = read64(vm, at);
    const wanted = BigInt(value);
    return found === wanted ? [] : [`${what}: ${hex(found)} instead of ${hex(wanted)}`];
  });
}

function compareExits(program: CorpusProgram, image: CorpusImage, trace: readonly string[]) {
  const ending = program.end === 'triple-fault' ? ['cpu0 shutdown'] : [];
  // The source may mix the lines of CPUs; a trace has one CPU after the other.
  const wanted = [...image.exits, ...ending].sort((a, b) => cpuOf(a) - cpuOf(b));
  const length = Math.max(wanted.length, trace.length);
  for (let i = 0; i < length; i++) {
    if (wanted[i] === trace[i]) continue;
    return [`exit ${i}: ${trace[i] ?? 'none'} instead of ${wanted[i] ?? 'none'}`];
  }
  return [];
}

function cpuOf(line: string): number {
  return Number(/^cpu(\d+) /.exec(line)?.[1]);
}

function compareFinal(vm: Vm, { final }: CorpusImage): string[] {
  if (final.length === 0) return [];
  const state = vm.vcpus[0]!.readState();
  return final.flatMap(([register, value]) => {
    const found = registerOf(state, register);
    return found === BigInt(value) ? [] : [`final ${register}: ${hex(found)} instead of ${value}`];
  });
}

/** A register by its name in `VcpuState`, members of segments and tables as `cs.base`. */
function registerOf(state: VcpuState, name: string): bigint {
  const record: unknown = { ...state, ...state.gpr };
  const value = name.split('.').reduce<unknown>((at, part) => {
    return typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[part] : null;
  }, record);
  if (typeof value === 'bigint' || typeof value === 'number') return BigInt(value);
  throw new Error(`no register ${name}`);
}

function compareConsole(program: CorpusProgram, text: string): string[] {
  if (program.console === undefined || text === program.console) return [];
  return [`printed ${JSON.stringify(text)} instead of ${JSON.stringify(program.console)}`];
}
