/**
 * Conformance kit for CPU backends: runs the corpus of guest programs and compares what each one
 * recorded, its canonical exits (see `canonical.ts`), final registers and end with what the manuals
 * say. It needs no test framework of its own and knows only core's interfaces.
 *
 * ```ts
 * import { describe, it } from 'vitest';
 * import { backendKit } from '@cloister/core/testing';
 * backendKit({ describe, it }, { name: 'emu', make: () => emulatedBackend() });
 * ```
 *
 * A program is skipped only when something that it needs was found missing: a feature that the
 * guest's CPUID does not state, or a probe, a tiny program, that the backend gave up (an `error`
 * exit), that raised #UD, shut down or hung. A probe that ends with wrong values counts as present:
 * wrong results are failures, unless the subject lists them as a deviation of its host, by program
 * and result. What else that program gets wrong is a failure, and so is a listed deviation that
 * does not deviate.
 */
import type { CpuBackend } from '../interfaces/index.js';
import { hasFeature } from './corpus/features.js';
import { CORPUS_IMAGES } from './corpus/images.js';
import type { CorpusNeed, CorpusProgram } from './corpus/program.js';
import { CORPUS, PROBES } from './corpus/programs.js';
import { type ProgramOptions, type ProgramOutcome, runProgram } from './corpus/run-program.js';
import type { KitRunner } from './device-kit.js';

/** What a host silently does wrong in one program. */
export interface Deviation {
  readonly why: string;
  /** How the lines of what differs begin; all of them where it is left out. */
  readonly differs?: readonly string[];
}

export interface BackendSubject extends ProgramOptions {
  readonly name: string;
  /** Makes the backend; called for each program. */
  make(): CpuBackend;
  /** What the host silently does wrong, by program. */
  readonly deviations?: Readonly<Record<string, Deviation>>;
  /** What the host does right or wrong by chance: program to reason. Either is accepted. */
  readonly unsteady?: Readonly<Record<string, string>>;
  /** Of the corpus unless given. */
  readonly programs?: readonly CorpusProgram[];
  /** Takes the report's lines; not printed unless given. */
  readonly print?: (line: string) => void;
}

/** Host milliseconds for a program that is known to deviate: it may not end at all. */
const DEVIATION_MS = 5000;

export type ProgramVerdict = 'passed' | 'skipped' | 'deviated' | 'failed';

export interface ProgramReport {
  readonly program: string;
  readonly verdict: ProgramVerdict;
  /** Whether it came to its end, right or wrong: neither skipped nor stopped by an error. */
  readonly ran: boolean;
  /** What differed or was missing; the reason of a deviation. */
  readonly notes: readonly string[];
  /** Results that it recorded, of all that it should, and those that are right. */
  readonly results: { readonly right: number; readonly all: number };
}

export interface KitReport {
  readonly programs: readonly ProgramReport[];
  /** Needs that probes found missing, and why. */
  readonly missing: ReadonlyMap<CorpusNeed, string>;
}

/** What runs programs on one subject: probes run once, at their first need. */
class KitRun {
  readonly reports: ProgramReport[] = [];
  readonly missing = new Map<CorpusNeed, string>();
  private readonly probed = new Map<CorpusNeed, Promise<string | null>>();

  constructor(private readonly subject: BackendSubject) {}

  async run(program: CorpusProgram): Promise<ProgramReport> {
    const report = await this.judge(program);
    this.reports.push(report);
    return report;
  }

  async probeAll(programs: readonly CorpusProgram[]): Promise<void> {
    for (const need of new Set(programs.flatMap(({ needs }) => needs ?? []))) {
      await this.lacks(need);
    }
  }

  report(): KitReport {
    return { programs: this.reports, missing: this.missing };
  }

  private async judge(program: CorpusProgram): Promise<ProgramReport> {
    const { name } = program;
    const lacking: string[] = [];
    for (const need of program.needs ?? []) {
      const why = await this.lacks(need);
      if (why !== null) lacking.push(`${need} is missing: ${why}`);
    }
    if (lacking.length > 0) {
      const results = { right: 0, all: 0 };
      return { program: name, verdict: 'skipped', ran: false, notes: lacking, results };
    }
    const { deviations, unsteady } = this.subject;
    const deviation = deviations?.[name];
    const outcome = await this.execute(program, deviation && DEVIATION_MS);
    const { differences, errors, ran, results } = outcome;
    const by = (verdict: ProgramVerdict, notes: readonly string[]): ProgramReport => {
      return { program: name, verdict, ran, notes, results };
    };
    if (deviation !== undefined) {
      const note = `listed as a deviation (${deviation.why}), but does as it should`;
      if (differences.length === 0) return by('failed', [note]);
      const others = differences.filter((line) => !isListed(line, deviation));
      return others.length === 0 ? by('deviated', [deviation.why]) : by('failed', others);
    }
    if (differences.length === 0) return by('passed', []);
    const chance = unsteady?.[name];
    return chance === undefined
      ? by('failed', [...differences, ...errors])
      : by('deviated', [chance]);
  }

