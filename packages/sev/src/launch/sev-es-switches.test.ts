/**
 * World switches at awkward moments, on the emulated processor: a run that ends between an
 * injection and its delivery, INIT for a CPU that sleeps, and MSRs that the guest keeps to itself.
 */
import { emulated } from '@cloister/backend-emu';
import {
  definePlugin,
  type ExitFilter,
  type MsrExit,
  type PluginContext,
  type VmPlugin,
} from '@cloister/core';
import { expect, test } from 'vitest';
import { GHCB, NAE } from '../abi/ghcb.js';
import { es, esRun } from '../testing/es-guest.js';
import { asm } from '../testing/micro-guest.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { sevEs } from './sev-es.js';

/** One for all: its keys take long to make. */
const { chip } = new EmulatedPlatform({ seed: 'es' });

const ICR = 0x830;
const X2APIC = [...es.wrmsr(0x1b, 0xfee00d00n), ...es.wrmsr(0x80f, 0x1ffn)];

const le = (value: number, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff);
/** mov eax, number; note */
const note = (number: number) => [0xb8, ...le(number, 4), ...es.note];
/** Notes its vector and returns. */
const noting = (vector: number) => [0x50, ...note(vector), 0x58, 0x48, 0xcf];

function guest(body: readonly number[], more: Partial<Parameters<typeof esRun>[0]> = {}) {
  const backend = emulated({ tuneHost: false });
  const protection = sevEs({ platform: new EmulatedPlatform({ seed: 'es', chip }) });
  return esRun({ body, backend, protection, ...more });
}

/** A plugin that looks at every access to these MSRs. */
function onMsr(indices: number, see: (exit: MsrExit, context: PluginContext) => void): VmPlugin {
  const filter: ExitFilter = { kind: 'msr', indices: { base: indices, length: 1 } };
  return definePlugin({
    name: 'msr-watch',
    version: '1.0.0',
    api: 1,
    setup(context) {
      context.addExitHandler({
        name: 'msr-watch',
        filter,
        handle(exit) {
          see(exit as MsrExit, context);
          return 'pass';
        },
      });
    },
  });
}

test('an NMI comes before an interrupt, although the host ends the run at once', async () => {
  const request = es.wrmsr(ICR, 0x402n);
  const { log, end } = await guest(
    [
      ...[...X2APIC, ...es.wrmsr(ICR, 0x40041n)],
      // The interrupt may come from the end of VMGEXIT on: STI's shadow covers it.
      ...[...request.slice(0, -es.vmgexit.length), 0xfb, ...es.vmgexit, 0x90],
      ...[...note(1), ...es.end],
    ],
    {
      handlers: { 2: noting(2), 0x41: noting(0x41) },
      plugins: [onMsr(ICR, (exit, { vcpus }) => exit.lo === 0x402 && vcpus[0]!.kick())],
    },
  );
  expect(end.reason).toBe('stopped');
  expect(log).toEqual([2, 0x41, 1]);
});

test('INIT wakes the first CPU from HLT: its registers stay', async () => {
  const [start, own] = [0xe000, 0x402000];
  // The other CPU's GHCB: it writes INIT for CPU 0 to its local APIC.
  const fields: Readonly<Record<number, bigint>> = {
    [GHCB.SW_EXITCODE]: BigInt(NAE.MMIO_WRITE),
    [GHCB.SW_EXITINFO1]: 0xfee00300n,
    [GHCB.SW_EXITINFO2]: 4n,
    [GHCB.SW_SCRATCH]: BigInt(own + GHCB.SHARED_BUFFER),
    [GHCB.VALID_BITMAP + 8]: 0x003c_0000_0000_0000n,
    [GHCB.SHARED_BUFFER]: 0x4500n,
    0xff8: 1n << 16n,
  };
  const shared = (offset: number) => 0x1_0000_2000 + offset;
  // In real mode: waits a while; asks by its GHCB; cli; hlt
  const ap = [
    ...[0x66, 0xb9, ...le(0x40000, 4), 0x66, 0x49, 0x75, 0xfc],
    ...[0x66, 0xb9, ...le(0xc0010130, 4), 0x66, 0xb8, ...le(own, 4), 0x66, 0x31, 0xd2],
    ...[0x0f, 0x30, ...es.vmgexit, 0xfa, 0xf4],
  ];
  const quads = Array.from({ length: Math.ceil(ap.length / 8) }, (_, at) =>
    ap.slice(at * 8, at * 8 + 8).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n),
  );
  const { log, end } = await guest(
    [
      ...Object.entries(fields).flatMap(([at, value]) => asm.store(shared(Number(at)), value)),
      ...quads.flatMap((value, at) => asm.store(start + 8 * at, value)),
      ...asm.store(0x5000, BigInt(start >> 4) << 16n),
      ...X2APIC,
      ...es.wrmsr(ICR, (1n << 32n) | 0x4500n),
      ...es.wrmsr(ICR, (1n << 32n) | 0x4601n),
      ...[...note(1), 0xfb, 0xf4],
      ...[...note(2), ...es.end],
    ],
    { cpus: 2 },
  );
  expect(end.reason).toBe('stopped');
  expect(log).toEqual([1, 2]);
});

test('HLT that is traced sleeps: its trap is lost, and what came before is kept', async () => {
  // pushfq; or dword [rsp], TF; popfq; hlt
  const traced = [0x9c, 0x81, 0x0c, 0x24, ...le(0x100, 4), 0x9d, 0xf4];
  const { log, end } = await guest([...note(1), ...traced, ...note(2), ...es.end], {
    handlers: { 1: noting(3) },
  });
  expect(end.reason).toBe('stopped');
  expect(log).toEqual([1]);
});

test('ES-01: MSRs of the VMSA are no exits, whoever wants those', async () => {
  const seen: string[] = [];
  const { log } = await guest(
    [
      // STAR: written and read back
      ...[0xb9, ...le(0xc0000081, 4), 0xb8, ...le(0x5678, 4), 0x31, 0xd2, 0x0f, 0x30],
      ...[0x31, 0xc0, 0x0f, 0x32, ...es.note, ...es.end],
    ],
    { plugins: [onMsr(0xc0000081, ({ direction }) => seen.push(direction))] },
  );
  expect(log).toEqual([0x5678]);
  expect(seen).toEqual([]);
});
