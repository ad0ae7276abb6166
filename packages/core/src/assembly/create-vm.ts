/**
 * `createVm(options).use(plugin).build()`: from plugins to a VM that is ready to start.
 *
 * Plugins are set up in the order of `use`; then, before anything starts, names, versions,
 * capabilities and conflicts are checked; then the backend makes its VM. Whatever fails, what was
 * made is undone, in reverse.
 */
import { irqLines } from '../devices/irq-lines.js';
import { EventHub } from '../events/event-hub.js';
import { MachineInput } from '../input/machine-input.js';
import type { BackendProbe, CpuBackend, LaunchPlan, VmPlugin } from '../interfaces/index.js';
import { VmmError } from '../interfaces/index.js';
import { ControlRequests } from '../machine/control.js';
import { protectedPlan } from '../machine/launch.js';
import { Machine } from '../machine/machine.js';
import { Sleeper } from '../machine/sleeper.js';
import { Unclaimed } from '../machine/unclaimed.js';
import { VirtualMachine } from '../machine/virtual-machine.js';
import type { Vm, VmOptions } from '../machine/vm.js';
import { Router } from '../routing/exit-router.js';
import { ExitCounters } from '../summary/exit-counters.js';
import { MachineClock } from '../time/machine-clock.js';
import { Assembly } from './assembly.js';
import { checkCapabilities, checkNames } from './capabilities.js';
import { checkPlugin, definePlugin, type PluginDefinition } from './define-plugin.js';
import { Lifecycle } from './lifecycle.js';
import { type ResolvedOptions, resolveOptions } from './options.js';
import { pluginContext } from './plugin-context.js';
import * as tokens from './tokens.js';
import { VmContainer } from './vm-container.js';

/** A plugin, several (a preset), or nothing: `condition && plugin()` may stand in a list. */
export type Usable =
  | VmPlugin
  | PluginDefinition
  | readonly Usable[]
  | false
  | null
  | undefined
  | '';

export interface VmBuilder {
  /** Adds plugins; they are set up in this order. Returns the builder. */
  use(...plugins: readonly Usable[]): VmBuilder;
  /** Assembles the VM. A builder builds once: devices belong to one VM. */
  build(): Promise<Vm>;
  /**
   * In place of the VM, what its guest would be launched with: the boot source's plan, and what
   * plugins and the protection add. For predictions: the backend is asked what it has and makes no
   * VM, nothing starts, and plugins find themselves in a replay, in which they need nothing of the
   * host's. `VmmError` as from `build` and `run`.
   */
  plan(): Promise<LaunchPlan>;
}

/** Begins a VM; `VmmError('invalid-config')` names a wrong option. */
export function createVm(options: VmOptions = {}): VmBuilder {
  const resolved = resolveOptions(options);
  const plugins: VmPlugin[] = [];
  let built = false;
  const once = () => {
    if (built) {
      throw new VmmError('invalid-state', 'this builder has built its VM', {
        remedy: 'call createVm again, with new plugins',
      });
    }
    built = true;
  };
  const builder: VmBuilder = {
    use(...usable) {
      plugins.push(...flatten(usable));
      return builder;
    },
    async build() {
      once();
      return build(resolved, plugins);
    },
    async plan() {
      once();
      return plan(resolved, plugins);
    },
  };
  return builder;
}

function flatten(usable: readonly Usable[]): VmPlugin[] {
  return usable.flatMap((each) => {
    if (each === false || each === null || each === undefined || each === '') return [];
    if (Array.isArray(each)) return flatten(each as readonly Usable[]);
    checkPlugin(each);
    return [definePlugin(each)];
  });
}

async function plan(options: ResolvedOptions, plugins: readonly VmPlugin[]): Promise<LaunchPlan> {
  checkNames(plugins);
  const lifecycle = new Lifecycle();
  try {
    const replay = options.replay ?? { inputs: [] };
    const { assembly } = await settle({ ...options, replay }, plugins, lifecycle, () => {});
    return protectedPlan(assembly);
  } finally {
    await lifecycle.dispose();
  }
}

async function build(options: ResolvedOptions, plugins: readonly VmPlugin[]): Promise<Vm> {
  checkNames(plugins);
  const lifecycle = new Lifecycle();
  try {
    return await assemble(options, plugins, lifecycle);
  } catch (error) {
    try {
      await lifecycle.dispose();
    } catch (second) {
      throw new AggregateError([error, second], `assembly failed: ${textOf(error)}`);
    }
    throw error;
  }
}

async function assemble(
  options: ResolvedOptions,
  plugins: readonly VmPlugin[],
  lifecycle: Lifecycle,
): Promise<Vm> {
  const counters = new ExitCounters();
  const sleeper = new Sleeper(options.host);
  // The machine comes last; until then there is no slice and no sleep to end.
  let machine: Machine | null = null;
  const changed = () => machine?.interrupt();
  const { assembly, backend, probe } = await settle(options, plugins, lifecycle, changed);
  await makeBackendVm(assembly, backend, probe);
  const { router, clock, input, events, control } = assembly.parts;
  const unclaimed = new Unclaimed(events, counters, control, () => assembly.backendVm.memory);
  machine = new Machine({
    vm: assembly.backendVm,
    clock,
    input,
    events,
    router,
    counters,
    unclaimed,
    control,
    sleeper,
    host: options.host,
    onReset: options.onReset,
    slice: options.slice,
    quantum: options.quantum,
    mayRun: () => assembly.single('memory encryption')?.ready(assembly.backendVm) ?? true,
    reboot: () => vm.reboot(),
  });
  const vm = new VirtualMachine({ assembly, counters, machine });
  return vm;
}

