/**
 * Which accesses to MSRs emitted code may make by itself: those that neither an extension nor a
 * handler of exits is asked about.
 */
import { type CpuExtension, VmmError } from '@cloister/core';
import { msr } from '@cloister/core/cpu';
import { only } from './extension-set.js';

/** Bits of MSR_RIGHTS: reading FS.base, GS.base, KernelGSbase; the MSR that is kept. */
export const READ_BASE = 1 << 0;
export const READ_KEPT = 1 << 3;
export const WRITE_KEPT = 1 << 4;
export const BASES = [msr.FS_BASE, msr.GS_BASE, msr.KERNEL_GS_BASE] as const;

/** The MSR that an extension has kept by the processor; at most one has. */
export function keptMsrOf(extensions: readonly CpuExtension[]): number | null {
  const owner = only(extensions, ['keptMsr']);
  if (owner === null) return null;
  if (owner.msrs?.includes(owner.keptMsr!) === true) return owner.keptMsr!;
  throw new VmmError('invalid-argument', `${owner.name} cannot have an MSR kept`, {
    remedy: 'let `keptMsr` be one of its `msrs`',
  });
}

/** `exits`: the host is asked about accesses that no extension intercepts. */
export function msrRights(
  extensions: readonly CpuExtension[],
  kept: number | null,
  exits: boolean,
): number {
  if (exits) return 0;
  const passes = (direction: 'read' | 'write', index: number): boolean =>
    extensions.every((each) => {
      if (each.msrs?.includes(index) === true && index !== kept) return false;
      if (each.intercepts?.includes('msr') !== true) return true;
      return each.passesMsr?.(direction, index) === true;
    });
  let rights = 0;
  for (const [number, index] of BASES.entries()) {
    if (passes('read', index)) rights |= READ_BASE << number;
  }
  if (kept === null) return rights;
  if (passes('read', kept)) rights |= READ_KEPT;
  if (passes('write', kept)) rights |= WRITE_KEPT;
  return rights;
}
