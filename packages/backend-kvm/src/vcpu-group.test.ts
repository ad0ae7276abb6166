/**
 * vCPUs with threads of their own, on the scripted kernel: the threads' loop runs where the test
 * says so, in place of a Worker.
 */
import type { InstructionAssist, VmExit } from '@cloister/core';
import { copyExit } from '@cloister/core';
import { selectCpu } from '@cloister/core/cpu';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EXIT, INTERNAL_ERROR, MP } from './abi/constants.js';
import { ERRNO, NR } from './abi/linux.js';
import { EXIT_INTERNAL } from './abi/structs.js';
import { KvmHost } from './host.js';
import { FakeSys, hostClock, interrupted, io, leave, MIB, RANDOM, ram } from './testing/index.js';
import { ThreadSignals } from './thread-signals.js';
import { VcpuLoop } from './vcpu-loop.js';
import { STATE, type VcpuWorkerData, WORD } from './vcpu-mailbox.js';
import { KvmVm } from './vm.js';

let sys: FakeSys;
let vm: KvmVm;
/** Threads by the number of their vCPU: what they do when they get the processor. */
let loops: { readonly loop: VcpuLoop; readonly words: Int32Array; fail(reason: string): void }[];
let ended: number;

function startThread(data: VcpuWorkerData) {
  const signals = ThreadSignals.acquire(sys);
  const listeners: ((reason: string) => void)[] = [];
  const fail = (reason: string) => {
    for (const listener of listeners) listener(reason);
  };
  loops.push({ loop: new VcpuLoop(sys, signals, data), words: new Int32Array(data.mailbox), fail });
  return {
    onEnd: (listener: (reason: string) => void) => void listeners.push(listener),
    end: async () => {
      ended++;
      signals.release();
    },
    terminate: async () => {},
  };
}

async function make(cpus: number, assist?: InstructionAssist) {
  const host = KvmHost.require(sys);
  const made = new KvmVm(
    host,
    {
      memorySize: MIB,
      cpus,
      clock: hostClock,
      random: RANDOM,
      extensions: [],
      intercept: new Set(),
      ...(assist && { assist }),
    },
    { cpu: selectCpu(), irqchip: 'split', dirtyRing: 0, startThread },
  );
  host.close();
  made.addSlot(ram());
  return made;
}

beforeEach(async () => {
  sys = new FakeSys();
  loops = [];
  ended = 0;
  vm = await make(2);
});

afterEach(async () => {
  await vm.dispose();
  await vm.dispose();
  expect(sys.open).toEqual({ files: 0, mappings: 0 });
  expect(ended).toBe(loops.length);
});

/** SIPI has come to every CPU. */
function wakeAll(): void {
  for (const file of sys.files.values()) if (file.kind === 'vcpu') file.mpState = MP.RUNNABLE;
}

/** A run of the first vCPU; `exits` as they came. */
function run(answer: (exit: VmExit) => void = () => {}) {
  const exits: VmExit[] = [];
  const end = vm.vcpus[0]!.run(1e9, (exit) => {
    answer(exit);
    exits.push(copyExit(exit));
  });
  return { end, exits };
}

/** In a step of the first vCPU's script: the second's thread gets the processor. */
const second = () => loops[0]!.loop.turn();

