// Several vCPUs on KVM, each but the first in a Worker: the same exits as when they take turns,
// all of a VM's life, and its end in every way.
import { readdirSync, readFileSync } from 'node:fs';
import { emulatedAssist } from '@cloister/backend-emu';
import { addonSys, kick, kvm, kvmBackend, type Sys } from '@cloister/backend-kvm';
import { makeVm } from '@cloister/backend-kvm/testing';
import { copyExit, createVm, type VmExit } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { CORPUS, canonicalize, runBackendKit } from '@cloister/core/testing';
import { afterEach, describe, expect, test } from 'vitest';
import { COUNT, IDLE, loadSmp, outs, SPIN } from './lib/smp-guest.js';
import { smpImage } from './lib/smp-image.js';
import { untilWatched } from './lib/until-watched.js';

const probe = await kvmBackend().probe();
const full = process.env.CLOISTER_FULL === '1';

type Vm = Awaited<ReturnType<typeof makeVm>>;

const open: Vm[] = [];
afterEach(async () => {
  for (const vm of open.splice(0)) await vm.dispose();
});

async function smp(cpus: number, each: readonly number[], parallel = true): Promise<Vm> {
  const vm = await makeVm({ parallel }, { cpus, memorySize: 2 ** 21 });
  open.push(vm);
  loadSmp(vm, each);
  return vm;
}

/** Runs all CPUs until `done` says so, at most ten seconds; what they exited for. */
function runAll(vm: Vm, done: (exit: VmExit) => boolean): VmExit[] {
  const exits: VmExit[] = [];
  const until = performance.now() + 10_000;
  let over = false;
  const sink = (exit: VmExit) => {
    exits.push(copyExit(exit));
    over ||= done(exit) || exit.kind === 'error';
    if (over) vm.vcpus[0]!.shorten(0);
  };
  // With a thread of its own, a CPU runs along with the first.
  const turns = vm.park === undefined ? vm.vcpus : vm.vcpus.slice(0, 1);
  while (!over && performance.now() < until) {
    for (const vcpu of turns) if (!over && vcpu.runnable) vcpu.run(5e6, sink);
  }
  vm.park?.(sink);
  return exits;
}

const isPort = (port: number) => (exit: VmExit) => exit.kind === 'io' && exit.port === port;

function dwordAt(vm: Vm, gpa: number): number {
  const bytes = new Uint8Array(4);
  vm.memory.read(gpa, bytes);
  return new DataView(bytes.buffer).getUint32(0, true);
}

/** Open descriptors, threads, and mappings of vCPUs and guests. */
function inUse() {
  const maps = readFileSync('/proc/self/maps', 'utf8');
  return {
    files: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    maps: maps.match(/anon_inode:kvm|memfd:cloister-guest/g)?.length ?? 0,
  };
}

