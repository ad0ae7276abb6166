/**
 * Small guests for tests of protections: a little assembler, the guest's reports, and what the host
 * does at points that the guest marks.
 */
import {
  createVm,
  type DmaView,
  definePlugin,
  type GuestMemory,
  type Vm,
  type VmEnd,
  type VmPlugin,
} from '@cloister/core';
import { boot, type FlatOptions, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';

const REPORT = 0xe0;
const MARK = 0xe4;

const le = (value: bigint, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

/** Instructions of 64-bit mode, and of 32-bit mode where they have no operand of 64 bits. */
export const asm = {
  /** mov rax, value; mov rdi, address; mov [rdi], rax */
  store: (address: number, value: bigint) => [
    ...[0x48, 0xb8, ...le(value, 8), 0x48, 0xbf, ...le(BigInt(address), 8)],
    ...[0x48, 0x89, 0x07],
  ],
  /** mov rdi, address; mov eax, [rdi]; out REPORT, eax */
  report: (address: number) => [
    ...[0x48, 0xbf, ...le(BigInt(address), 8), 0x8b, 0x07],
    ...asm.reportEax,
  ],
  /** out REPORT, eax */
  reportEax: [0xe7, REPORT],
  /** Lets the host act: out MARK, al */
  mark: (number: number) => [0xb0, number, 0xe6, MARK],
  /** mov rdi, address; call rdi */
  call: (address: number) => [0x48, 0xbf, ...le(BigInt(address), 8), 0xff, 0xd7],
  /** mov rsp, address */
  stack: (address: number) => [0x48, 0xbc, ...le(BigInt(address), 8)],
  cpuid: (leaf: number) => [0xb8, ...le(BigInt(leaf), 4), 0x31, 0xc9, 0x0f, 0xa2],
  rdmsr: (index: number) => [0xb9, ...le(BigInt(index), 4), 0x0f, 0x32],
  wrmsr: (index: number) => [0xb9, ...le(BigInt(index), 4), 0x31, 0xc0, 0x31, 0xd2, 0x0f, 0x30],
  /** out 0xf4, al */
  exit: [0x30, 0xc0, 0xe6, 0xf4],
} as const;

export interface Host {
  readonly memory: GuestMemory;
  readonly dma: DmaView;
}

export interface MicroRun {
  readonly reports: readonly number[];
  readonly end: VmEnd;
}

export interface MicroOptions {
  readonly code: readonly number[];
  readonly mode?: FlatOptions['mode'];
  readonly backend: VmPlugin;
  /** One unless given. */
  readonly cpus?: number;
  readonly plugins?: readonly VmPlugin[];
  /** What the host does at each mark. */
  readonly at?: Readonly<Record<number, (host: Host) => void>>;
}

/** A VM of 8 MiB with this program at 1 MiB. */
export async function microVm(options: MicroOptions, reports: number[] = []): Promise<Vm> {
  const { code, mode = 'long', backend, cpus = 1, plugins = [], at = {} } = options;
  const image = Uint8Array.from(code);
  return createVm({ memory: '8M', cpus, seed: 1, clock: 'icount' })
    .use(
      backend,
      pc(),
      debugExit(),
      boot(flat({ image, mode })),
      definePlugin({
        name: 'reports',
        version: '1.0.0',
        api: 1,
        setup(context) {
          context.addExitHandler({
            name: 'reports',
            filter: { kind: 'io', ports: { base: REPORT, length: 8 } },
            handle(exit) {
              if (exit.direction !== 'out') return 'pass';
              const word = exit.data.reduceRight((sum, byte) => sum * 256 + byte, 0);
              if (exit.port === REPORT) reports.push(word);
              else at[word]?.({ memory: context.memory, dma: context.dma });
              return 'handled';
            },
          });
        },
      }),
      ...plugins,
    )
    .build();
}

/** Runs it to its end. */
export async function microRun(options: MicroOptions): Promise<MicroRun> {
  const reports: number[] = [];
  const vm = await microVm(options, reports);
  try {
    return { end: await vm.run(), reports };
  } finally {
    await vm.dispose();
  }
}