describe('exits of another thread', () => {
  test('are answered in a run of the first vCPU, whose KVM_RUN they interrupt', () => {
    wakeAll();
    sys.script.push(
      (page, kernel) => {
        kernel.script.unshift(io('in', 0x60, 1, [0]));
        expect(second()).toBe(true);
        // It rang: the signal is here.
        expect(kernel.signals.length).toBe(1);
        return interrupted('other')(page, kernel);
      },
      (page, kernel) => {
        kernel.script.unshift(leave(EXIT.SHUTDOWN));
        second();
        return interrupted('other')(page, kernel);
      },
    );
    const { end, exits } = run((exit) => {
      if (exit.kind === 'io') exit.data[0] = 0x42;
    });
    expect(end).toBe('shutdown');
    expect(exits).toMatchObject([
      { kind: 'io', vcpu: 1, data: Uint8Array.of(0x42) },
      { kind: 'shutdown', vcpu: 1 },
    ]);
  });

  test('wait between runs; parking answers them and completes their instruction', () => {
    wakeAll();
    expect(run().end).toBe('slice');
    sys.script.push(io('out', 0x80, 1, [7]));
    second();
    expect(vm.vcpus[0]!.runnable).toBe(true);
    expect(() => vm.snapshot()).toThrow('threads of their own');
    const exits: VmExit[] = [];
    vm.park!((exit) => exits.push(copyExit(exit)));
    expect(exits).toMatchObject([{ kind: 'io', port: 0x80, vcpu: 1 }]);
    expect(sys.completions).toBe(1);
    expect(second()).toBe(false);
    vm.snapshot();
  });

  test('are of the state of before: none is written until they are answered', () => {
    wakeAll();
    run();
    const state = vm.vcpus[1]!.readState();
    sys.script.push(io('out', 0x80, 1, [7]));
    second();
    expect(() => vm.vcpus[1]!.writeState(state)).toThrow('not answered yet');
    vm.park!(() => vm.vcpus[1]!.writeState(state));
    expect(sys.completions).toBe(1);
    vm.vcpus[1]!.writeState(state);
  });

  test('that end a run while parking end the next', () => {
    wakeAll();
    run();
    sys.script.push(leave(EXIT.SHUTDOWN));
    second();
    vm.park!(() => {});
    expect(run().end).toBe('shutdown');
    // Before anything else goes on.
    expect(loops[0]!.words[WORD.STATE]).toBe(STATE.PARKED);
  });

  test('that end a run while parking end none of a VM that was reset', () => {
    wakeAll();
    run();
    sys.script.push(leave(EXIT.SHUTDOWN));
    second();
    vm.park!(() => {});
    vm.reset();
    expect(run().end).toBe('slice');
  });

  test('a kick with no thread in KVM takes the vCPU back at once', () => {
    wakeAll();
    run();
    expect(loops[0]!.words[WORD.STATE]).toBe(STATE.GO);
    vm.park!(() => {});
    expect(loops[0]!.words[WORD.STATE]).toBe(STATE.PARKED);
    expect(sys.completions).toBe(0);
  });

  test('KVM_RUN that fails is an error of that vCPU', () => {
    wakeAll();
    sys.script.push((page, kernel) => {
      kernel.script.unshift(() => -ERRNO.EFAULT);
      second();
      return interrupted('other')(page, kernel);
    });
    const { end, exits } = run();
    expect(end).toBe('error');
    expect(exits).toMatchObject([{ kind: 'error', code: 'run-failed', vcpu: 1 }]);
  });
});

