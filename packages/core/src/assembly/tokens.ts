/**
 * Tokens of what core puts into a VM's container: what a plugin may `get`, besides the services of
 * other plugins. `Symbol.for`: two copies of this package in one process mean the same thing.
 */
import type {
  Clock,
  CpuBackend,
  ExitRouter,
  GuestMemory,
  InputPort,
  IrqLines,
  MachineControl,
  ServiceToken,
} from '../interfaces/index.js';

/** A token for a service of type `T`; plugins make theirs with their package's name in `name`. */
export function serviceToken<T>(name: string): ServiceToken<T> {
  return { key: Symbol.for(name) };
}

export const CLOCK: ServiceToken<Clock> = serviceToken('@cloister/core/Clock');
export const INPUT_PORT: ServiceToken<InputPort> = serviceToken('@cloister/core/InputPort');
export const MACHINE_CONTROL: ServiceToken<MachineControl> = serviceToken(
  '@cloister/core/MachineControl',
);
export const EXIT_ROUTER: ServiceToken<ExitRouter> = serviceToken('@cloister/core/ExitRouter');
export const IRQ_LINES: ServiceToken<IrqLines> = serviceToken('@cloister/core/IrqLines');
export const CPU_BACKEND: ServiceToken<CpuBackend> = serviceToken('@cloister/core/CpuBackend');
/** Usable from `onStart` on, an error before. */
export const GUEST_MEMORY: ServiceToken<GuestMemory> = serviceToken('@cloister/core/GuestMemory');
