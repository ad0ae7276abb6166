/**
 * What one plugin sees of the VM under assembly: the assembly under the plugin's name.
 */
import type { AnyExitHandler, PluginContext } from '../interfaces/index.js';
import type { Assembly } from './assembly.js';
import { guardedClock, guardedDoorbells, guardedInput, type PortFault } from './plugin-ports.js';

/** The context of plugin `name`. */
export function pluginContext(assembly: Assembly, name: string): PluginContext {
  const { options, clock, input, events, control, router, lines, container, lifecycle } =
    assembly.parts;
  const fault: PortFault = (who, error) => events.pluginFault(name, who, error);
  return {
    clock: guardedClock(clock, fault),
    get random() {
      return assembly.random(`plugin:${name}`);
    },
    input: guardedInput(input, fault),
    events: events.viewOf(name),
    switches: events.switches,
    control,
    ramSize: options.memory,
    cpus: options.cpus,
    dma: assembly.dma,
    get memory() {
      return assembly.backendVm.memory;
    },
    get interrupts() {
      return assembly.backendVm.interrupts;
    },
    get vcpus() {
      return assembly.backendVm.vcpus;
    },
    get doorbells() {
      const { doorbells } = assembly.backendVm;
      const seen = router.kinds();
      if (doorbells === undefined || seen.has('mmio') || seen.has('io')) return undefined;
      return guardedDoorbells(doorbells, fault);
    },
    addDevice: (device) => assembly.addDevice(device, name),
    addMemory: (region) => assembly.memory.add(region),
    addExitHandler: (handler) => router.add(handler as unknown as AnyExitHandler, name),
    irq: (gsi) => lines.line(gsi),
    consoleOutput: (source, byte) => events.console.put(source, byte),
    guestFault: (message) => events.fault({ kind: 'guest-fault', plugin: name, message }),
    addAcpiNode: (node) => void assembly.acpiNodes.push(node),
    setBackend: (backend) => assembly.setSingle('backend', backend, name),
    setBootSource: (source) => assembly.setSingle('boot source', source, name),
    setMemoryEncryption: (encryption) => assembly.setSingle('memory encryption', encryption, name),
    setInstructionAssist: (assist) => assembly.setSingle('instruction assist', assist, name),
    addCpuExtension: (extension) => void assembly.extensions.push(extension),
    addSummary: (run) => void assembly.summaries.push({ plugin: name, run }),
    provide: (token, value) => container.provide(token, value, name),
    get: (token) => container.get(token, name),
    onStart: (run) => void assembly.startHooks.push({ plugin: name, run }),
    onReset: (run) => void assembly.resetHooks.push({ plugin: name, run }),
    onDispose: (dispose) => lifecycle.onDispose(dispose),
  };
}
