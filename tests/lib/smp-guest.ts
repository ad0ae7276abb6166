// A guest for several CPUs: the first wakes the others, which execute `each`, count themselves in
// and halt. The first waits for all, writes to port 0x99 and halts.
import { load, protectedMode } from '@cloister/backend-kvm/testing';

type Vm = Parameters<typeof load>[0];

/** CPUs that are through with `each`; a dword. */
export const COUNT = 0x5000;
const AP = 0x8000;

const dword = (value: number) => [0, 8, 16, 24].map((bit) => (value >>> bit) & 0xff);

const first = (others: number) => [
  ...[0xbb, ...dword(0xfee00000)], // mov ebx, the local APIC
  ...[0xc7, 0x83, ...dword(0xf0), ...dword(0x1ff)], // its software enable
  ...[0xc7, 0x83, ...dword(0x300), ...dword(0xc4500)], // INIT to all others
  ...[0xc7, 0x83, ...dword(0x300), ...dword(0xc4608)], // SIPI: 0x8000
  ...[0x81, 0x3d, ...dword(COUNT), ...dword(others), 0x72, 0xf4], // cmp [COUNT], others; jb
  ...[0xe6, 0x99, 0xfa, 0xf4, 0xeb, 0xfd], // out 0x99, al; cli; hlt; jmp to the hlt
];

/** Real mode; lock inc dword [COUNT]; cli; hlt; jmp to the hlt. */
const DONE = [0xf0, 0x66, 0xff, 0x06, COUNT & 0xff, COUNT >> 8, 0xfa, 0xf4, 0xeb, 0xfd];

/** Loads it; the others then execute `each`, real-mode code. */
export function loadSmp(vm: Vm, each: readonly number[]): void {
  load(vm, first(vm.vcpus.length - 1));
  vm.memory.write(AP, Uint8Array.from([...each, ...DONE]));
  vm.vcpus[0]!.writeState(protectedMode(0x1000));
}

/** mov cx, count; L: mov al, cl; out 0x80, al; loop L */
export const outs = (count: number) => [
  ...[0xb9, count & 0xff, count >> 8, 0x88, 0xc8, 0xe6, 0x80, 0xe2, 0xfa],
];

/** out 0x81, al; for ever nothing: what writes on and on overruns a weak host's dirty ring. */
export const IDLE = [0xe6, 0x81, 0xeb, 0xfe];

/** out 0x81, al; for ever: inc dword [0x6000] */
export const SPIN = [0xe6, 0x81, 0x66, 0xff, 0x06, 0x00, 0x60, 0xeb, 0xf9];