/** A VM's parts, set up and checked, before the backend makes its VM. */
interface Settled {
  readonly assembly: Assembly;
  readonly backend: CpuBackend;
  readonly probe: BackendProbe;
}

/** `changed` is called when something is to be looked at between two slices. */
async function settle(
  options: ResolvedOptions,
  plugins: readonly VmPlugin[],
  lifecycle: Lifecycle,
  changed: () => void,
): Promise<Settled> {
  const events = new EventHub();
  const control = new ControlRequests(changed);
  const clock = new MachineClock(options.epochSeconds, options.host, (error) =>
    events.pluginFault(undefined, 'a timer', error),
  );
  const input = new MachineInput({
    changed,
    fault: (source, error) => events.pluginFault(undefined, `input source ${source}`, error),
  });
  // Plugins may ask while they are set up: a replay needs nothing of the host's.
  if (options.replay !== null) input.startReplay(options.replay.inputs);
  const assembly = new Assembly({
    options,
    container: makeContainer(lifecycle),
    lifecycle,
    clock,
    input,
    events,
    router: new Router({
      fault: (plugin, who, error) => events.pluginFault(plugin, who, error),
    }),
    control,
    lines: irqLines(),
  });
  registerCore(assembly);
  setUp(assembly, plugins);
  const backend = requireBackend(assembly);
  const probe = await probeBackend(backend);
  assembly.settleEncryption(probe);
  checkCapabilities(plugins, probe, assembly.single('memory encryption'));
  checkStrength(assembly);
  return { assembly, backend, probe };
}

function makeContainer(lifecycle: Lifecycle): VmContainer {
  const container = new VmContainer();
  lifecycle.onDispose(() => container.clear());
  return container;
}

/** Core's own parts, under their tokens. */
function registerCore(assembly: Assembly): void {
  const { container, clock, input, control, router, lines } = assembly.parts;
  const owner = '@cloister/core';
  container.provide(tokens.CLOCK, clock, owner);
  container.provide(tokens.INPUT_PORT, input, owner);
  container.provide(tokens.MACHINE_CONTROL, control, owner);
  container.provide(tokens.EXIT_ROUTER, router, owner);
  container.provide(tokens.IRQ_LINES, lines, owner);
  container.register(tokens.CPU_BACKEND, () => requireBackend(assembly), owner);
  container.register(tokens.GUEST_MEMORY, () => assembly.backendVm.memory, owner);
}

function setUp(assembly: Assembly, plugins: readonly VmPlugin[]): void {
  for (const plugin of plugins) {
    try {
      plugin.setup(pluginContext(assembly, plugin.name));
    } catch (error) {
      throw withPlugin(error, plugin.name);
    }
  }
}

/** Errors of a plugin's set-up carry its name. */
function withPlugin(error: unknown, plugin: string): VmmError {
  if (!(error instanceof VmmError)) {
    return new VmmError('plugin-failed', `could not be set up: ${textOf(error)}`, {
      plugin,
      cause: error,
    });
  }
  if (error.plugin !== undefined) return error;
  const { remedy, path, cause } = error;
  return new VmmError(error.code, error.message, {
    plugin,
    ...(remedy === undefined ? {} : { remedy }),
    ...(path === undefined ? {} : { path }),
    cause: cause ?? error,
  });
}

function requireBackend(assembly: Assembly): CpuBackend {
  const backend = assembly.single('backend');
  if (backend !== null) return backend;
  throw new VmmError('missing-capability', 'the VM has no processor', {
    remedy: 'use a backend plugin, such as that of @cloister/backend-emu',
  });
}

async function probeBackend(backend: CpuBackend): Promise<BackendProbe> {
  const probe = await backend.probe();
  if (probe.available) return probe;
  throw new VmmError('unavailable', `backend ${probe.name}: ${probe.reason ?? 'unavailable'}`, {
    remedy: probe.remedy ?? 'use another backend',
  });
}

function checkStrength(assembly: Assembly): void {
  const encryption = assembly.single('memory encryption');
  if (!assembly.parts.options.requireHardware || encryption?.strength === 'hardware') return;
  const found = encryption === null ? 'no protection is in use' : `${encryption.name} is emulated`;
  throw new VmmError('missing-capability', `protection by hardware was asked for; ${found}`, {
    path: 'requireHardware',
    remedy: 'use a protection of the host processor, or do not ask for hardware',
  });
}

async function makeBackendVm(
  assembly: Assembly,
  backend: CpuBackend,
  probe: BackendProbe,
): Promise<void> {
  const { memory } = assembly;
  const { options, lifecycle, clock, events, router } = assembly.parts;
  memory.checkDevices(router.bus.mmio);
  const encryption = assembly.single('memory encryption');
  const vmType = encryption?.vmType?.(probe);
  const assist = assembly.single('instruction assist');
  const vm = await backend.createVm({
    memorySize: memory.totalSize,
    cpus: options.cpus,
    clock,
    random: assembly.random('backend'),
    extensions: [...(encryption?.extensions ?? []), ...assembly.extensions],
    intercept: router.kinds(),
    ...(vmType !== undefined && { vmType }),
    ...(assist !== null && { assist }),
  });
  lifecycle.onDispose(() => vm.dispose());
  assembly.setBackendVm(vm);
  const instructions = () => Math.max(0, vm.instructions());
  clock.attach(instructions, vm.instructions() >= 0);
  events.attach(instructions);
  memory.place(vm);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
