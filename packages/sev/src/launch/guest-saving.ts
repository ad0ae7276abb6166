/**
 * Saving is sending: how the guests of SEV and of SEV-ES are saved for a platform and taken over
 * by one.
 */
import { type BackendVm, type SavedGuest, type Snapshot, VmmError } from '@cloister/core';
import { POLICY } from '../abi/policy.js';
import type { EmulatedPlatform } from './emulated-platform.js';
import { decodeStream, encodeStream, type Receiver, receiverOf } from './guest-stream.js';
import type { MigrationControl } from './migration-control.js';
import { SevGuest } from './sev-launch.js';

/** Where a guest is, or is to be. */
export interface GuestPlace {
  readonly platform: EmulatedPlatform;
  readonly migration: MigrationControl;
  readonly asid: number;
  /** System-physical addresses of the VMSAs, by vCPU; none without SEV-ES. */
  readonly vmsas: readonly number[];
}

/**
 * The guest sent to `to`, else to its own platform. It waits where it is until `settle` says
 * whether it leaves. `VmmError` where it may not be sent.
 */
export function saveGuest(
  vm: BackendVm,
  guest: SevGuest | null,
  { platform, migration, asid, vmsas }: GuestPlace,
  to: Receiver | undefined,
): SavedGuest {
  if (guest === null || !platform.psp.processor.mayRun(asid)) {
    throw new VmmError('invalid-state', 'the guest has no running context to save', {
      remedy: 'save it while it may run, and once only with leave',
    });
  }
  requireWilling(guest.policy, migration);
  const stream = guest.send(vm, {
    to: to ?? receiverOf(platform),
    isPrivate: (gpa) => !migration.shares(gpa),
    vmsas,
  });
  const always = vm.memory.slots.filter(({ encryptable }) => !encryptable);
  return {
    record: encodeStream(stream, migration.reports()),
    saves: (gpa) =>
      migration.shares(gpa) || always.some((slot) => gpa >= slot.gpa && gpa < slot.gpa + slot.size),
    settle: (leaves) => guest.settle(leaves),
  };
}

/** Its policy lets it leave, and it has told what it shares. */
function requireWilling(policy: number, migration: MigrationControl): void {
  if ((policy & POLICY.NOSEND) !== 0) {
    throw new VmmError('unsupported', "the guest's policy (NOSEND) keeps it on this platform", {
      remedy: 'launch it with a policy without bit 3, if its owner agrees',
    });
  }
  if (migration.ready) return;
  throw new VmmError('invalid-state', 'the guest has not said yet which pages it shares', {
    remedy: 'wait until its kernel has started; one without migration control is never saved',
  });
}

/** Takes over what `saveGuest` made; `policy`, if given, must be the guest's. */
export function restoreGuest(
  vm: BackendVm,
  record: Snapshot,
  { platform, migration, asid, vmsas }: GuestPlace,
  policy: number | undefined,
): SevGuest {
  const { stream, more } = decodeStream(record);
  if (policy !== undefined && policy !== stream.policy) {
    throw new VmmError(
      'snapshot-mismatch',
      `the guest was launched with policy 0x${stream.policy.toString(16)}`,
      { path: 'policy', remedy: 'leave the policy out, or give that one' },
    );
  }
  migration.takeOver(more, vm.memory);
  const isPrivate = (gpa: number) => !migration.shares(gpa);
  return SevGuest.receive(platform, vm, stream, { asid, isPrivate, vmsas });
}
