/**
 * Random bytes as guests, on any CPU backend: bare, as the first code that runs, and on corpus
 * programs that catch what they raise and go on; with NMIs in between, on one CPU and on two.
 * Whatever they do is an exit, a fault event of the guest or the end of the VM: never an exception
 * of the host, nor a run that does not end. Where instructions are counted, every guest runs twice
 * and has to do the same.
 *
 * ```ts
 * const subject = { name: 'emu', make: () => emulatedBackend(), seed: 1, guest: 4e4, whole: 4e4 };
 * hostileGuests({ describe, it }, subject);
 * ```
 */
import { createVm } from '../assembly/create-vm.js';
import { definePlugin } from '../assembly/define-plugin.js';
import type {
  BootSource,
  CpuBackend,
  VcpuState,
  VmEnd,
  VmExit,
  VmPlugin,
} from '../interfaces/index.js';
import type { Vm } from '../machine/vm.js';
import { systemHost } from '../time/host-port.js';
import { corpusEntry } from './corpus/entry.js';
import { corpusHost } from './corpus/host.js';
import { CORPUS_IMAGES } from './corpus/images.js';
import type { CorpusMode, CorpusProgram } from './corpus/program.js';
import { HOSTILE, RANDOM_AT, RANDOM_SIZE } from './corpus/programs.js';
import { decodeImage } from './corpus/run-program.js';
import type { KitRunner } from './device-kit.js';
import { FakeRandom } from './fakes.js';

const host = systemHost();

export interface HostileSubject {
  readonly name: string;
  /** Makes the backend; called for each guest. */
  make(): CpuBackend;
  /** Of the random bytes. */
  readonly seed: number;
  /** Most that one guest runs: instructions, or nanoseconds where they are not counted. */
  readonly guest: number;
  /** What the guests of one kind run together, in the same unit. */
  readonly whole: number;
  /** Takes the counts of each kind; not printed unless given. */
  readonly print?: (line: string) => void;
}

/** One kind of guest. */
interface Kind {
  readonly about: string;
  readonly mode: CorpusMode;
  readonly cpus: number;
  /** What catches exceptions; null for bare bytes. */
  readonly program: CorpusProgram | null;
}

const long = HOSTILE.find(({ mode }) => mode === 'long')!;
const KINDS: readonly Kind[] = [
  { about: 'bare, real mode', mode: 'real', cpus: 1, program: null },
  { about: 'bare, long mode', mode: 'long', cpus: 1, program: null },
  ...HOSTILE.map((program) => ({ about: program.about, mode: program.mode, cpus: 1, program })),
  { about: `${long.about}, of two`, mode: long.mode, cpus: 2, program: long },
];

/** Bytes of instructions that leave the guest: I/O, REP, HLT, INT, 0F, far jumps. */
const LEAVING = [0x6c, 0x6e, 0xe4, 0xe6, 0xec, 0xee, 0xf3, 0xf4, 0xcc, 0xcd, 0x0f, 0x66, 0xea];
const BARE_SIZE = 64;

/** Nanoseconds between two NMIs: they end loops and HLT with interrupts disabled. */
const NMI_NS = 7001;
/** The same where time is the host's. */
const NMI_WALL_NS = 500_000;
/** Until a guest has its descriptor tables. */
const SET_UP_NS = 20_000;
/** How long a guest may run on after its time before it counts as hung, in milliseconds. */
const HUNG_MS = 10_000;

