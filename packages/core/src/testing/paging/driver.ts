/**
 * Feeds the paging programs of the corpus with cases on any backend, and compares what the guest
 * saw with the reference walk.
 */
import { createVm } from '../../assembly/create-vm.js';
import { definePlugin } from '../../assembly/define-plugin.js';
import { debugExit } from '../../devices/debug-exit.js';
import type { BootSource, CpuBackend, LaunchPlan, VmPlugin } from '../../interfaces/index.js';
import type { Vm, VmOptions } from '../../machine/vm.js';
import { corpusEntry } from '../corpus/entry.js';
import { CORPUS_IMAGES } from '../corpus/images.js';
import { decodeImage } from '../corpus/run-program.js';
import { A, KINDS, type PagingCase } from './cases.js';
import { type PagingProcessor, type PagingResult, referenceWalk } from './reference.js';
import {
  entrySize,
  FRAME,
  isLong,
  PAGE_SIZE,
  type PagingStructure,
  tableAt,
  testAddress,
} from './structures.js';

const MIB = 2 ** 20;
/** As paging.s and layout.s have them. */
const HEADER = 0x20000;
const CASES = HEADER + 0x1000;
const CASE_SIZE = 128;
const BATCH = 3800;
const LEVELS = 5;
const PORT = 0xe0;
const EXCEPTION = 0x600;
const GDT = 0x2000;
const LDT_SELECTOR = 0x78;
const USER_PAGE = 0xa000;
/** The program's own tables: five levels, four, PAE, legacy; and a place for unused entries. */
const CONTROL = {
  long5: 0x124000,
  long4: 0x120000,
  pae: 0x125000,
  legacy: 0x126000,
  scratch: 0x12f000,
} as const;
/** UD2 that is a present, accessed data segment of DPL 3, too. */
const PAGE_CONTENT = Uint8Array.of(0x0f, 0x0b, 0, 0, 0, 0xf3, 0, 0);
const CR0_PG = 0x80000000;
const CR4 = { pse: 0x10, pae: 0x20, la57: 0x1000, smep: 1 << 20, smap: 1 << 21, pke: 1 << 22 };
const EFER = { lme: 0x100, lma: 0x400, nxe: 0x800 };
const NONE = 0xffffffff;
const PAGE_FAULT = 14;

export interface PagingRun {
  readonly clock?: VmOptions['clock'];
  readonly processor: PagingProcessor;
  /** Entries may be marked accessed by an access that faults, as the manual allows. */
  readonly accessedByFaults?: boolean;
}

export interface PagingReport {
  readonly cases: number;
  readonly faults: number;
  /** In words, the first 20. */
  readonly differences: readonly string[];
}

/** The tables that map the program to itself, with one page open to user mode. */
function controlTables(): Uint8Array {
  const bytes = new Uint8Array(8 * PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  const base = CONTROL.long4;
  const put = (gpa: number, value: number) => view.setUint32(gpa - base, value, true);
  // Present, writable, accessed, dirty.
  const table = 0x67;
  put(CONTROL.long5, CONTROL.long4 | table);
  put(CONTROL.long4, 0x121000 | table);
  put(0x121000, 0x122000 | table);
  put(0x122000, 0x123000 | table);
  put(CONTROL.pae, 0x122000 | 1);
  put(CONTROL.legacy, 0x127000 | table);
  for (let page = 0; page < 512; page++) {
    const gpa = page * PAGE_SIZE;
    const entry = gpa | (gpa === USER_PAGE ? 0x65 : 0x63);
    put(0x123000 + page * 8, entry);
    put(0x127000 + page * 4, entry);
  }
  return bytes;
}

/** The LDT's descriptor: eight bytes at the address under test. */
function ldtDescriptor(structure: PagingStructure): Uint8Array {
  const base = testAddress(structure);
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 7, true);
  view.setUint32(2, Number(base & 0xffffffn), true);
  view.setUint16(5, 0x82, true);
  view.setUint8(4, Number((base >> 16n) & 0xffn));
  view.setUint8(7, Number((base >> 24n) & 0xffn));
  view.setUint32(8, Number(base >> 32n), true);
  return bytes;
}