  /** Null where the subject has `need`, else why not. */
  private lacks(need: CorpusNeed): Promise<string | null> {
    let answer = this.probed.get(need);
    if (answer === undefined) {
      answer = this.probe(need).then((why) => {
        if (why !== null) this.missing.set(need, why);
        return why;
      });
      this.probed.set(need, answer);
    }
    return answer;
  }

  private async probe(need: CorpusNeed): Promise<string | null> {
    const [, feature] = /^cpuid:(.+)$/.exec(need) ?? [];
    if (feature !== undefined) {
      const bits = await this.execute(programOf('features'));
      return hasFeature(bits.memory, feature) ? null : 'CPUID does not state it';
    }
    const program = programOf(need);
    for (const each of program.needs ?? []) {
      const why = await this.lacks(each);
      if (why !== null) return `${each}: ${why}`;
    }
    return whyMissing(await this.execute(program));
  }

  private execute(program: CorpusProgram, deadlineMs?: number): Promise<ProgramOutcome> {
    const image = CORPUS_IMAGES[program.name];
    if (image === undefined) throw new Error(`program ${program.name} was not assembled`);
    const { subject } = this;
    const options = deadlineMs === undefined ? subject : { ...subject, deadlineMs };
    return runProgram(subject.make(), program, image, options);
  }
}

function isListed(line: string, { differs }: Deviation): boolean {
  return differs === undefined || differs.some((each) => line.startsWith(each));
}

function programOf(need: string): CorpusProgram {
  const program = PROBES.find(({ name }) => name === `probe-${need}`);
  if (program === undefined) throw new Error(`there is no probe for ${need}`);
  return program;
}

/** Why a probe's outcome means that the feature is missing; null where it is there. */
function whyMissing({ end, errors, exception }: ProgramOutcome): string | null {
  const [error] = errors;
  if (error !== undefined) return error;
  if (end.reason === 'debug-exit' && end.status === 1) return null;
  if (end.reason === 'debug-exit' && exception === 6) return 'its probe raised #UD';
  return end.reason === 'debug-exit' ? null : `its probe ended by ${end.reason}`;
}

/** Counts in one line, then what was missing and what deviated. */
export function reportLines(name: string, { programs, missing }: KitReport): string[] {
  const count = (verdict: ProgramVerdict) =>
    programs.filter((program) => program.verdict === verdict).length;
  const counts = (['passed', 'skipped', 'deviated', 'failed'] as const)
    .map((verdict) => `${count(verdict)} ${verdict}`)
    .join(', ');
  const ran = programs.filter((program) => program.ran);
  const sum = (of: keyof ProgramReport['results']) =>
    ran.reduce((total, { results }) => total + results[of], 0);
  const results = `of the ${sum('all')} results of those that ran ${sum('right')} are right`;
  const ends = `${programs.length} programs, ${ran.length} ran to their end`;
  return [
    `backend kit, ${name}: ${ends}: ${counts}; ${results}`,
    ...[...missing].map(([need, why]) => `  missing: ${need} (${why})`),
    ...programs
      .filter(({ verdict }) => verdict === 'deviated' || verdict === 'skipped')
      .map(({ program, verdict, notes }) => `  ${verdict}: ${program} (${notes.join('; ')})`),
  ];
}

/** Runs the corpus without a test framework. */
export async function runBackendKit(subject: BackendSubject): Promise<KitReport> {
  const run = new KitRun(subject);
  const programs = subject.programs ?? CORPUS;
  await run.probeAll(programs);
  for (const program of programs) await run.run(program);
  for (const line of reportLines(subject.name, run.report())) subject.print?.(line);
  return run.report();
}

/**
 * Declares one test for each program with the functions of a test framework. What it gives tells,
 * once those have run, how they went.
 */
export function backendKit(runner: KitRunner, subject: BackendSubject): () => KitReport {
  const { it } = runner;
  const run = new KitRun(subject);
  const programs = subject.programs ?? CORPUS;
  runner.describe(`backend kit: ${subject.name}`, () => {
    it('probes what the programs need', () => run.probeAll(programs));
    for (const program of programs) {
      it(`${program.name}: ${program.about}`, async () => {
        const { verdict, notes } = await run.run(program);
        if (verdict === 'failed') throw new Error([program.name, ...notes].join('\n  '));
      });
    }
    it('ran every program', () => {
      for (const line of reportLines(subject.name, run.report())) subject.print?.(line);
      if (run.reports.length !== programs.length) throw new Error('some programs did not run');
    });
  });
  return () => run.report();
}
