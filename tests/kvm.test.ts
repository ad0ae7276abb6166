// KVM, stopped and killed in every way: kicks from another thread, the end of the process while a
// guest spins, three hundred VMs one after the other.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { addonSys, type KickHandle, kick, kvmBackend, type Sys } from '@cloister/backend-kvm';
import { load, makeVm, runOnce } from '@cloister/backend-kvm/testing';
import { describe, expect, test } from 'vitest';
import { OwnTime } from './lib/own-time.js';
import { untilWatched } from './lib/until-watched.js';

const probe = await kvmBackend().probe();
const program = fileURLToPath(new URL('./lib/kvm-process.js', import.meta.url));

/** The process has to be gone so long after it was told, waiting for a processor left out. */
const GONE_MS = 1000;
/** A kick without an answer for so long is lost. */
const LOST_MS = 10_000;
const SPIN = [0xeb, 0xfe];
const HALT = [0xfa, 0xf4];
/** out 0x80, al; jmp back */
const EXITS = [0xe6, 0x80, 0xeb, 0xfc];
/** mov cx, 100; out 0x80, al; loop; mov cx, 3000; loop; jmp back */
const BURSTS = [0xb9, 100, 0, 0xe6, 0x80, 0xe2, 0xfc, 0xb9, 0xb8, 0x0b, 0xe2, 0xfe, 0xeb, 0xf2];

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly output: string;
  /** Milliseconds from the guest's start, or from the signal, less waiting for a processor. */
  readonly ms: number;
}

async function ended(words: readonly string[], signal?: NodeJS.Signals): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...words], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let output = '';
  let time: OwnTime | null = null;
  child.stdout.on('data', (bytes: Buffer) => {
    time ??= new OwnTime(child.pid!);
    output += bytes;
    if (signal !== undefined) child.kill(signal);
  });
  const [status, by] = await once(child, 'close');
  return { status, signal: by, output, ms: time!.end() };
}

describe.skipIf(!probe.available)(`a guest that spins on KVM ${probe.reason ?? ''}`, () => {
  test.each([
    ['inline', 'exit', 7],
    ['worker', 'exit', 7],
    ['inline', 'throw', 1],
    ['worker', 'throw', 1],
    ['inline', 'dispose', 0],
    ['worker', 'dispose', 0],
    ['inline', 'exit', 7, '3'],
    ['worker', 'exit', 7, '3'],
    ['inline', 'throw', 1, '3'],
    ['worker', 'throw', 1, '3'],
    ['inline', 'dispose', 0, '3'],
    ['worker', 'dispose', 0, '3'],
  ])('%s, %s: the process ends', async (where, how, status, cpus = '1') => {
    const end = await ended([where, how, cpus]);
    expect(end.status).toBe(status);
    expect(end.output).toBe(how === 'dispose' ? 'spinning\ndisposed\n' : 'spinning\n');
    expect(end.ms).toBeLessThan(100 + GONE_MS);
  });

  test.each([
    ['inline', '1'],
    ['worker', '1'],
    ['inline', '3'],
    ['worker', '3'],
  ])('%s, %s CPUs: SIGTERM ends the process', async (where, cpus) => {
    const end = await ended([where, 'wait', cpus], 'SIGTERM');
    expect(end.signal).toBe('SIGTERM');
    expect(end.ms).toBeLessThan(GONE_MS);
  });
});

/** Open descriptors, and mappings of vCPUs and guests. */
function inUse() {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  return {
    files: readdirSync('/proc/self/fd').length,
    maps: maps.match(/anon_inode:kvm|memfd:cloister-guest/g)?.length ?? 0,
  };
}

/** A vCPU in a Worker, kicked from here. */
async function kicked(code: readonly number[], fail = false) {
  const answered = new SharedArrayBuffer(8);
  const worker = new Worker(new URL('./lib/kvm-vcpu-worker.js', import.meta.url), {
    workerData: { code, answered, fail },
  });
  const [handle] = (await once(worker, 'message')) as [KickHandle];
  const { sys } = addonSys() as { readonly sys: Sys };
  const words = new Int32Array(answered);
  return {
    worker,
    /** Kicks once and waits for the answer; microseconds, or null when there was none. */
    kick(): number | null {
      const before = Atomics.load(words, 0);
      const since = performance.now();
      kick(sys, handle);
      if (Atomics.wait(words, 0, before, LOST_MS) === 'timed-out') return null;
      return (performance.now() - since) * 1000;
    },
    async end(): Promise<void> {
      Atomics.store(words, 1, 1);
      kick(sys, handle);
      await once(worker, 'exit');
    },
  };
}

