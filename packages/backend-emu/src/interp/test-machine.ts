/**
 * A bare vCPU for tests of the interpreter: long mode, identity page tables, no devices.
 */
import * as L from '../cpu/layout.js';
import { modeKey } from '../cpu/mode.js';
import { CpuRecord } from '../cpu/record.js';
import { Decoder } from '../decode/decoder.js';
import { fpuFunctions } from '../fpu/functions.js';
import '../isa/index.js';
import type { JitMode } from '../jit/mode.js';
import { TEST_JIT } from '../jit/test-mode.js';
import { Translator } from '../jit/translator.js';
import { MemoryAccess } from '../mmu/access.js';
import { reachIn } from '../mmu/fast-walk.js';
import { frameTableBytes } from '../mmu/frame-tables.js';
import { Mmu } from '../mmu/mmu.js';
import { PhysicalMemory } from '../mmu/physical.js';
import { FAULT } from '../system/outcome.js';
import { buildCoreModule, type CoreModule } from './core-module.js';
import { type HandlerSet, handlerOfCase } from './handlers.js';
import { Interpreter } from './interpreter.js';
import { OpCache } from './op-cache.js';

const MIB = 1 << 20;
const CPU_BASE = 0x1000;
const OPS = 0x200000;
const RAM = 0x800000;
const RAM_SIZE = 4 * MIB;
const TABLES = 0x3f0000;
const LOW_PAGES = 4096;

export interface TestMachine {
  readonly record: CpuRecord;
  readonly physical: PhysicalMemory;
  readonly interpreter: Interpreter;
  readonly opCache: OpCache;
  readonly mmu: Mmu;
  /** Undefined when code is not translated. */
  readonly translator: Translator | undefined;
  /** Numbers of the system functions that were called. */
  readonly systemCalls: string[];
  /** Puts code at guest address `at` and RIP on it. */
  load(at: number, code: readonly number[]): void;
}

/** The core module is the same for every machine. */
interface Core {
  readonly names: readonly string[];
  readonly core: CoreModule;
  readonly module: WebAssembly.Module;
}
let coreOfAll: Core | null = null;

function coreOnce(): Core {
  if (coreOfAll === null) {
    const names: string[] = [];
    const core = buildCoreModule({ minimum: 1, shared: false }, (name) => names.push(name) - 1);
    coreOfAll = { names, core, module: new WebAssembly.Module(core.bytes as BufferSource) };
  }
  return coreOfAll;
}

/**
 * A vCPU at CPL 0 in 64-bit mode; every system function but those of the FPU is a #UD. One that is
 * not `fused` executes every instruction by its own handler.
 */
export function testMachine(
  ramBase = RAM,
  fused = true,
  jit: JitMode = TEST_JIT,
  limits: { readonly regions?: number; readonly hot?: number } = {},
): TestMachine {
  const tables = ramBase + RAM_SIZE;
  const bytes = tables + frameTableBytes(LOW_PAGES, RAM_SIZE / 4096);
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
  const record = new CpuRecord(memory.buffer, CPU_BASE);
  const physical = new PhysicalMemory({
    ...{ buffer: memory.buffer, ramBase, size: RAM_SIZE, tables, lowPages: LOW_PAGES },
  });
  physical.addSlot({
    id: 0, gpa: 0, size: RAM_SIZE, readOnly: false, name: 'ram', encryptable: false,
  }); // biome-ignore format: a plain record
  writeTables(physical);
  record.setPair(L.CR0, 0x80000011 | 0, 0);
  record.setPair(L.CR3, TABLES, 0);
  record.setPair(L.CR4, 0x620, 0);
  record.setPair(L.EFER, 0xd01, 0);
  record.setU16(L.segmentOffset(L.SEG.cs) + L.SEG_ATTRIBUTES, 0x29b | 0x800);
  record.setI32(L.EFLAGS, 2);
  record.setI32(L.FAULT_VECTOR, -1);
  record.setI32(L.TLB, L.TLB_SUPERVISOR);
  record.setI32(L.JUMP_CACHE, L.JUMP_SUPERVISOR);
  record.setI32(L.MODE, modeKey(record.view));
  const mmu = new Mmu(record, physical, {
    physicalBits: 46,
    gigabytePages: true,
    pse36: true,
    linearBits: 48,
  });
  const access = new MemoryAccess(record, mmu, { read: () => {}, write: () => {} });
  const systemCalls: string[] = [];
  const { names, core, module } = coreOnce();
  const { handlers } = core;
  const translator =
    jit === 'off'
      ? undefined
      : new Translator({
          ...{ mode: jit, memory, handlers, now: () => 0 },
          ...limits,
        });
  const withTranslator = translator === undefined ? {} : { translator, sampler: translator };
  const opCache = new OpCache({
    ...withTranslator,
    physical,
    handlers: fused ? core.handlers : unfused(core.handlers),
    decoder: new Decoder(),
    base: OPS,
    size: RAM - OPS,
    onReset: () => mmu.tlb.flushAll(),
  });
  const callSystem = (number: number): number => {
    systemCalls.push(names[number]);
    const ofFpu = fpuFunctions[names[number]];
    if (ofFpu !== undefined) return ofFpu(record.view);
    record.setI32(L.FAULT_VECTOR, 6);
    record.setI32(L.FAULT_ERROR, -1);
    return FAULT;
  };
  const reach = reachIn(memory);
  const options = { memory, module, record, mmu, access, opCache, callSystem, reach };
  const interpreter = new Interpreter({ ...options, ...withTranslator });
  translator?.connect(opCache, [interpreter]);
  const load = (at: number, code: readonly number[]): void => {
    physical.bytes.set(code, at);
    physical.written(at, code.length);
    record.setPair(L.RIP, at, 0);
  };
  return { record, physical, interpreter, opCache, mmu, translator, systemCalls, load };
}

/** The same handlers without what there would be to choose. */
function unfused(handlers: HandlerSet): HandlerSet {
  const { cases } = handlers;
  return { ...handlers, cases: cases.map(([{ plain }]) => cases[plain - handlerOfCase(0)]) };
}

/** Four levels, two-megabyte pages, the first gigabyte onto itself. */
function writeTables(physical: PhysicalMemory): void {
  const view = physical.view;
  const at = (offset: number): number => physical.ramBase + TABLES + offset;
  view.setUint32(at(0), (TABLES + 0x1000) | 7, true);
  view.setUint32(at(0x1000), (TABLES + 0x2000) | 7, true);
  for (let i = 0; i < 512; i++) view.setUint32(at(0x2000 + i * 8), (i << 21) | 0x87, true);
}
