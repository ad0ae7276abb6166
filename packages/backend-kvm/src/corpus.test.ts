/**
 * The corpus of guest programs on the real KVM, where there is one: with emulation assist off, and
 * on (a sample here, all with CLOISTER_FULL=1). What weak hosts do otherwise is listed for those.
 */
import { emulatedAssist } from '@cloister/backend-emu';
import type { CpuBackend } from '@cloister/core';
import { backendKit, CORPUS } from '@cloister/core/testing';
import { afterAll, describe, it } from 'vitest';
import { kvmBackend } from './backend.js';
import { whyNoKvm } from './testing/index.js';
import * as weakHost from './testing/weak-host.js';

const reason = whyNoKvm();
const full = process.env.CLOISTER_FULL === '1';
const weak = weakHost.isWeakHost();
const host = weak ? 'kvm without hardware virtualization' : 'kvm';

/** Programs that weak hosts run with the assist only. */
const SAMPLE = ['real-exceptions', 'exception-priority', 'segment-info', 'sysenter', 'call-gates'];

/** All but those that a weak host does not run for a reason, which is printed. */
function programs(left: Readonly<Record<string, string>>, print: (line: string) => void) {
  if (!weak) return CORPUS;
  for (const [name, why] of Object.entries(left)) print(`  not run: ${name} (${why})`);
  return CORPUS.filter(({ name }) => !(name in left));
}

/** A backend whose VMs have the emulated processor as their assist. */
function assisted(backend: CpuBackend): CpuBackend {
  return {
    name: backend.name,
    probe: () => backend.probe(),
    createVm: (options) => backend.createVm({ ...options, assist: emulatedAssist() }),
  };
}

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  const { UNSTEADY, ENDLESS_ASSISTED, STOPPED, WRONG, WRONG_ASSISTED } = weakHost;
  backendKit(
    { describe, it },
    {
      name: `${host}, assist off`,
      make: () => kvmBackend(),
      deadlineMs: 10_000,
      print,
      programs: programs(UNSTEADY, print),
      deviations: weak ? { ...WRONG, ...STOPPED } : {},
    },
  );
  const all = programs({ ...UNSTEADY, ...ENDLESS_ASSISTED }, print);
  backendKit(
    { describe, it },
    {
      name: `${host}, assist on${full ? '' : ', a sample'}`,
      make: () => assisted(kvmBackend()),
      deadlineMs: 10_000,
      print,
      programs: full ? all : all.filter(({ name }) => SAMPLE.includes(name)),
      deviations: weak ? { ...WRONG, ...WRONG_ASSISTED } : {},
    },
  );
  afterAll(() => {
    const shown = full ? lines : lines.filter((line) => !line.startsWith(' '));
    process.stderr.write(`${shown.join('\n')}\n`);
  });
});
