/**
 * From the options of a run to a machine: which plugins, in which order, with which files.
 */
import { readFileSync } from 'node:fs';
import { createVm, type LaunchPlan, type Vm, type VmOptions, type VmPlugin } from '@cloister/core';
import { boot, kernelSource } from '@cloister/core/boot';
import {
  bootTimer,
  debugExit,
  pc,
  type SerialInput,
  type SerialInputPort,
  serial,
} from '@cloister/core/devices';
import { type ConsoleEnd, memoryDisk, VIRTIO_CONSOLE } from '@cloister/virtio';
import { assistPlugin, backendPlugin, type CpuChoice } from './backends.js';
import { fileError } from './error-report.js';
import type { Machine } from './machine.js';
import { loadPlugin } from './module-loader.js';
import { protectionPlugins } from './protection.js';
import { RecordingFile, readRecording } from './recording-file.js';
import type { Assemble, MachinePorts } from './run.js';
import type { RunOptions } from './run-options.js';
import { readState, type SavedVm } from './state-file.js';
import { openDisk, virtioPlugins } from './virtio-devices.js';
import { VmMachine } from './vm-machine.js';

/** Fields that the user gave: only those have to agree with a recording or a saved VM. */
type Given = ReadonlySet<keyof RunOptions>;

/** The assembly of a run; `backend` makes the plugin of a backend by its name. */
export function assembler(given: Given, backend = backendPlugin): Assemble {
  return async (options, ports) => {
    const saved = options.restore === undefined ? undefined : await readState(options.restore);
    const plugin = await backend(options.backend, cpuChoice(options, saved));
    return assemble(options, given, ports, plugin, saved);
  };
}

/**
 * What the guest of such a run is launched with. No VM is made, and of the host's files only the
 * guest's own are read: kernel, initrd, plugins.
 */
export async function planRun(options: RunOptions, given: Given): Promise<LaunchPlan> {
  const backend = await backendPlugin(options.backend, cpuChoice(options));

  const plugins = await choosePlugins(options, {}, () => memoryDisk(new Uint8Array(512)));
  return createVm(vmOptions(options, given, undefined))
    .use(backend, plugins)
    .plan();
}

function cpuChoice(options: RunOptions, saved?: SavedVm): CpuChoice {
  const cpu = options.cpu ?? saved?.cpu;
  const { jit } = options;
  return { ...(cpu !== undefined && { cpu }), ...(jit !== undefined && { jit }) };
}

async function assemble(
  options: RunOptions,
  given: Given,
  ports: MachinePorts,
  backend: VmPlugin,
  saved: SavedVm | undefined,
): Promise<Machine> {
  const { record } = options;
  const recording =
    record === undefined ? undefined : new RecordingFile(record, ports.recordingFailed);
  const builder = createVm({
    ...vmOptions(options, given, saved),
    ...(recording && { record: (input) => recording.add(input) }),
  });
  const input = new LateInput(ports.input);
  if (saved === undefined) input.attach();
  builder.use(backend, await choosePlugins(options, { output: ports.output, input }, openDisk));
  const vm = await builder.build();
  try {
    // What was queued before would be lost: the saved VM brings its own queue.
    if (saved !== undefined) await vm.restore(saved.snapshot);
    input.attach();
    if (options.console === 'virtio') followSize(vm, ports);
    recording?.begin(vm.recording());
    return new VmMachine(vm, options, ports, recording);
  } catch (error) {
    await vm.dispose();
    throw error;
  }
}

/** Tells the guest's console the size of the terminal, now and whenever it changes. */
function followSize(vm: Vm, { terminalSize }: MachinePorts): void {
  const { resize } = vm.get(VIRTIO_CONSOLE);
  terminalSize?.(({ columns, rows }) => resize(columns, rows));
}

/** Connects the terminal to the serial port when both are there and `attach` was called. */
class LateInput implements SerialInput {
  readonly #source: SerialInput | undefined;
  #port: SerialInputPort | undefined;
  #attached = false;

  constructor(source: SerialInput | undefined) {
    this.#source = source;
  }

  get live(): boolean {
    return this.#source?.live ?? false;
  }

  get waitsForRts(): boolean {
    return this.#source?.waitsForRts ?? false;
  }

  connect(port: SerialInputPort): void {
    this.#port = port;
    if (this.#attached) this.#source?.connect(port);
  }

  attach(): void {
    if (!this.#attached && this.#port) this.#source?.connect(this.#port);
    this.#attached = true;
  }
}

async function choosePlugins(
  options: RunOptions,
  terminal: ConsoleEnd,
  open: typeof openDisk,
): Promise<VmPlugin[]> {
  return [
    pc(),
    serial(options.console === 'serial' ? terminal : {}),
    debugExit(),
    bootTimer(),
    ...(options.assist ? [await assistPlugin()] : []),
    ...(await protectionPlugins(options)),
    ...virtioPlugins(options, terminal, open),
    ...(options.kernel === undefined ? [] : [bootPlugin(options, options.kernel)]),
    ...(await Promise.all(options.plugins.map(loadPlugin))),
  ];
}

function bootPlugin(options: RunOptions, kernel: string): VmPlugin {
  const { initrd, append, entry, flatMode, loadAddress } = options;
  const flatGiven = flatMode !== undefined || loadAddress !== undefined;
  return boot(
    kernelSource({
      kernel: readBytes('kernel', kernel),
      initrd: initrd === undefined ? undefined : readBytes('initrd', initrd),
      append,
      entry: entry ?? (flatGiven ? 'flat' : undefined),
      flat: { mode: flatMode, loadAddress },
    }),
  );
}

function readBytes(what: string, path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw fileError(what, path, error);
  }
}

function vmOptions(options: RunOptions, given: Given, saved: SavedVm | undefined): VmOptions {
  const { clock, replay, onReset } = options;
  // Where a file says what the VM is, only what the user insists on is said beside it.
  const ask = saved === undefined && replay === undefined ? () => true : given.has.bind(given);
  return {
    ...(saved && { memory: saved.memory, cpus: saved.cpus }),
    ...(ask('memory') && { memory: options.memory }),
    ...(ask('cpus') && { cpus: options.cpus }),
    ...(options.seed !== undefined && { seed: options.seed }),
    ...(clock !== undefined && { clock }),
    ...(replay !== undefined && { replay: readRecording(replay) }),
    ...(options.requireHardware && { requireHardware: true }),
    onReset,
  };
}
