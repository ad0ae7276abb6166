/**
 * The record of a saved VM: every part under its name, and enough of the configuration to refuse a
 * VM that is built differently.
 */
import type { Assembly } from '../assembly/assembly.js';
import type {
  Clock,
  MemoryEncryption,
  SavedGuest,
  Snapshot,
  SnapshotValue,
} from '../interfaces/index.js';
import { isVmmError, VmmError } from '../interfaces/index.js';
import { checkReady } from './launch.js';
import type { Machine } from './machine.js';

export const VM_RECORD_TYPE = 'cloister-vm';
const VERSION = 1;

type Fields = { readonly [key: string]: SnapshotValue | undefined };

/** What a VM must have in common with the saved one. */
function configuration(assembly: Assembly): Fields {
  const { options } = assembly.parts;
  const backend = assembly.single('backend');
  return {
    memory: options.memory,
    cpus: options.cpus,
    backend: backend?.name ?? '',
    cpu: backend?.cpu ?? 'any',
    protection: assembly.single('memory encryption')?.name ?? 'none',
    regions: assembly.memory.regions.map(({ name, gpa, size }) => ({ name, gpa, size })),
    devices: assembly.devices.map(({ name }) => name),
  };
}

function named(snapshots: Iterable<readonly [string, Snapshot]>): Fields {
  return Object.fromEntries([...snapshots].map(([name, each]) => [name, plain(each)]));
}

function plain({ type, version, state }: Snapshot): Fields {
  return { type, version, state };
}

/** A VM that was saved, and the last word about its guest (`SavedGuest.settle`). */
export interface SavedVm {
  readonly snapshot: Snapshot;
  settle(leaves: boolean): void;
}

/**
 * Saves a VM that stands still, which it must until `settle`. `VmmError('unsupported')` under a
 * protection that saves nothing.
 */
export function saveVm(assembly: Assembly, machine: Machine): SavedVm {
  const { clock, input } = assembly.parts;
  const vm = assembly.backendVm;
  const rest = {
    configuration: configuration(assembly),
    seed: String(assembly.seed),
    epochSeconds: clock.epochSeconds,
    clock: { ...clock.save() },
    machine: plain(machine.snapshot()),
    input: plain(input.snapshot()),
    randoms: named(assembly.saveRandoms()),
    devices: named(assembly.devices.map((device) => [device.name, device.snapshot()] as const)),
  };
  const guest = savedGuest(assembly);
  const settle = (leaves: boolean) => guest?.settle?.(leaves);
  try {
    const backend = plain(vm.snapshot(guest === null ? undefined : (gpa) => guest.saves(gpa)));
    const state = { ...rest, backend, ...(guest !== null && { protection: plain(guest.record) }) };
    return { snapshot: { type: VM_RECORD_TYPE, version: VERSION, state }, settle };
  } catch (error) {
    throw stayAfter(error, settle);
  }
}

function savedGuest(assembly: Assembly): SavedGuest | null {
  const encryption = assembly.single('memory encryption');
  if (encryption === null) return null;
  return requireSaving(encryption).save(assembly.backendVm);
}

/** The guest stays: `error`, and what came of that beside it. */
export function stayAfter(error: unknown, settle: SavedVm['settle']): unknown {
  try {
    settle(false);
    return error;
  } catch (second) {
    const code = isVmmError(error) ? error.code : 'io-failed';
    return new VmmError(code, `${textOf(error)}; then ${textOf(second)}`, { cause: error });
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

type Saving = MemoryEncryption & Required<Pick<MemoryEncryption, 'save' | 'restore'>>;

function requireSaving(encryption: MemoryEncryption): Saving {
  const { name, save, restore } = encryption;
  if (save !== undefined && restore !== undefined) return encryption as Saving;
  throw new VmmError('unsupported', `a guest under ${name} can be neither saved nor restored`, {
    remedy: 'its key never leaves the secure processor: launch it anew',
  });
}

function mismatch(message: string): never {
  throw new VmmError('snapshot-mismatch', message, {
    remedy: 'restore with the options and plugins with which the VM was saved',
  });
}

function fields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) {
    mismatch(`the saved VM has no ${what}`);
  }
  return value as Fields;
}

function snapshotOf(value: unknown, what: string): Snapshot {
  const { type, version, state } = fields(value, what);
  if (typeof type !== 'string' || typeof version !== 'number' || state === undefined) {
    mismatch(`the saved state of ${what} is damaged`);
  }
  return { type, version, state };
}

function checkConfiguration(saved: Fields, present: Fields): void {
  for (const [name, value] of Object.entries(present)) {
    const [before, now] = [JSON.stringify(saved[name]), JSON.stringify(value)];
    if (before !== now) mismatch(`the VM was saved with ${name} ${before}; this one has ${now}`);
  }
}

/**
 * Puts the record into a VM that has not run yet. Time stands at its saved value from the start,
 * so that processors and devices can set their timers by it; interrupt lines are held until all
 * are there. Timers due in the same nanosecond then fire in the order of restoring, which need not
 * be the order in which the saved VM had set them.
 */
export function restoreVm(record: Snapshot, assembly: Assembly, machine: Machine): void {
  const { clock, input, lines, options } = assembly.parts;
  if (record.type !== VM_RECORD_TYPE) mismatch(`this is a ${record.type}, not a saved VM`);
  if (record.version !== VERSION) mismatch(`version ${record.version} of a saved VM is not known`);
  const state = fields(record.state, 'state');
  checkConfiguration(fields(state['configuration'], 'configuration'), configuration(assembly));
  const { mode, now } = fields(state['clock'], 'clock');
  const { epochSeconds, seed } = state;
  const known = mode === 'icount' || mode === 'wall';
  if (!known || typeof now !== 'number' || !Number.isFinite(now) || now < 0) {
    mismatch('the saved clock is damaged');
  }
  if (typeof epochSeconds !== 'number') mismatch('the saved date is damaged');
  if (typeof seed !== 'string' || !/^[0-9]{1,20}$/.test(seed))
    mismatch('the saved seed is damaged');
  lines.hold();
  clock.epochSeconds = epochSeconds;
  clock.beginRestore(chosenMode(options.clock, mode), now);
  assembly.backendVm.restore(snapshotOf(state['backend'], 'backend'));
  restoreProtected(assembly, state);
  clock.endRestore();
  const randoms = Object.entries(fields(state['randoms'], 'randoms')).map(
    ([name, saved]) => [name, snapshotOf(saved, `random generator ${name}`)] as const,
  );
  assembly.restoreRandoms(BigInt(seed), new Map(randoms));
  const devices = fields(state['devices'], 'devices');
  for (const device of assembly.devices) {
    device.restore(snapshotOf(devices[device.name], `device ${device.name}`));
  }
  input.restore(snapshotOf(state['input'], 'input'));
  input.seek(assembly.backendVm.instructions(), clock.now());
  machine.restore(snapshotOf(state['machine'], 'machine'));
  lines.release();
}

function restoreProtected(assembly: Assembly, state: Fields): void {
  const encryption = assembly.single('memory encryption');
  if (encryption === null) return;
  const record = snapshotOf(state['protection'], 'the protection');
  requireSaving(encryption).restore(assembly.backendVm, record);
  checkReady(encryption, assembly.backendVm);
}

/** A clock that was asked for wins over the saved one. */
function chosenMode(asked: Clock['mode'] | 'auto', saved: Clock['mode']): Clock['mode'] {
  return asked === 'auto' ? saved : asked;
}
