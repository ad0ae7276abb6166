/**
 * How Linux starts its other CPUs in an SEV-ES guest that has no firmware.
 *
 * A start-up IPI can't set CS:IP of a CPU whose registers are encrypted: the CPU starts where its
 * VMSA says. Linux expects it to wait in firmware, which then jumps to where a table says (IP and
 * CS, 16 bits each), and asks the hypervisor for the table's address. Two pages below 1 MiB do
 * that here: a stub in which the VMSAs of all CPUs but the first begin, in real mode, and the
 * table. They are private, measured, and reserved in memory maps, since Linux does not map RAM
 * otherwise. Linux fills in the table before it sends the first IPI, so that the stub jumps at
 * once; a CPU that comes early asks the hypervisor to wake it when the next IPI comes.
 *
 * Source: GHCB specification 56421, 4.3 "SMP booting"; Linux 6.1 arch/x86/kernel/sev.c,
 * sev_es_setup_ap_jump_table.
 */
import { type LaunchRegion, type PlanAdditions, resetState, type VcpuState } from '@cloister/core';

/** Between the BIOS data area and what boot sources lay out. */
const STUB = 0x4000;
export const AP_JUMP_TABLE = 0x5000;
const PAGE_SIZE = 4096;

/** Real mode, CS:0 the stub's start; the table is the page behind it. */
const CODE = Uint8Array.of(
  0xfa, //                                           cli
  // wait:
  ...[0x2e, 0x66, 0x83, 0x3e, 0x00, 0x10, 0x00], //  cmp dword [cs:0x1000], 0
  ...[0x75, 0x17], //                                jne go
  ...[0x66, 0xb9, 0x30, 0x01, 0x01, 0xc0], //        mov ecx, 0xc0010130, the GHCB MSR
  ...[0x66, 0xb8, 0x06, 0x00, 0x00, 0x00], //        mov eax, 6, the request for a reset hold
  ...[0x66, 0x31, 0xd2], //                          xor edx, edx
  ...[0x0f, 0x30], //                                wrmsr
  ...[0xf3, 0x0f, 0x01, 0xd9], //                    vmgexit
  ...[0xeb, 0xe0], //                                jmp wait
  // go:
  ...[0x2e, 0xff, 0x2e, 0x00, 0x10], //              jmp far [cs:0x1000]
);

/** The pages and CPU states of a VM with so many CPUs; none of them with one. */
export function apStart(cpus: number): PlanAdditions {
  if (cpus < 2) return { regions: [], vcpus: new Map() };
  const others = Array.from({ length: cpus - 1 }, (_, i) => [i + 1, stubState()] as const);
  return {
    regions: [page('ap-start', STUB, CODE), page('ap-jump-table', AP_JUMP_TABLE)],
    vcpus: new Map(others),
  };
}

function page(name: string, gpa: number, contents = new Uint8Array()): LaunchRegion {
  const bytes = new Uint8Array(PAGE_SIZE);
  bytes.set(contents);
  return { name, gpa, bytes, type: 'normal' };
}

/** The state after reset, but for where it begins and without the caches' being off. */
function stubState(): VcpuState {
  const state = resetState();
  state.cs = { ...state.cs, selector: STUB >> 4, base: BigInt(STUB) };
  state.rip = 0n;
  return state;
}
