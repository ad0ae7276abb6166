/**
 * `cloister probe`: what backends this machine has. One line per backend, then what it can do,
 * indented.
 */
import type { BackendProbe, CpuBackend } from '@cloister/core';
import { isMissingModule } from './module-loader.js';

/** How to get at a backend: its package may not be installed. */
export interface BackendChoice {
  readonly name: string;
  /** The package that has it. */
  readonly module: string;
  load(): Promise<CpuBackend>;
}

export async function probe(choices: readonly BackendChoice[]): Promise<BackendProbe[]> {
  return Promise.all(choices.map(probeOne));
}

async function probeOne({ name, module, load }: BackendChoice): Promise<BackendProbe> {
  const nothing = { name, available: false, capabilities: [], details: [] };
  let backend: CpuBackend;
  try {
    backend = await load();
  } catch (error) {
    if (isMissingModule(error, module)) {
      const reason = `the ${module} package is not installed`;
      // Not every release has every backend: no package is named that npm may not have.
      return { ...nothing, reason, remedy: 'use another backend, or a release that has it' };
    }
    const reason = error instanceof Error ? error.message : String(error);
    return { ...nothing, reason: `the ${module} package does not load: ${reason}` };
  }
  return backend.probe();
}

/** The text for standard output. */
export function probeText(probes: readonly BackendProbe[]): string {
  return probes.map((each) => `${block(each).join('\n')}\n`).join('');
}

function block(result: BackendProbe): string[] {
  const facts = result.details.map(([name, value]) => `  ${name}: ${value}`);
  const words = result.capabilities.map((word) => `  ${word}`);
  if (result.available) return [`${result.name}: available`, ...facts, ...words];
  const why = [result.reason ?? 'unknown reason', result.remedy].filter((part) => part).join('; ');
  return [`${result.name}: unavailable (${why})`, ...facts, ...words];
}
