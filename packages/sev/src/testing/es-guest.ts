/**
 * Small SEV-ES guests for tests: 64-bit code with a #VC handler that notes the error code in a log
 * and goes on behind the instruction, and requests through a GHCB. The log is shared memory, which
 * the test reads when the guest halts.
 */
import type { GuestMemory, VmEnd, VmPlugin } from '@cloister/core';
import { GHCB, MSR_GHCB } from '../abi/ghcb.js';
import { asm, type MicroOptions, microVm } from './micro-guest.js';

/** 2 MiB that the guest also sees as shared memory at SHARED. */
const WINDOW = 0x400000;
const SHARED = 0x1_0000_0000;
export const GHCB_GPA = WINDOW;
const LOG_GPA = WINDOW + 0x1000;
const LOG_ENTRIES = 0x400;
const TABLE = 0x500000;
const IDT = 0x600000;
const IDTR = 0x601000;
const LOG_POINTER = 0x602000;
const IMAGE = 0x100000;
const VC_HANDLER = 0x1000;
const HANDLERS = 0x1100;
const HANDLER_SIZE = 0x40;
const C_BIT = 1n << 51n;
const VC_VECTOR = 29;

const le = (value: number, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) & 0xff);
const le64 = (value: bigint) =>
  Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

/** and rax, the address bits of an entry */
const ADDRESS = [
  ...[0x48, 0xc1, 0xe0, 0x0d, 0x48, 0xc1, 0xe8, 0x0d],
  ...[0x48, 0x25, 0x00, 0xf0, 0xff, 0xff],
];
/** Maps 2 MiB at SHARED to WINDOW without the C-bit, by a table that is private. */
const SHARE = [
  // mov rax, cr3; and; mov rax, [rax]; and: the table of gibibytes
  ...[0x0f, 0x20, 0xd8, ...ADDRESS, 0x48, 0x8b, 0x00, ...ADDRESS],
  // mov rcx, table; mov [rax + 32], rcx
  ...[0x48, 0xb9, ...le64(BigInt(TABLE) | 3n | C_BIT), 0x48, 0x89, 0x48, 0x20],
  ...asm.store(TABLE, BigInt(WINDOW) | 0x83n),
  ...asm.stack(0x80000),
];

const gate = (vector: number, handler: number) => {
  const address = BigInt(IMAGE + handler);
  const lower = (address & 0xffffn) | (0x10n << 16n) | (0x8en << 40n) | ((address >> 16n) << 48n);
  return [...asm.store(IDT + vector * 16, lower), ...asm.store(IDT + vector * 16 + 8, 0n)];
};

/** mov rbx, [pointer]; mov [rbx], eax; add rbx, 4; mov [pointer], rbx */
const APPEND = [
  ...[0x48, 0x8b, 0x1c, 0x25, ...le(LOG_POINTER, 4), 0x89, 0x03],
  ...[0x48, 0x83, 0xc3, 0x04, 0x48, 0x89, 0x1c, 0x25, ...le(LOG_POINTER, 4)],
];

/** Pushes RAX and RBX, notes the error code, goes on R15 bytes behind the instruction. */
const VC_CODE = [
  ...[0x50, 0x53, 0x48, 0x8b, 0x44, 0x24, 0x10, ...APPEND, 0x5b, 0x58],
  ...[0x48, 0x83, 0xc4, 0x08, 0x4c, 0x01, 0x3c, 0x24, 0x48, 0xcf],
];

const field = (offset: number, value: bigint) => asm.store(SHARED + offset, value);

