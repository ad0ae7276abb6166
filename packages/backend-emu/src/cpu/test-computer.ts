/**
 * A test processor that runs code: the vCPU's loop and the interpreter around it, no devices.
 */
import type { CpuExtension, RunEnd } from '@cloister/core';
import { ExtensionSet } from '../extension/extension-set.js';
import { interceptedFunctions } from '../extension/intercepts.js';
import { coreModule } from '../interp/core-cache.js';
import { Interpreter } from '../interp/interpreter.js';
import { OpCache } from '../interp/op-cache.js';
import type { JitMode } from '../jit/mode.js';
import { TEST_JIT } from '../jit/test-mode.js';
import { Translator } from '../jit/translator.js';
import { reachIn } from '../mmu/fast-walk.js';
import { frameTableBytes } from '../mmu/frame-tables.js';
import { EmulatedVcpu } from '../vcpu.js';
import * as L from './layout.js';
import { LOW_PAGES, RAM_BASE, RAM_SIZE, TestProcessor } from './test-processor.js';

const OPS = RAM_BASE + RAM_SIZE;
const OPS_SIZE = 0x40000;
const TABLES = OPS + OPS_SIZE;
const END = TABLES + frameTableBytes(LOW_PAGES, RAM_SIZE / 4096, true);

/**
 * How time goes on: not at all; with the instructions, as emitted code knows or as only the clock
 * does.
 */
export type TestTime = 'still' | 'counted' | 'asked';

export class TestComputer extends TestProcessor {
  readonly vcpu: EmulatedVcpu;

  constructor(
    features = '',
    jit: JitMode = TEST_JIT,
    extensions: readonly CpuExtension[] = [],
    private readonly goesOn: TestTime = 'still',
  ) {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(END / 65536) });
    super(features, memory.buffer as ArrayBuffer, extensions, TABLES);
    const { cpu, physical } = this;
    const set = new ExtensionSet(extensions);
    const functions = interceptedFunctions(set.intercepts);
    cpu.extension.connect(set);
    if (set.policy !== null) cpu.mmu.setFillPolicy(set.policy, cpu.extension);
    const { module, handlers } = coreModule(jit !== 'off');
    const translator =
      jit === 'off' ? undefined : new Translator({ mode: jit, memory, handlers, now: () => 0 });
    const translated = translator === undefined ? {} : { translator, sampler: translator };
    const opCache = new OpCache({
      ...translated,
      physical,
      handlers,
      decoder: set.decoder((feature) => cpu.cpu.has(feature)),
      base: OPS,
      size: OPS_SIZE,
      onReset: () => cpu.mmu.tlb.flushAll(),
    });
    const interpreter = new Interpreter({
      memory,
      module,
      record: cpu.record,
      mmu: cpu.mmu,
      access: cpu.memory,
      opCache,
      ...(goesOn === 'counted' && { clock: this.clock }),
      reach: reachIn(memory, set.verdictsLast),
      callSystem: (number) => cpu.callSystem(functions[number]),
      ...translated,
    });
    translator?.connect(opCache, [interpreter]);
    this.vcpu = new EmulatedVcpu(cpu, interpreter);
  }

  protected override now(): number {
    return this.time.now + (this.goesOn === 'still' ? 0 : (this.vcpu?.executed ?? 0));
  }

  /** Puts code, in hexadecimal, at guest address `at`. */
  load(at: number, code: string): this {
    const bytes = code.match(/[0-9a-f]{2}/g) ?? [];
    this.physical.bytes.set(
      bytes.map((byte) => Number.parseInt(byte, 16)),
      at,
    );
    this.physical.written(at, bytes.length);
    return this;
  }

  /** Runs at most `count` instructions from RIP. */
  run(count: number): RunEnd {
    return this.vcpu.run(count, (exit) => {
      this.exits.push(structuredClone(exit));
      this.onExit(exit);
    });
  }

  /** RIP, as a number. */
  get rip(): number {
    return Number(this.record.u64(L.RIP));
  }
}