describe('threads', () => {
  test('start with the first SIPI, not before', () => {
    run();
    expect(loops).toEqual([]);
    wakeAll();
    run();
    expect(loops.length).toBe(1);
  });

  test('signals without a request do not end a vCPU; EAGAIN is SIPI', () => {
    wakeAll();
    run();
    sys.script.push(
      interrupted('other'),
      () => -ERRNO.EAGAIN,
      interrupted('timer'),
      io('out', 0x80, 1, [1]),
    );
    second();
    expect(vm.vcpus[1]!.entries).toBe(4);
    expect(vm.vcpus[1]!.interruptions).toBe(2);
    vm.park!(() => {});
  });

  test('look from time to time whether the vCPU sleeps, and park when asked', () => {
    wakeAll();
    run();
    const { words } = loops[0]!;
    const seen: number[] = [];
    const look = (mpState: number) => [
      interrupted('timer'),
      (page: DataView, kernel: FakeSys) => {
        seen.push(words[WORD.ASLEEP]!);
        for (const file of kernel.files.values()) if (file.kind === 'vcpu') file.mpState = mpState;
        return interrupted('other')(page, kernel);
      },
    ];
    sys.script.push(...look(MP.HALTED), ...look(MP.RUNNABLE), ...look(MP.RUNNABLE), () => {
      words[WORD.REQUEST] = 1;
      return -ERRNO.EINTR;
    });
    second();
    expect(seen).toEqual([0, 1, 0]);
    expect(words[WORD.STATE]).toBe(STATE.PARKED);
  });

  test('one that fails is an error of its vCPU, in every run', () => {
    wakeAll();
    run();
    loops[0]!.fail('out of memory');
    for (let i = 0; i < 2; i++) {
      const { end, exits } = run();
      expect(end).toBe('error');
      expect(exits).toMatchObject([
        { kind: 'error', code: 'vcpu-thread', message: 'CPU 1: out of memory', vcpu: 1 },
      ]);
    }
    vm.park!(() => {});
  });

  test('one that the kernel knows no longer is not waited for', () => {
    wakeAll();
    run();
    // Inside of KVM_RUN, and gone.
    loops[0]!.words[WORD.STATE] = STATE.RUN;
    const call = sys.syscall.bind(sys);
    sys.syscall = (number, ...words) =>
      number === NR.tgkill && words[2] === 0 ? -ERRNO.ESRCH : call(number, ...words);
    vm.removeSlot(ram().id);
    expect(loops[0]!.words[WORD.STATE]).toBe(STATE.PARKED);
    vm.snapshot();
    expect(run().exits).toMatchObject([{ code: 'vcpu-thread' }]);
  });
});

test('exits of two others without end do not keep the deadline from the first', async () => {
  await vm.dispose();
  loops = [];
  ended = 0;
  vm = await make(3);
  wakeAll();
  run();
  let answered = 0;
  const exit = (index: number) => {
    sys.script.unshift(io('out', 0x80, 1, [1]));
    expect(loops[index]!.loop.turn()).toBe(true);
  };
  sys.script.push((page, kernel) => {
    exit(0);
    return interrupted('other')(page, kernel);
  });
  // Each exits while the other's is answered.
  const end = vm.vcpus[0]!.run(1e6, (each) => {
    if (each.kind !== 'io') return;
    if (++answered > 10_000) throw new Error('the first has no turn');
    exit(each.vcpu === 1 ? 1 : 0);
  });
  expect(end).toBe('slice');
});

test('no other vCPU executes while one is assisted, whichever it is; then they go on', async () => {
  await vm.dispose();
  loops = [];
  ended = 0;
  const seen: [number, number][] = [];
  const assist: InstructionAssist = {
    name: 'scripted',
    open: ({ memorySize }) => ({
      memory: new Uint8Array(memorySize),
      msrs: [],
      addSlot: () => {},
      removeSlot: () => {},
      step(index) {
        // Of the third CPU, which has a thread of its own.
        seen.push([index, loops[1]!.words[WORD.STATE]!]);
        return 'done';
      },
    }),
  };
  vm = await make(3, assist);
  wakeAll();
  const failure = leave(EXIT.INTERNAL_ERROR, EXIT_INTERNAL, {
    suberror: INTERNAL_ERROR.EMULATION,
  });
  sys.script.push(failure, (page, kernel) => {
    expect(loops[1]!.words[WORD.STATE]).toBe(STATE.GO);
    kernel.script.unshift(failure);
    second();
    return interrupted('other')(page, kernel);
  });
  expect(run().end).toBe('slice');
  expect(seen).toEqual([
    [0, STATE.PARKED],
    [1, STATE.PARKED],
  ]);
  expect(loops.map(({ words }) => words[WORD.STATE])).toEqual([STATE.GO, STATE.GO]);
});