export const es = {
  /** mov r15, its length; the instruction */
  trapped: (...instruction: readonly number[]) => [
    ...[0x49, 0xc7, 0xc7, ...le(instruction.length, 4), ...instruction],
  ],
  /** Notes EAX; RBX is kept. */
  note: [0x53, ...APPEND, 0x5b],
  noteWord: (address: number) => [
    ...[0x48, 0xbf, ...le(address, 8), 0x8b, 0x07],
    ...[0x53, ...APPEND, 0x5b],
  ],
  vmgexit: [0xf3, 0x0f, 0x01, 0xd9],
  /** Writes the GHCB MSR and leaves: a request of the MSR protocol. */
  request: (lo: number, hi = 0) => [
    ...[0xb9, ...le(MSR_GHCB, 4), 0xb8, ...le(lo, 4), 0xba, ...le(hi, 4), 0x0f, 0x30],
    ...[0xf3, 0x0f, 0x01, 0xd9],
  ],
  /** A request by the GHCB with these fields, by their offsets. */
  ghcb(fields: Readonly<Record<number, bigint>>): number[] {
    const all = { ...fields, [GHCB.SW_SCRATCH]: fields[GHCB.SW_SCRATCH] ?? 0n };
    const bits = Object.keys(all).reduce((sum, at) => sum | (1n << BigInt(Number(at) >>> 3)), 0n);
    return [
      ...Object.entries(all).flatMap(([at, value]) => field(Number(at), value)),
      ...field(GHCB.VALID_BITMAP, bits & 0xffff_ffff_ffff_ffffn),
      ...field(GHCB.VALID_BITMAP + 8, bits >> 64n),
      // Protocol version 1 at FFAh, usage 0.
      ...asm.store(SHARED + 0xff8, 1n << 16n),
      ...es.request(GHCB_GPA),
    ];
  },
  /** The event `code` with these informations. */
  event: (code: number, info1 = 0n, info2 = 0n, more: Readonly<Record<number, bigint>> = {}) =>
    es.ghcb({
      [GHCB.SW_EXITCODE]: BigInt(code),
      [GHCB.SW_EXITINFO1]: info1,
      [GHCB.SW_EXITINFO2]: info2,
      ...more,
    }),
  wrmsr: (index: number, value: bigint) =>
    es.event(0x7c, 1n, 0n, {
      [GHCB.RCX]: BigInt(index),
      [GHCB.RAX]: value & 0xffffffffn,
      [GHCB.RDX]: value >> 32n,
    }),
  /** out port, al by the GHCB */
  out: (port: number, value: number) =>
    es.event(0x7b, BigInt(port * 65536 + 0x10), 0n, { [GHCB.RAX]: BigInt(value) }),
  /** Lets the host act (`MicroOptions.at`). */
  mark: (number: number) => es.out(0xe4, number),
  noteField: (offset: number) => es.noteWord(SHARED + offset),
  /** cli; hlt */
  end: [0xfa, 0xf4],
} as const;

/** The image: what sets the guest up, `body`, and a handler for each vector that is given. */
export function esImage(
  body: readonly number[],
  handlers: Readonly<Record<number, readonly number[]>> = {},
): number[] {
  const vectors = Object.entries(handlers);
  const code = [
    ...SHARE,
    ...asm.store(LOG_POINTER, BigInt(SHARED + 0x1000)),
    ...gate(VC_VECTOR, VC_HANDLER),
    ...vectors.flatMap(([vector], i) => gate(Number(vector), HANDLERS + i * HANDLER_SIZE)),
    ...asm.store(IDTR, BigInt(0xfff) | ((BigInt(IDT) & 0xffffffffffffn) << 16n)),
    ...asm.store(IDTR + 8, 0n),
    // lidt [IDTR]
    ...[0x0f, 0x01, 0x1c, 0x25, ...le(IDTR, 4)],
    ...body,
  ];
  if (code.length > VC_HANDLER) throw new Error(`the guest has ${code.length} bytes`);
  const image = new Array<number>(HANDLERS + vectors.length * HANDLER_SIZE).fill(0xf4);
  const put = (bytes: readonly number[], at: number) => {
    for (const [i, byte] of bytes.entries()) image[at + i] = byte;
  };
  put(code, 0);
  put(VC_CODE, VC_HANDLER);
  vectors.forEach(([, handler], i) => void put(handler, HANDLERS + i * HANDLER_SIZE));
  return image;
}

/** What the guest noted so far. */
export function esLog(memory: GuestMemory): readonly number[] {
  const bytes = new Uint8Array(4 * LOG_ENTRIES);
  memory.read(LOG_GPA, bytes);
  const log = [...new Uint32Array(bytes.buffer)];
  return log.slice(0, log.findLastIndex((word) => word !== 0) + 1);
}

export interface EsRun {
  readonly log: readonly number[];
  readonly end: VmEnd;
}

/** Runs the guest under `protection` to its end. */
export async function esRun(options: {
  readonly body: readonly number[];
  readonly handlers?: Readonly<Record<number, readonly number[]>>;
  readonly protection: VmPlugin;
  readonly backend: VmPlugin;
  readonly cpus?: number;
  readonly at?: MicroOptions['at'];
  readonly plugins?: readonly VmPlugin[];
}): Promise<EsRun> {
  const { body, handlers, protection, at = {}, plugins = [], ...rest } = options;
  const code = esImage(body, handlers);
  const vm = await microVm({ ...rest, at, code, plugins: [protection, ...plugins] });
  try {
    const end = await vm.run();
    return { end, log: esLog(vm.memory) };
  } finally {
    await vm.dispose();
  }
}