function header(structure: PagingStructure): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  const root = CONTROL[structure.mode];
  const size = entrySize(structure);
  view.setUint32(8, root, true);
  for (let level = 0; level < LEVELS; level++) {
    const index = structure.indices[level];
    const table = level === 0 ? root : tableAt(level);
    const place = index === undefined ? CONTROL.scratch : table + index * size;
    view.setUint32(16 + level * 8, place, true);
  }
  view.setUint32(56, size === 8 ? 1 : 0, true);
  return bytes;
}

/** The corpus' entry, on the program's own tables; long mode begins with as many levels. */
function bootSource(structure: PagingStructure): BootSource {
  const long = isLong(structure);
  const name = long ? 'paging-long' : 'paging-legacy';
  const entry = corpusEntry(decodeImage(CORPUS_IMAGES[name]!), long ? 'long' : 'protected');
  return {
    name: 'paging',
    plan(machine): LaunchPlan {
      const plan = entry.plan(machine);
      const region = (name: string, gpa: number, bytes: Uint8Array) =>
        ({ name, gpa, bytes, type: 'normal' }) as const;
      const state = plan.vcpus.get(0)!;
      if (long) state.cr3 = BigInt(CONTROL[structure.mode]);
      if (structure.mode === 'long5') state.cr4 |= BigInt(CR4.la57);
      return {
        ...plan,
        regions: [
          ...plan.regions,
          region('tables', CONTROL.long4, controlTables()),
          region('ldt', GDT + LDT_SELECTOR, ldtDescriptor(structure)),
          region('page', FRAME, PAGE_CONTENT),
          region('header', HEADER, header(structure)),
        ],
        vcpus: new Map([[0, state]]),
      };
    },
  };
}

function controlBits(structure: PagingStructure, c: PagingCase): { cr0: number; cr4: number } {
  const mode = { legacy: CR4.pse, pae: CR4.pae, long4: CR4.pae, long5: CR4.pae | CR4.la57 };
  return {
    cr0: (CR0_PG | 0x11 | (c.writeProtect ? 0x10000 : 0)) >>> 0,
    cr4:
      mode[structure.mode] |
      (c.smep ? CR4.smep : 0) |
      (c.smap ? CR4.smap : 0) |
      (c.pkru === undefined ? 0 : CR4.pke),
  };
}

function writeCase(view: DataView, at: number, structure: PagingStructure, c: PagingCase): void {
  for (let level = 0; level < LEVELS; level++) {
    view.setBigUint64(at + level * 8, c.entries[level] ?? 0n, true);
  }
  const { cr0, cr4 } = controlBits(structure, c);
  const long = isLong(structure) ? EFER.lme | EFER.lma : 0;
  view.setBigUint64(at + 40, testAddress(structure), true);
  view.setBigUint64(at + 48, BigInt(cr0), true);
  view.setBigUint64(at + 56, BigInt(cr4), true);
  view.setUint32(at + 64, long | (c.noExecute ? EFER.nxe : 0), true);
  view.setUint32(at + 68, c.pkru ?? 0, true);
  view.setUint32(at + 72, KINDS.indexOf(c.kind), true);
  view.setUint32(at + 76, c.user ? 1 : 0, true);
  view.setBigUint64(at + 80, c.ac ? 0x40002n : 2n, true);
  view.setUint32(at + 88, NONE - 1, true);
}

/** What differs in the record at `at` from what was expected, or null. */
function compare(
  view: DataView,
  at: number,
  structure: PagingStructure,
  expected: PagingResult,
  { accessedByFaults = false }: PagingRun,
): string | null {
  const vector = view.getUint32(at + 88, true);
  const error = view.getUint32(at + 92, true);
  const cr2 = view.getBigUint64(at + 96, true);
  const entries = expected.entries.map((_, level) => view.getBigUint64(at + level * 8, true));
  const hex = (value: bigint | number) => value.toString(16);
  const saw = vector === NONE ? 'no fault' : `vector ${vector}, error ${hex(error)}`;
  const wanted = expected.error === null ? 'no fault' : `error ${hex(expected.error)}`;
  const same =
    expected.error === null ? vector === NONE : vector === PAGE_FAULT && error === expected.error;
  if (!same) return `${saw} instead of ${wanted}`;
  const address = expected.error === null ? 0n : testAddress(structure);
  if (cr2 !== address) return `CR2 ${hex(cr2)} instead of ${hex(address)} (${wanted})`;
  const free = accessedByFaults && expected.error !== null ? A : 0n;
  const off = entries.findIndex((entry, level) => (entry ^ expected.entries[level]!) & ~free);
  if (off < 0) return null;
  return `entry ${off} is ${hex(entries[off]!)} instead of ${hex(expected.entries[off]!)}`;
}