/** What a guest did, exits by their hash. */
interface Trace {
  readonly reason: string;
  readonly instructions: number;
  /** Of the host's clock, with the making of the VM. */
  readonly ns: number;
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

/** Plugin: an NMI to each CPU in turn, as long as a guest that does not sleep would run. */
function nmiBeat(until: number): VmPlugin {
  return definePlugin({
    name: 'nmi-beat',
    version: '1.0.0',
    api: 1,
    setup(context) {
      const { clock } = context;
      const period = clock.mode === 'wall' ? NMI_WALL_NS : NMI_NS;
      let turn = 0;
      const beat = (): void => {
        context.vcpus[turn++ % context.cpus]!.nmi();
        if (clock.now() <= until) clock.at(clock.now() + period, beat);
      };
      context.onStart(() => void clock.at(clock.now() + SET_UP_NS, beat));
    },
  });
}

function sourceOf({ program, mode }: Kind, bytes: Uint8Array): BootSource {
  if (program === null) return corpusEntry(bytes.slice(0, BARE_SIZE), mode);
  const region = { name: 'random', gpa: RANDOM_AT, bytes, type: 'normal' } as const;
  return corpusEntry(decodeImage(CORPUS_IMAGES[program.name]!), mode, [region]);
}

/**
 * What one guest runs at most. Bare ones get a tenth: they have no tables, and soon raise one
 * exception after the other for ever.
 */
function limitOf({ guest }: HostileSubject, { program }: Kind): number {
  return program === null ? guest / 10 : guest;
}

/** Runs for `limit` instructions or nanoseconds. */
async function runFor(vm: Vm, limit: number): Promise<VmEnd> {
  await vm.start();
  if (vm.clock.mode !== 'wall') {
    await vm.pause({ at: limit });
    return vm.stop();
  }
  const cancel = host.timeout(Math.ceil(limit / 1e6), () => void vm.stop('timeout'));
  const end = await vm.run();
  cancel();
  return end;
}

async function runGuest(subject: HostileSubject, kind: Kind, bytes: Uint8Array): Promise<Trace> {
  const since = host.now();
  const limit = limitOf(subject, kind);
  const vm = await createVm({ memory: '2M', cpus: kind.cpus, seed: 1 })
    .use(corpusHost(subject.make(), sourceOf(kind, bytes)), nmiBeat(limit))
    .build();
  try {
    const hash = new ExitHash();
    const faults: string[] = [];
    vm.events.exits.subscribe((exit) => hash.add(exit));
    vm.events.faults.subscribe(({ kind: what, message }) => {
      if (what === 'plugin-fault') faults.push(message);
    });
    const started = host.now();
    const { reason, instructions } = await runFor(vm, limit);
    const ms = host.now() - started;
    if (faults.length > 0) throw new Error(`an exception of the host: ${faults[0]}`);
    // By instructions a run ends whenever it does: only time can be overrun.
    const overrun = vm.clock.mode === 'wall' && ms > HUNG_MS + limit / 1e6;
    if (overrun) throw new Error(`it ran on for ${Math.round(ms)} ms`);
    const states = vm.vcpus.map((vcpu) => vcpu.readState());
    const ns = (host.now() - since) * 1e6;
    return { reason, instructions, ns, exits: hash.exits, hash: hash.value, states };
  } finally {
    await vm.dispose();
  }
}

/** What has to be the same when a guest runs again. */
const repeated = ({ ns: _, ...trace }: Trace): string =>
  JSON.stringify(trace, (_key, value) => (typeof value === 'bigint' ? value.toString(16) : value));

function randomBytes(random: FakeRandom, { program }: Kind): Uint8Array {
  const bytes = new Uint8Array(RANDOM_SIZE);
  random.fill(bytes);
  if (program !== null) return bytes;
  // More than their share of what leaves a guest.
  return bytes.map((byte) => (byte & 1 ? LEAVING[random.below(LEAVING.length)]! : random.u32()));
}

async function runKind(subject: HostileSubject, kind: Kind): Promise<void> {
  const random = new FakeRandom(subject.seed);
  let [guests, done, exits] = [0, 0, 0];
  for (; done < subject.whole; guests++) {
    const bytes = randomBytes(random, kind);
    try {
      const first = await runGuest(subject, kind, bytes);
      const counts = first.instructions > 0;
      if (counts && repeated(await runGuest(subject, kind, bytes)) !== repeated(first)) {
        throw new Error('it did something else the second time');
      }
      // Bare guests count as if they were others; where time is the host's, those that end early
      // count for more than they ran.
      const least = kind.program === null ? subject.guest : counts ? 1 : subject.guest / 8;
      done += Math.max(counts ? first.instructions : first.ns, least);
      exits += first.exits;
    } catch (cause) {
      throw new Error(`guest ${guests} of seed ${subject.seed}: ${cause}`, { cause });
    }
  }
  const what = `${guests} guests, ${exits} exits`;
  subject.print?.(`random bytes, ${subject.name}, ${kind.about}: ${what}`);
}

/** Declares a test for each kind of guest. */
export function hostileGuests(runner: KitRunner, subject: HostileSubject): void {
  runner.describe(`random bytes as guests on ${subject.name} (seed ${subject.seed})`, () => {
    for (const kind of KINDS) {
      const again = kind.cpus > 1 ? `${kind.cpus} CPUs` : 'one CPU';
      runner.it(`${kind.about}, ${again}`, () => runKind(subject, kind));
    }
  });
}
