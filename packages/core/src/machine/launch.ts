/**
 * Brings a guest to its first instruction: ACPI tables, contents of memory, the boot source's plan,
 * the protection's launch, registers, and the late check that a protection is really active.
 */
import { acpiTables } from '../acpi/tables.js';
import type { Assembly } from '../assembly/assembly.js';
import { loadPlan } from '../boot/load-plan.js';
import { ramRanges } from '../boot/memory-layout.js';
import { checkPlacement, spansOf } from '../boot/placement.js';
import type { BackendVm, BootMachine, LaunchPlan, MemoryEncryption } from '../interfaces/index.js';
import { ACPI_FIXED_HARDWARE, INTERRUPT_ROUTER, VmmError } from '../interfaces/index.js';

/** The machine as boot sources see it: tables only where a plugin provides their hardware. */
export function bootMachine(assembly: Assembly): BootMachine {
  const { options, container } = assembly.parts;
  const encryption = assembly.single('memory encryption');
  const hardware = container.has(ACPI_FIXED_HARDWARE) ? container.get(ACPI_FIXED_HARDWARE) : null;
  return {
    ramSize: options.memory,
    ram: ramRanges(options.memory),
    cpus: options.cpus,
    acpi:
      hardware === null
        ? null
        : acpiTables({
            cpus: options.cpus,
            nodes: assembly.acpiNodes,
            hardware,
            ...(container.has(INTERRUPT_ROUTER) && {
              interrupts: container.get(INTERRUPT_ROUTER),
            }),
          }),
    cBit: encryption?.cBit ?? null,
    reserved: encryption?.additions?.(options.cpus).regions ?? [],
    protection: encryption?.protection ?? 'none',
  };
}

/** What is to be loaded; `VmmError('missing-capability')` without a boot source. */
export function makePlan(assembly: Assembly): LaunchPlan {
  const source = assembly.single('boot source');
  if (source === null) {
    throw new VmmError('missing-capability', 'there is nothing to boot', {
      remedy: 'use a plugin that sets a boot source, such as boot() of @cloister/core/boot',
    });
  }
  const machine = bootMachine(assembly);
  const plan = source.plan(machine);
  const additions = assembly.single('memory encryption')?.additions?.(machine.cpus);
  if (additions === undefined) return plan;
  const regions = [...plan.regions, ...additions.regions];
  checkPlacement(machine.ram, spansOf(regions));
  return { ...plan, regions, vcpus: new Map([...plan.vcpus, ...additions.vcpus]) };
}

/** The same as a protection launches it, with what plugins have put into memory. */
export function protectedPlan(assembly: Assembly): LaunchPlan {
  return withRegions(assembly, makePlan(assembly));
}

/** Loads `plan` and sets the registers. */
export async function launch(assembly: Assembly, plan: LaunchPlan): Promise<void> {
  const vm = assembly.backendVm;
  const encryption = assembly.single('memory encryption');
  for (const index of plan.vcpus.keys()) {
    if (vm.vcpus[index] === undefined) {
      throw new VmmError('invalid-config', `the boot plan starts CPU ${index}, which is not there`);
    }
  }
  assembly.memory.load(vm, encryption === null ? 'all' : 'shared');
  if (encryption === null) loadPlan(plan, vm.memory);
  else await encryption.launch(vm, withRegions(assembly, plan));
  // A protection that measures register states has set them itself.
  const measured = encryption !== null && encryption.protection !== 'sev';
  if (!measured) for (const [index, state] of plan.vcpus) vm.vcpus[index]!.writeState(state);
  if (encryption !== null) checkReady(encryption, vm);
}

/**
 * What a protection launches: firmware and other contents of memory come first. A guest fetches
 * its code as private, and the owner has them measured.
 */
function withRegions(assembly: Assembly, plan: LaunchPlan): LaunchPlan {
  const regions = assembly.memory.launchRegions();
  return regions.length === 0 ? plan : { ...plan, regions: [...regions, ...plan.regions] };
}

/** `VmmError('protection-inactive')` unless the protection says that the guest may run. */
export function checkReady(encryption: MemoryEncryption, vm: BackendVm): void {
  if (encryption.ready(vm)) return;
  throw new VmmError(
    'protection-inactive',
    `protection ${encryption.name} was asked for and is not active; the VM was not started`,
    { remedy: 'look at cloister probe for what the host lacks, or run without protection' },
  );
}

/** Zeroes all writable memory: a machine that starts again must not find its past. */
export function clearRam(vm: BackendVm): void {
  for (const slot of vm.memory.slots) {
    if (!slot.readOnly) vm.memory.discard(slot.gpa, slot.size);
  }
}