describe('as all seem halted', () => {
  const looks = [interrupted('other'), interrupted('other')];
  let first: { mpState: number };

  beforeEach(() => {
    wakeAll();
    run();
    // Both have a timer that is to wake them much later.
    sys.answers.set('GET_LAPIC', (state) => {
      new DataView((state as Uint8Array).buffer).setUint32(0x390, 0x7fffffff, true);
      return 0;
    });
    const cpus = [...sys.files.values()].filter(({ kind }) => kind === 'vcpu');
    first = cpus[0]!;
    sys.script.push((page, kernel) => {
      for (const cpu of cpus) cpu.mpState = MP.HALTED;
      loops[0]!.words[WORD.ASLEEP] = 1;
      return interrupted('timer')(page, kernel);
    });
  });

  test('an interrupt that one sent another behind its KVM_RUN is found', () => {
    sys.script.push(...looks, (page, kernel) => {
      first.mpState = MP.RUNNABLE;
      return interrupted('other')(page, kernel);
    });
    const { end, exits } = run();
    expect(end).toBe('slice');
    expect(exits).toMatchObject([{ kind: 'hlt', vcpu: 1 }]);
    expect(vm.vcpus[0]!.runnable).toBe(true);
  });

  test('a look that ends in an exit has it answered, once', () => {
    sys.script.push(io('out', 0x80, 1, [7]));
    const { exits } = run();
    expect(exits.filter(({ kind }) => kind === 'io')).toMatchObject([{ port: 0x80, vcpu: 1 }]);
  });

  test('a doorbell that was rung before is told; then they sleep', () => {
    let rung = 0;
    const place = { space: 'mmio', address: 0xd0000050, length: 4, value: 0n } as const;
    vm.doorbells!.watch(place, () => void rung++);
    const call = sys.syscall.bind(sys);
    let waits = false;
    sys.syscall = (number, ...words) => {
      if (number !== NR.read || !waits) return call(number, ...words);
      waits = false;
      (words[1] as Uint8Array)[0] = 1;
      return 8;
    };
    sys.script.push((page, kernel) => {
      waits = true;
      return looks[0]!(page, kernel);
    });
    expect(run().end).toBe('slice');
    expect(rung).toBe(1);
    expect(vm.vcpus[0]!.runnable).toBe(true);
    sys.script.push((page, kernel) => {
      loops[0]!.words[WORD.ASLEEP] = 1;
      return interrupted('timer')(page, kernel);
    });
    expect(run().end).toBe('halted');
    expect(rung).toBe(1);
  });

  test('where nobody waits for doorbells a run begins with a look', () => {
    let rung = 0;
    const place = { space: 'mmio', address: 0xd0000050, length: 4, value: 0n } as const;
    const bell = vm.doorbells!.watch(place, () => void rung++);
    const call = sys.syscall.bind(sys);
    sys.syscall = (number, ...words) => {
      if (number !== NR.read) return call(number, ...words);
      (words[1] as Uint8Array)[0] = 1;
      return 8;
    };
    sys.script.unshift((page, kernel) => {
      expect(rung).toBe(1);
      return leave(EXIT.SHUTDOWN)(page, kernel);
    });
    expect(run().end).toBe('shutdown');
    bell.close();
  });
});

test('while all are halted none is in its thread; each halt is told once', () => {
  wakeAll();
  run();
  for (const file of sys.files.values()) if (file.kind === 'vcpu') file.mpState = MP.HALTED;
  sys.script.push((page, kernel) => {
    // As its thread would tell after a look.
    loops[0]!.words[WORD.ASLEEP] = 1;
    return interrupted('timer')(page, kernel);
  });
  const { end, exits } = run();
  expect(end).toBe('halted');
  expect(exits.map(({ kind, vcpu }) => [kind, vcpu])).toEqual([
    ['hlt', 1],
    ['hlt', 0],
  ]);
  expect(vm.vcpus[0]!.runnable).toBe(false);
  expect(run().exits).toEqual([]);
});