describe.skipIf(!probe.available)(`kicks from another thread ${probe.reason ?? ''}`, () => {
  test.each([
    ['spins', SPIN, 20_000, 0],
    ['is halted', HALT, 2000, 0],
    // Long enough from one to the next that exits are found to be frequent.
    ['makes exits all the time', EXITS, 1000, 4],
    ['makes bursts of exits', BURSTS, 1000, 8],
  ])('a guest that %s: none is lost', async (_what, code, count, apart) => {
    const vcpu = await kicked(code);
    const times: number[] = [];
    const nothing = new Int32Array(new SharedArrayBuffer(4));
    for (let i = 0; i < count; i++) {
      if (apart > 0) Atomics.wait(nothing, 0, 0, ((i * 0.618) % 1) * apart);
      const us = vcpu.kick();
      expect(us, `kick ${i}`).not.toBeNull();
      times.push(us!);
    }
    await vcpu.end();
    times.sort((a, b) => a - b);
    const at = (part: number) => Math.round(times[Math.floor((times.length - 1) * part)]!);
    process.stderr.write(
      `${count} kicks: median ${at(0.5)} us, 95 % ${at(0.95)} us, at most ${at(1)} us\n`,
    );
  });

  test('one that comes too late for its thread hurts nobody', async () => {
    const { sys } = addonSys() as { readonly sys: Sys };
    const worker = new Worker(new URL('./lib/kvm-vcpu-worker.js', import.meta.url), {
      workerData: { code: SPIN, answered: new SharedArrayBuffer(8), fail: false },
    });
    const [handle] = (await once(worker, 'message')) as [KickHandle];
    const words = new Int32Array(handle.words);
    while (Atomics.load(words, 1) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const ended = worker.terminate();
    kick(sys, handle);
    await ended;
    kick(sys, handle);
    expect(Atomics.load(words, 1)).toBe(0);
    // Its timer goes with the next VM.
    const timers = () => readFileSync('/proc/self/timers', 'utf8').match(/^signal: 42\//gm) ?? [];
    const left = timers().length;
    await (await makeVm()).dispose();
    if (left > 0) expect(timers().length).toBe(left - 1);
    // As if the number had become another thread's.
    for (const tid of readdirSync('/proc/self/task').map(Number)) {
      Atomics.store(words, 1, tid);
      kick(sys, handle);
    }
  });

  test('a Worker that fails in the middle is an error and leaves nothing open', async () => {
    const before = inUse();
    const vcpu = await kicked(SPIN, true);
    const failed = once(vcpu.worker, 'error');
    vcpu.kick();
    const gone = new Promise((resolve) => vcpu.worker.on('exit', resolve));
    const [error] = (await failed) as [Error];
    expect(error.message).toBe('on purpose');
    await gone;
    expect(inUse()).toEqual(before);
  });
});

describe.skipIf(!probe.available)(`many VMs ${probe.reason ?? ''}`, () => {
  test('three hundred leave no descriptors and no mappings', async () => {
    const round = async () => {
      const vm = await makeVm({ dirtyRing: 512 });
      load(vm, [0xe6, 0x10, ...SPIN]);
      vm.eventFds.doorbell({ space: 'io', address: 0x80, length: 1 });
      runOnce(vm, 1e6);
      await vm.dispose();
    };
    // Holds what a thread has for all its VMs, which would else be gone after some idle seconds.
    const kept = await makeVm();
    try {
      load(kept, SPIN);
      await untilWatched(kept);
      await round();
      const before = inUse();
      for (let i = 0; i < 300; i++) await round();
      expect(inUse()).toEqual(before);
    } finally {
      await kept.dispose();
    }
  });
});