describe.skipIf(!probe.available)(`several vCPUs on KVM ${probe.reason ?? ''}`, () => {
  test('the corpus for several CPUs records what the manuals say', async () => {
    const programs = CORPUS.filter(({ cpus = 1 }) => cpus > 1);
    const report = await runBackendKit({ name: 'Workers', make: () => kvmBackend(), programs });
    expect(report.programs.map(({ program, verdict }) => [program, verdict])).toEqual(
      programs.map(({ name }) => [name, 'passed']),
    );
  });

  test('with the assist on, too', async () => {
    const programs = CORPUS.filter(({ cpus = 1 }) => cpus > 1);
    const make = () => kvmBackend();
    const subject = { name: 'Workers, assist on', make, assist: emulatedAssist };
    const report = await runBackendKit({ ...subject, programs });
    expect(report.programs.map(({ verdict }) => verdict)).toEqual(programs.map(() => 'passed'));
  });

  test.each([2, 4])('%i CPUs exit as they do when they take turns', async (cpus) => {
    const [workers, turns] = [await smp(cpus, outs(300)), await smp(cpus, outs(300), false)];
    const traces = [workers, turns].map((vm) => canonicalize(runAll(vm, isPort(0x99))));
    expect(traces[0]!.length).toBe(300 * (cpus - 1) + 1);
    expect(traces[0]).toEqual(traces[1]);
    expect(dwordAt(workers, COUNT)).toBe(cpus - 1);
  });

  test('all halted, each is told once, and nothing runs any more', async () => {
    const vm = await smp(3, []);
    runAll(vm, isPort(0x99));
    const halts: number[] = [];
    let end = '';
    for (let i = 0; i < 20 && end !== 'halted'; i++) {
      end = vm.vcpus[0]!.run(50e6, (exit) => {
        if (exit.kind === 'hlt') halts.push(exit.vcpu);
      });
      // A run ends by a kick as long as the event loop has something to do.
      await new Promise((resolve) => void setImmediate(resolve));
    }
    expect(end).toBe('halted');
    expect(halts.sort()).toEqual([0, 1, 2]);
    expect(vm.vcpus[0]!.runnable).toBe(false);
    vm.vcpus[2]!.nmi();
    expect(vm.vcpus[0]!.runnable).toBe(true);
  });

  test('a kick of any CPU ends the run', async () => {
    const vm = await smp(2, SPIN);
    runAll(vm, isPort(0x81));
    const { sys } = addonSys() as { readonly sys: Sys };
    const [first, second] = vm.vcpus;
    expect(second!.runnable).toBe(false);
    expect(() => second!.run(1e6, () => {})).toThrow('thread of its own');
    for (const kicked of [
      () => kick(sys, second!.kickHandle),
      () => kick(sys, first!.kickHandle),
      () => second!.kick(),
    ]) {
      kicked();
      expect(first!.run(10e9, () => {})).toBe('kicked');
    }
  });

  test('a CPU in its thread is read, written, stepped and given slots', async () => {
    const vm = await smp(2, SPIN);
    const [first, second] = vm.vcpus;
    const ips: bigint[] = [];
    runAll(vm, isPort(0x81));
    first!.run(5e6, () => {});
    // It goes on between runs.
    const before = dwordAt(vm, 0x6000);
    for (let i = 0; i < 5; i++) ips.push(second!.readState().rip);
    expect(ips.every((ip) => ip >= 2n && ip <= 9n)).toBe(true);
    const slot = { id: 7, size: 0x1000, readOnly: false, name: 'more', encryptable: false };
    vm.addSlot({ ...slot, gpa: 0x200000 });
    vm.removeSlot(7);
    for (const since = performance.now(); dwordAt(vm, 0x6000) === before; ) {
      expect(performance.now() - since).toBeLessThan(20_000);
    }
    second!.debug({ singleStep: true });
    const steps: VmExit[] = [];
    const stop = (exit: VmExit) => {
      steps.push(copyExit(exit));
      if (steps.length === 6) first!.shorten(0);
    };
    for (let i = 0; i < 100 && steps.length < 6; i++) first!.run(50e6, stop);
    expect(steps.slice(0, 6).every(({ kind, vcpu }) => kind === 'debug' && vcpu === 1)).toBe(true);
    vm.park!(() => {});
    second!.debug({});
    const state = second!.readState();
    state.rip = 0n;
    second!.writeState(state);
    expect(runAll(vm, isPort(0x81)).some(isPort(0x81))).toBe(true);
  });

  test('a Worker that ends is an error of its CPU', async () => {
    const vm = await smp(2, SPIN);
    runAll(vm, isPort(0x81));
    vm.vcpus[0]!.run(5e6, () => {});
    expect(() => vm.snapshot()).toThrow('threads of their own');
    await vm.vcpus[1]!.thread!.terminate();
    const exits: VmExit[] = [];
    expect(vm.vcpus[0]!.run(1e9, (exit) => exits.push(copyExit(exit)))).toBe('error');
    expect(exits).toMatchObject([{ kind: 'error', code: 'vcpu-thread', vcpu: 1 }]);
  });

  test('a VM is paused, saved, restored and reset while all its CPUs run', async () => {
    const machine = () =>
      createVm({ memory: '1M', cpus: 3, onReset: 'reboot' })
        .use(kvm(), boot(flat({ image: smpImage() })))
        .build();
    const counts = (vm: Awaited<ReturnType<typeof machine>>) => {
      const bytes = new Uint8Array(8);
      vm.memory.read(0x6000, bytes);
      const view = new DataView(bytes.buffer);
      return [view.getUint32(0, true), view.getUint32(4, true)] as const;
    };
    const first = await machine();
    await first.start();
    const more = async (vm: typeof first) => {
      const [a, b] = counts(vm);
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 5));
        const [c, d] = counts(vm);
        if (c > a && d > b) return;
      }
    };
    await more(first);
    await first.pause();
    const still = counts(first);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(counts(first)).toEqual(still);
    expect(first.vcpus[2]!.readState().cs.selector).toBe(0x800);
    const saved = structuredClone(await first.save());
    first.resume();
    await more(first);
    await first.save();
    first.reset();
    await more(first);
    await first.dispose();
    const second = await machine();
    await second.restore(saved);
    expect(counts(second)).toEqual(still);
    expect(second.vcpus[2]!.readState().cs.selector).toBe(0x800);
    void second.run();
    await more(second);
    const end = await second.stop();
    expect(end.reason).toBe('stopped');
    await second.dispose();
  });

  test('many VMs leave no descriptors, mappings and threads', async () => {
    const round = async (first = false) => {
      const vm = await makeVm({ dirtyRing: 512 }, { cpus: 2 });
      loadSmp(vm, IDLE);
      expect(runAll(vm, isPort(0x81)).some(isPort(0x81))).toBe(true);
      if (first) await untilWatched(vm);
      vm.vcpus[0]!.run(1e6, () => {});
      await vm.dispose();
      await vm.dispose();
    };
    await round(true);
    const before = inUse();
    for (let i = 0; i < (full ? 300 : 8); i++) await round();
    expect(inUse()).toEqual(before);
  }, 600_000);
});
