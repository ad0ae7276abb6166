/**
 * The corpus of guest programs on the real KVM, where there is one: with emulation assist off, and
 * on (a sample here, all with CLOISTER_FULL=1). What weak hosts do otherwise is listed for those,
 * by the program that finds it.
 */
import { emulatedAssist } from '@cloister/backend-emu';
import { type BackendSubject, backendKit, CORPUS, type KitReport } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { kvmBackend } from './backend.js';
import { whyNoKvm } from './testing/index.js';
import * as weakHost from './testing/weak-host.js';

const reason = whyNoKvm();
const full = process.env.CLOISTER_FULL === '1';
const weak = weakHost.isWeakHost();
const host = weak ? 'kvm without hardware virtualization' : 'kvm';
const { UNSTEADY, STOPPED, WRONG, WRONG_ASSISTED } = weakHost;

/** Programs that weak hosts run with the assist only. */
const SAMPLE = [
  'real-exceptions',
  'exception-priority',
  'task-switch',
  'segment-info',
  'sysenter',
  'call-gates',
];

const runs = (subject: Omit<BackendSubject, 'make'>): (() => KitReport) =>
  backendKit(
    { describe, it },
    {
      // In threads of their own: tests/kvm-vcpus.test.ts.
      make: () => kvmBackend({ parallel: false }),
      deadlineMs: 10_000,
      unsteady: weak ? UNSTEADY : {},
      print: (line) => {
        if (full || !line.startsWith(' ')) process.stderr.write(`${line}\n`);
      },
      ...subject,
      name: `${host}, ${subject.name}`,
    },
  );

/** Programs that could run here: not those for features that this processor does not state. */
const possible = ({ programs }: KitReport) =>
  programs.filter(({ verdict, notes }) => {
    return verdict !== 'skipped' || !notes.some((note) => note.startsWith('cpuid:'));
  });

const notRun = (report: KitReport) =>
  possible(report)
    .filter(({ ran }) => !ran)
    .map(({ program }) => program)
    .sort();

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  const alone = runs({ name: 'assist off', deviations: weak ? { ...WRONG, ...STOPPED } : {} });

  it('runs at least 60 % of the corpus by itself', () => {
    const report = alone();
    expect(notRun(report).length).toBeLessThanOrEqual(0.4 * possible(report).length);
  });

  const helped = runs({
    name: full ? 'assist on' : 'assist on, a sample',
    assist: emulatedAssist,
    programs: full ? CORPUS : CORPUS.filter(({ name }) => SAMPLE.includes(name)),
    deviations: weak ? { ...WRONG, ...WRONG_ASSISTED } : {},
  });

  it('runs all of it with help', () => {
    expect(notRun(helped())).toEqual([]);
  });
});