function describeCase(c: PagingCase): string {
  return JSON.stringify(c, (_, value: unknown) =>
    typeof value === 'bigint' ? value.toString(16) : value,
  );
}

/** One structure's cases, a batch at a time. */
class Batches {
  cases = 0;
  faults = 0;
  readonly differences: string[] = [];
  private batch: PagingCase[] = [];

  constructor(
    private readonly structure: PagingStructure,
    private readonly source: Iterator<PagingCase>,
    private readonly run: PagingRun,
  ) {}

  /** Takes the results of the batch in memory, and puts the next one there. */
  turn(vm: Vm): void {
    const bytes = new Uint8Array(BATCH * CASE_SIZE);
    const view = new DataView(bytes.buffer);
    if (this.batch.length > 0) vm.memory.read(CASES, bytes);
    for (const [index, c] of this.batch.entries()) this.judge(view, index * CASE_SIZE, c);
    this.batch = [];
    while (this.batch.length < BATCH) {
      const { value, done } = this.source.next();
      if (done === true) break;
      writeCase(view, this.batch.length * CASE_SIZE, this.structure, value);
      this.batch.push(value);
    }
    vm.memory.write(CASES, bytes);
    const count = new Uint8Array(8);
    new DataView(count.buffer).setUint32(0, this.batch.length, true);
    vm.memory.write(HEADER, count);
  }

  private judge(view: DataView, at: number, c: PagingCase): void {
    const expected = referenceWalk(this.structure, this.run.processor, c);
    this.cases++;
    if (expected.error !== null) this.faults++;
    const difference = compare(view, at, this.structure, expected, this.run);
    if (difference === null || this.differences.length >= 20) return;
    this.differences.push(`${this.structure.name}: ${difference} in ${describeCase(c)}`);
  }
}

function host(backend: CpuBackend, structure: PagingStructure, turn: () => void): VmPlugin {
  return definePlugin({
    name: 'paging-host',
    version: '1.0.0',
    api: 1,
    provides: ['cpu'],
    setup(context) {
      context.setBackend(backend);
      context.setBootSource(bootSource(structure));
      context.addExitHandler({
        name: 'end of a batch',
        filter: { kind: 'io', ports: { base: PORT, length: 1 } },
        handle() {
          turn();
          return 'handled';
        },
      });
    },
  });
}

/** Runs `cases` of `structure`; rejects where the program did not come to its end. */
export async function runPaging(
  backend: CpuBackend,
  structure: PagingStructure,
  cases: Iterable<PagingCase>,
  options: PagingRun,
): Promise<PagingReport> {
  const batches = new Batches(structure, cases[Symbol.iterator](), options);
  let vm: Vm | null = null;
  const turn = () => batches.turn(vm!);
  vm = await createVm({ memory: 2 * MIB, seed: 1, clock: options.clock ?? 'auto' })
    .use(host(backend, structure, turn), debugExit())
    .build();
  try {
    const end = await vm.run();
    if (end.reason !== 'debug-exit' || end.status !== 1) {
      const cells = new Uint8Array(24);
      vm.memory.read(EXCEPTION, cells);
      const [vector, , error, , ip] = new Uint32Array(cells.buffer);
      const last = `the last exception was ${vector}, error ${error}, at 0x${ip!.toString(16)}`;
      throw new Error(`${structure.name}: ended by ${end.reason} (${end.message}); ${last}`);
    }
    const { cases: count, faults, differences } = batches;
    return { cases: count, faults, differences };
  } finally {
    await vm.dispose();
  }
}
