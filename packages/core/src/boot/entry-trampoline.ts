/**
 * For tests: a 64 KiB firmware image that does nothing but bring a processor from reset into a vCPU
 * state of a launch plan, so that another emulator can run what a boot source laid out.
 *
 * Source: AMD APM vol. 2, 14.6 (enabling protected and long mode); vol. 3 for the encodings.
 * Takes the general registers, RIP, the control registers, EFER and the GDT from the state, and
 * the flat selectors of `entry-state.ts`.
 */
import type { VcpuState } from '../interfaces/vcpu-state.js';
import { BOOT_CS, BOOT_DS } from './entry-state.js';

const SIZE = 0x10000;
/** Where the image lies below 4 GiB; the reset vector is 16 bytes before its end. */
const BASE = 0xffff0000;
const RESET_OFFSET = 0xfff0;
const TABLES = 0x8000;

/** Encodings of `mov Sreg, ax` for ds, es, ss, fs, gs. */
const LOAD_SEGMENTS = [0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0x8e, 0xe0, 0x8e, 0xe8];
/** General registers in encoding order; RAX comes last where code needs EAX. */
const REGISTERS = ['rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'rax'] as const;
const ENCODING = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7 } as const;

/** `value` as little-endian bytes. */
function le(value: bigint | number, length: number): number[] {
  const big = BigInt(value);
  return Array.from({ length }, (_, index) => Number((big >> BigInt(8 * index)) & 0xffn));
}

const movEax = (value: bigint | number) => [0xb8, ...le(value, 4)];

/** The firmware image for `state`. */
export function entryTrampoline(state: VcpuState): Uint8Array {
  const image = new Uint8Array(SIZE);
  image.set((state.cr0 & 1n) === 0n ? realMode(state) : protectedMode(image, state));
  // jmp near to offset 0
  image.set([0xe9, ...le(0x10000 - (RESET_OFFSET + 3), 2)], RESET_OFFSET);
  return image;
}

function realMode(state: VcpuState): number[] {
  return [
    0xfa, // cli
    ...[0x31, 0xc0], // xor ax, ax
    ...LOAD_SEGMENTS,
    ...[0x66, 0xbc, ...le(state.gpr.rsp, 4)], // mov esp, imm32
    ...[0x66, 0xba, ...le(state.gpr.rdx, 4)], // mov edx, imm32
    ...[0xea, ...le(state.rip, 2), ...le(state.cs.selector, 2)], // jmp far
  ];
}

function protectedMode(image: Uint8Array, state: VcpuState): number[] {
  const gdt = [0n, 0n, 0x00cf9b000000ffffn, 0x00cf93000000ffffn].flatMap((entry) => le(entry, 8));
  const ownGdtr = TABLES + gdt.length;
  const planGdtr = ownGdtr + 8;
  image.set(gdt, TABLES);
  image.set([...le(gdt.length - 1, 2), ...le(BASE + TABLES, 4)], ownGdtr);
  image.set([...le(state.gdtr.limit, 2), ...le(state.gdtr.base, 4)], planGdtr);
  const code = [
    0xfa, // cli
    ...[0x2e, 0x66, 0x0f, 0x01, 0x16, ...le(ownGdtr, 2)], // lgdt cs:[own]
    ...[0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0], // mov eax, cr0; or al, 1; mov cr0, eax
  ];
  const jump = (from: number[], prefix: number[]) => {
    const target = BASE + from.length + prefix.length + 7;
    return [...prefix, 0xea, ...le(target, 4), ...le(BOOT_CS, 2)];
  };
  code.push(...jump(code, [0x66]));
  code.push(...movEax(BOOT_DS), ...LOAD_SEGMENTS);
  const loadGdt = [0x0f, 0x01, 0x15, ...le(BASE + planGdtr, 4)];
  if (state.efer === 0n) {
    code.push(...loadGdt, ...movEax(BOOT_DS), ...LOAD_SEGMENTS);
    code.push(...movEax(state.cr0), 0x0f, 0x22, 0xc0);
    for (const name of REGISTERS) code.push(0xb8 + ENCODING[name], ...le(state.gpr[name], 4));
    code.push(0xea, ...le(state.rip, 4), ...le(BOOT_CS, 2));
    return code;
  }
  code.push(...movEax(state.cr4), 0x0f, 0x22, 0xe0);
  code.push(...movEax(state.cr3), 0x0f, 0x22, 0xd8);
  // rdmsr; or eax, LME; wrmsr
  code.push(0xb9, ...le(0xc0000080, 4), 0x0f, 0x32, 0x0d, ...le(0x100, 4), 0x0f, 0x30);
  code.push(...movEax(state.cr0), 0x0f, 0x22, 0xc0, ...loadGdt);
  code.push(...jump(code, []));
  code.push(...movEax(BOOT_DS), ...LOAD_SEGMENTS);
  for (const name of REGISTERS) code.push(0x48, 0xb8 + ENCODING[name], ...le(state.gpr[name], 8));
  code.push(0xff, 0x25, 0, 0, 0, 0, ...le(state.rip, 8)); // jmp [rip]
  return code;
}
