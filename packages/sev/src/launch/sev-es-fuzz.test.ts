/**
 * A guest on the emulated processor that sends its hypervisor random GHCBs and random words of the
 * MSR protocol, as fast as it can. What would end it (termination, a hold, unknown MSR requests,
 * devices that reset) it leaves out: `hypervisor.fuzz.test.ts` has that.
 */
import { emulated } from '@cloister/backend-emu';
import { expect, test } from 'vitest';
import { GHCB, GHCB_MSR, MSR_GHCB, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { es, esImage, GHCB_GPA } from '../testing/es-guest.js';
import { microVm } from '../testing/micro-guest.js';
import { sevEs } from './sev-es.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const VMGEXITS = FULL ? 1_000_000 : 3_000;
/** Where `es-guest.ts` maps the GHCB for the guest. */
const SHARED = 0x1_0000_0000;
/** A table of words in the guest's private memory. */
const TABLE = 0x700000;

const le = (value: number, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
/** mov dword [address], value */
const word = (address: number, value: number) => [
  0xc7,
  0x04,
  0x25,
  ...le(address, 4),
  ...le(value, 4),
];
/** jcc over `code` */
const unless = (opcode: number, code: readonly number[]) => [opcode, code.length, ...code];
const JZ = 0x74;
const JNZ = 0x75;

/** R12 = xorshift64(R12); changes RAX. */
const RANDOM = [
  ...[0x4c, 0x89, 0xe0, 0x48, 0xc1, 0xe0, 0x0d, 0x49, 0x31, 0xc4],
  ...[0x4c, 0x89, 0xe0, 0x48, 0xc1, 0xe8, 0x07, 0x49, 0x31, 0xc4],
  ...[0x4c, 0x89, 0xe0, 0x48, 0xc1, 0xe0, 0x11, 0x49, 0x31, 0xc4],
];
/** bt r12, bit; setc al; test al, al */
const testBit = (bit: number) => [0x49, 0x0f, 0xba, 0xe4, bit, 0x0f, 0x92, 0xc0, 0x84, 0xc0];
/** EAX = TABLE[(R12 >> shift) & 31]; changes RCX. */
const pick = (table: number, shift: number) => [
  ...[0x4c, 0x89, 0xe0, 0x48, 0xc1, 0xe8, shift, 0x83, 0xe0, 0x1f],
  ...[0xb9, ...le(table, 4), 0x8b, 0x04, 0x81],
];
/** mov [rbx + field], rax */
const putRax = (field: number) => [0x48, 0x89, 0x83, ...le(field, 4)];
/** mov qword [rbx + field], value, sign-extended */
const put = (field: number, value: number) => [0x48, 0xc7, 0x83, ...le(field, 4), ...le(value, 4)];

const EVENTS = [
  ...[EXIT.READ_DR7, EXIT.WRITE_DR7, EXIT.RDTSC, EXIT.RDPMC, EXIT.CPUID, EXIT.INVD, EXIT.IOIO],
  ...[EXIT.IOIO, EXIT.MSR, EXIT.VMMCALL, EXIT.RDTSCP, EXIT.WBINVD, EXIT.MONITOR, EXIT.MWAIT],
  ...[NAE.MMIO_READ, NAE.MMIO_WRITE, NAE.NMI_COMPLETE, NAE.AP_JUMP_TABLE, NAE.HV_FEATURES],
  ...[NAE.PAGE_STATE_CHANGE, NAE.GUEST_REQUEST, NAE.AP_CREATION, 0x12345678, EXIT.IOIO],
];
const REQUESTS = [
  ...[GHCB_MSR.SEV_INFO_REQUEST, GHCB_MSR.CPUID_REQUEST, GHCB_MSR.PREFERRED_GPA_REQUEST],
  ...[GHCB_MSR.REGISTER_GPA_REQUEST, GHCB_MSR.PAGE_STATE_CHANGE_REQUEST],
  ...[GHCB_MSR.RUN_VMPL_REQUEST, GHCB_MSR.HV_FEATURES_REQUEST],
];
const cyclic = (values: readonly number[], at: number) =>
  Array.from({ length: 32 }, (_, i) => word(at + 4 * i, values[i % values.length]!)).flat();

/** Random registers, infos and scratch; then something sensible in their place now and then. */
const FILL = [
  // lea rdi, [rbx + 300h]; lea rsi, [rbx + 400h]
  ...[0x48, 0x8d, 0xbb, ...le(0x300, 4), 0x48, 0x8d, 0xb3, ...le(0x400, 4)],
  // mov [rdi], r12; add rdi, 8; cmp rdi, rsi; jb
  ...[...RANDOM, 0x4c, 0x89, 0x27, 0x48, 0x83, 0xc7, 0x08, 0x48, 0x39, 0xf7],
  ...[0x72, 0x100 - (RANDOM.length + 12)],
  // mov [rbx + RAX], r12
  ...[...RANDOM, 0x4c, 0x89, 0xa3, ...le(GHCB.RAX, 4)],
  ...[...put(0xff8, 0x20000), ...RANDOM, ...pick(TABLE, 8), ...putRax(GHCB.SW_EXITCODE)],
  // Mostly everything is valid.
  ...[...testBit(40), ...unless(JZ, [...put(0x3f0, -1), ...put(0x3f8, -1)])],
  ...[...testBit(41), ...unless(JZ, [...put(0x3f0, -1), ...put(0x3f8, -1)])],
  ...[...testBit(42), ...unless(JZ, put(GHCB.SW_SCRATCH, GHCB_GPA + GHCB.SHARED_BUFFER))],
  // and qword [rbx + INFO2], 3fh
  ...[...testBit(43), ...unless(JZ, [0x48, 0x83, 0xa3, ...le(GHCB.SW_EXITINFO2, 4), 0x3f])],
  // INFO1: an access of two bytes to a port of 300h to 3FFh, or a small number
  ...testBit(44),
  ...unless(JZ, [
    ...[0x44, 0x89, 0xe0, 0x25, ...le(0x00ff000d, 4), 0x0d, ...le(0x03000020, 4)],
    ...putRax(GHCB.SW_EXITINFO1),
  ]),
  ...[...testBit(45), ...unless(JZ, put(GHCB.SW_EXITINFO1, 1))],
];

/** The ports of whatever is not IOIO do no harm: only INFO1 with one size is an access. */
const LOOP = [
  ...FILL,
  // mov ecx, MSR; xor edx, edx; mov eax, GHCB
  ...[...RANDOM, 0xb9, ...le(MSR_GHCB, 4), 0x31, 0xd2, 0xb8, ...le(GHCB_GPA, 4)],
  // Once in eight times the MSR protocol: eax = random | request, edx random
  ...[0x41, 0xf7, 0xc4, ...le(7, 4)],
  ...unless(JNZ, [
    ...pick(TABLE + 128, 8),
    // mov rdx, r12; shr rdx, 32; mov ecx, r12d; and ecx, fffff000h; or eax, ecx; mov ecx, MSR
    ...[0x4c, 0x89, 0xe2, 0x48, 0xc1, 0xea, 0x20, 0x44, 0x89, 0xe1],
    ...[0x81, 0xe1, ...le(0xfffff000, 4), 0x09, 0xc8, 0xb9, ...le(MSR_GHCB, 4)],
  ]),
  // wrmsr
  ...[0x0f, 0x30, ...es.vmgexit],
];

const BODY = [
  ...cyclic(EVENTS, TABLE),
  ...cyclic(REQUESTS, TABLE + 128),
  // mov r12, seed; mov r13, count; mov rbx, SHARED
  ...[0x49, 0xbc, ...le(0x1234_5678_9abc, 8), 0x49, 0xc7, 0xc5, ...le(VMGEXITS, 4)],
  ...[0x48, 0xbb, ...le(SHARED, 8)],
  ...LOOP,
  // dec r13; jnz
  ...[0x49, 0xff, 0xcd, 0x0f, 0x85, ...le(2 ** 32 - (LOOP.length + 9), 4)],
  ...es.end,
];

test(
  `ES-04 ES-05 ES-11 a guest that sends ${VMGEXITS} random requests runs to its end`,
  async () => {
    const vm = await microVm({
      code: esImage(BODY),
      backend: emulated({ tuneHost: false }),
      plugins: [sevEs({ platform: { seed: 'fuzz' } })],
    });
    try {
      const end = await vm.run();
      expect(end).toMatchObject({ reason: 'stopped', status: 0 });
      const lines = new Map(vm.summary().protection?.lines);
      const numbers = (title: string) =>
        [...(lines.get(title) ?? '').matchAll(/ (\d+)(?=,|$| \()/g)].map(([, n]) => Number(n));
      const sum = (title: string) => numbers(title).reduce((total, n) => total + n, 0);
      // What has no valid exit code is no event; the rest is counted.
      const events = sum('GHCB events');
      const requests = sum('GHCB MSR requests');
      expect(events + requests).toBeLessThanOrEqual(VMGEXITS);
      expect(events).toBeGreaterThan(VMGEXITS / 2);
      expect(requests).toBeGreaterThan(VMGEXITS / 10);
      expect(numbers('GHCB events').length).toBeGreaterThanOrEqual(new Set(EVENTS).size - 3);
    } finally {
      await vm.dispose();
    }
  },
  FULL ? 600_000 : 60_000,
);
