/**
 * Guests that misbehave: whatever they do is an exit, a fault event or the end of the VM, and never
 * an exception of the host. Random bytes run as code in every mode; the seed is printed.
 */
import { createVm, definePlugin, type VcpuState, type VmEnd, type VmExit } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';
import {
  CORPUS_IMAGES,
  type CorpusProgram,
  corpusEntry,
  corpusHost,
  decodeImage,
  FakeRandom,
  HOSTILE,
  RANDOM_AT,
  RANDOM_SIZE,
} from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { emulated, emulatedBackend } from './index.js';

type Mode = 'real' | 'protected' | 'long';

interface Outcome {
  readonly end: VmEnd;
  /** Messages of the fault events. */
  readonly faults: readonly string[];
}

/** Runs `image` for at most `limit` instructions. */
async function run(image: Uint8Array, mode: Mode, limit = 100_000): Promise<Outcome> {
  const vm = await createVm({ memory: '4M', cpus: 1, seed: 1, clock: 'icount' })
    .use(emulated(), pc(), debugExit(), boot(flat({ image, mode })))
    .build();
  const faults: string[] = [];
  vm.events.faults.subscribe(({ message }) => faults.push(message));
  await vm.start();
  await vm.pause({ at: limit });
  const end = await vm.stop();
  await vm.dispose();
  return { end, faults };
}

const bytes = (...code: number[]): Uint8Array => new Uint8Array(code);

describe('a guest that misbehaves', () => {
  it('triple-faults without an IDT', async () => {
    // ud2
    const { end } = await run(bytes(0x0f, 0x0b), 'long');
    expect(end.reason).toBe('triple-fault');
  });

  it('jumps into nowhere', async () => {
    // mov rax, 0x123456789abc; jmp rax
    const code = [0x48, 0xb8, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0, 0, 0xff, 0xe0];
    expect((await run(bytes(...code), 'long')).end.reason).toBe('triple-fault');
  });

  it('reads an unknown MSR', async () => {
    // mov ecx, 0x12345; rdmsr
    const { end, faults } = await run(bytes(0xb9, 0x45, 0x23, 1, 0, 0x0f, 0x32), 'long');
    expect(end.reason).toBe('triple-fault');
    expect(faults).toEqual(['read of unknown MSR 0x12345']);
  });

  it('uses a port that nothing answers, then ends by debug-exit', async () => {
    // mov dx, 0x1234; in al, dx; out 0xf4, al
    const { end, faults } = await run(bytes(0x66, 0xba, 0x34, 0x12, 0xec, 0xe6, 0xf4), 'long');
    expect(end).toMatchObject({ reason: 'debug-exit', status: ((0xff << 1) | 1) & 0xff });
    expect(faults).toEqual(['no device at port 0x1234 (in, 1 bytes)']);
  });

  it('writes to a port that resets the machine', async () => {
    // mov dx, 0xcf9; mov al, 6; out dx, al
    const { end } = await run(bytes(0x66, 0xba, 0xf9, 0x0c, 0xb0, 6, 0xee), 'long');
    expect(end.reason).toBe('reset');
  });

  it('loops for ever and can be stopped', async () => {
    expect((await run(bytes(0xeb, 0xfe), 'long', 5000)).end.reason).toBe('stopped');
  });

  it('halts with interrupts disabled', async () => {
    expect((await run(bytes(0xfa, 0xf4), 'long')).end.reason).toBe('stopped');
  });
});

const FULL = process.env.CLOISTER_FULL === '1';
const seed = Number(process.env.CLOISTER_SEED ?? Date.now() % 2 ** 31);
/** Instructions in each mode, and at most in one guest. */
const WANTED = FULL ? 1e8 : 4e4;
const GUEST_MAX = FULL ? 2e6 : 4e4;

/** Everything that can be seen of a run, exits by their hash. */
interface Trace {
  readonly reason: string;
  readonly instructions: number;
  readonly exits: number;
  readonly hash: number;
  readonly states: readonly VcpuState[];
}

/** FNV-1a over the values of exits. */
class ExitHash {
  exits = 0;
  value = 0x811c9dc5;

  add(exit: VmExit): void {
    this.exits++;
    for (const value of Object.values(exit)) this.note(value);
  }

  private note(value: unknown): void {
    if (ArrayBuffer.isView(value)) for (const each of value as Uint8Array) this.word(each);
    else if (typeof value === 'string') for (const char of value) this.word(char.charCodeAt(0));
    else this.word(Number(value));
  }

  private word(value: number): void {
    this.value = Math.imul(this.value ^ (value & 0xffff), 0x01000193) >>> 0;
    this.value = Math.imul(this.value ^ (value >>> 16), 0x01000193) >>> 0;
  }
}

/** Nanoseconds between two NMIs: they end loops and HLT with interrupts disabled. */
const NMI_NS = 7001;
/** Until a guest has its descriptor tables. */
const SET_UP_NS = 20_000;

/** Plugin: an NMI to each CPU in turn, as long as a guest that does not sleep would run. */
const nmiBeat = definePlugin({
  name: 'nmi-beat',
  version: '1.0.0',
  api: 1,
  setup(context) {
    let turn = 0;
    const beat = (): void => {
      context.vcpus[turn++ % context.cpus]!.nmi();
      if (context.clock.now() > GUEST_MAX) return;
      context.clock.at(context.clock.now() + NMI_NS, beat);
    };
    context.onStart(() => void context.clock.at(SET_UP_NS, beat));
  },
});

/** Runs random bytes on the program that catches what they raise. */
async function runRandom(program: CorpusProgram, bytes: Uint8Array, cpus: number): Promise<Trace> {
  const image = decodeImage(CORPUS_IMAGES[program.name]!);
  const region = { name: 'random', gpa: RANDOM_AT, bytes, type: 'normal' } as const;
  const source = corpusEntry(image, program.mode, [region]);
  const vm = await createVm({ memory: '2M', cpus, seed: 1, clock: 'icount' })
    .use(corpusHost(emulatedBackend(), source), nmiBeat)
    .build();
  const hash = new ExitHash();
  vm.events.exits.subscribe((exit) => hash.add(exit));
  await vm.start();
  await vm.pause({ at: GUEST_MAX });
  const { reason, instructions } = await vm.stop();
  const states = vm.vcpus.map((vcpu) => vcpu.readState());
  await vm.dispose();
  return { reason, instructions, exits: hash.exits, hash: hash.value, states };
}

const GUESTS = HOSTILE.map((program) => ({ program, cpus: 1 }));
const long = HOSTILE.find(({ mode }) => mode === 'long')!;

describe(`random bytes as code, with interrupts (seed ${seed})`, () => {
  it.each([...GUESTS, { program: long, cpus: 2 }])(
    '$program.about, $cpus CPUs: no host exception, the same trace twice',
    async ({ program, cpus }) => {
      const random = new FakeRandom(seed);
      let [guests, done, exits] = [0, 0, 0];
      for (; done < WANTED; guests++) {
        const bytes = new Uint8Array(RANDOM_SIZE);
        random.fill(bytes);
        const first = await runRandom(program, bytes, cpus);
        const second = await runRandom(program, bytes, cpus);
        expect(second, `guest ${guests}`).toEqual(first);
        expect(first.instructions).toBeGreaterThan(0);
        done += first.instructions;
        exits += first.exits;
      }
      const counts = `${guests} guests, ${done} instructions, ${exits} exits`;
      process.stderr.write(`random bytes, ${program.name}, ${cpus} CPUs: ${counts}\n`);
    },
    3_600_000,
  );
});
