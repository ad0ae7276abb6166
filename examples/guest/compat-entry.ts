// Enters a Linux boot image as OpenBSD's vmd(8) enters a kernel that it loads itself: long mode is
// active, paging is on, and CS is a 32-bit one. The GDT holds a 64-bit CS as well, for the gate of
// #VC.
//
// Source: OpenBSD usr.sbin/vmd/loadfile_elf.c and sev.c (7.8): CS 0x8, data 0x10, 64-bit CS 0x18.
import type { BootSource, LaunchRegion } from '@cloister/core';
import { linux } from '@cloister/core/boot';

/** Offset of the entry in the guest's code. */
const COMPAT_ENTRY = 0x100;
const [CODE32, DATA, CODE64] = [0x00cf9b000000ffffn, 0x00cf93000000ffffn, 0x00af9b000000ffffn];
const CODE32_ATTRIBUTES = 0xc9b;

export function compatEntry(kernel: Uint8Array, append = ''): BootSource {
  const source = linux({ kernel, append, entry: 64 });
  return {
    name: 'compat',
    plan(machine) {
      const plan = source.plan(machine);
      const state = structuredClone(plan.vcpus.get(0)!);
      state.rip += BigInt(COMPAT_ENTRY - 0x200);
      state.cs = { ...state.cs, selector: 0x08, attributes: CODE32_ATTRIBUTES };
      for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) state[name].selector = 0x10;
      const regions = plan.regions.map((region) => (region.name === 'gdt' ? gdt(region) : region));
      return { ...plan, regions, vcpus: new Map([[0, state]]), entry: 'compat' };
    },
  };
}

function gdt(region: LaunchRegion): LaunchRegion {
  const bytes = region.bytes.slice();
  const view = new DataView(bytes.buffer);
  for (const [index, descriptor] of [CODE32, DATA, CODE64].entries()) {
    view.setBigUint64(8 + 8 * index, descriptor, true);
  }
  return { ...region, bytes };
}
