/**
 * Which forms of the instruction table execute: in the programs of the corpus, and while Linux
 * boots. The emulated processor is asked to say what it decodes.
 */
import { EmulatedVm } from '../../packages/backend-emu/src/emulated-vm.js';
import { emulatedBackend } from '../../packages/backend-emu/src/index.js';
import { boot, linux } from '../../packages/core/src/boot/index.js';
import { selectCpu } from '../../packages/core/src/cpu/index.js';
import { pc, serial } from '../../packages/core/src/devices/index.js';
import { type CpuBackend, createVm, definePlugin } from '../../packages/core/src/index.js';
import {
  CORPUS,
  CORPUS_IMAGES,
  type CorpusProgram,
  runProgram,
} from '../../packages/core/src/testing/index.js';
import type { TableForms } from './table-forms.js';

/** A backend whose VMs note the forms that they execute in `seen`. */
function noting(table: TableForms, seen: Set<string>, cpu?: string): CpuBackend {
  const backend = emulatedBackend(cpu === undefined ? {} : { cpu });
  return {
    ...backend,
    createVm: async (options) =>
      new EmulatedVm(options, selectCpu(cpu), (decoded) => {
        const text = table.of(decoded);
        if (text !== null) seen.add(text);
      }),
  };
}

/** Forms that programs of the corpus execute; throws where one does not do what it should. */
export async function executedByPrograms(
  table: TableForms,
  corpus: readonly CorpusProgram[] = CORPUS,
): Promise<string[]> {
  const seen = new Set<string>();
  for (const program of corpus) {
    const image = CORPUS_IMAGES[program.name];
    const { differences } = await runProgram(noting(table, seen), program, image);
    if (differences.length > 0) throw new Error(`${program.name}: ${differences[0]}`);
  }
  return [...seen].sort();
}

export interface BootResult {
  readonly forms: readonly string[];
  readonly console: string;
}

export interface BootFiles {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
}

/** Forms that execute until user space has printed `until` and powered off. */
export async function executedByBoot(
  table: TableForms,
  files: BootFiles,
  until: string,
): Promise<BootResult> {
  const seen = new Set<string>();
  const backend = noting(table, seen);
  const { capabilities } = await backend.probe();
  const plugin = definePlugin({
    name: 'coverage',
    version: '0.0.0',
    api: 1,
    requires: [],
    provides: capabilities,
    setup: (context) => context.setBackend(backend),
  });
  const vm = await createVm({ memory: '256M', seed: 1 })
    .use(plugin, pc(), serial())
    .use(boot(linux({ ...files, append: 'console=ttyS0 panic=-1' })))
    .build();
  let console = '';
  vm.events.console.subscribe(({ bytes }) => {
    console += String.fromCharCode(...bytes);
  });
  await vm.run();
  await vm.dispose();
  if (!console.includes(until)) throw new Error(`Linux did not come to ${until}`);
  return { forms: [...seen].sort(), console };
}
