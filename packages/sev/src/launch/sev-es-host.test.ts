/**
 * Small guests on the emulated processor and what their hypervisor makes of them: GHCBs where none
 * should be, string I/O, MMIO, endings, and the profile of vmm(4).
 */
import { emulated } from '@cloister/backend-emu';
import { definePlugin, type IoExit, type MmioExit, type VmPlugin } from '@cloister/core';
import { describe, expect, test } from 'vitest';
import { GHCB, NAE } from '../abi/ghcb.js';
import { EXIT } from '../abi/vmcb.js';
import { es, esRun, GHCB_GPA } from '../testing/es-guest.js';
import { ioInfo } from '../testing/hypervisor-bench.js';
import { asm } from '../testing/micro-guest.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { type SevEsOptions, sevEs } from './sev-es.js';

/** One for all: its keys take long to make. */
const { chip } = new EmulatedPlatform({ seed: 'host' });
const platformOf = () => new EmulatedPlatform({ seed: 'host', chip });

const PORT = 0x300;
const MMIO = 0xfed0_0000;
const PRIVATE = 0x700000;
const BUFFER = 0x1_0000_0000 + GHCB.SHARED_BUFFER;
const SCRATCH = BigInt(GHCB_GPA + GHCB.SHARED_BUFFER);

/** A device of eight ports and a page: notes what is written, gives bytes that count up. */
function device(seen: string[]): VmPlugin {
  const note = (what: string, data: Uint8Array) =>
    void seen.push(`${what} ${Buffer.from(data).toString('hex')}`);
  const fill = (data: Uint8Array) =>
    void data.forEach((_, at) => {
      data[at] = at + 1;
    });
  return definePlugin({
    name: 'device',
    version: '1.0.0',
    api: 1,
    setup(context) {
      context.addExitHandler({
        name: 'ports',
        filter: { kind: 'io', ports: { base: PORT, length: 8 } },
        handle({ direction, size, count, data }: IoExit) {
          if (direction === 'in') fill(data);
          else note(`out ${size}x${count}`, data);
          return 'handled';
        },
      });
      context.addExitHandler({
        name: 'page',
        filter: { kind: 'mmio', range: { base: MMIO, length: 4096 } },
        handle({ direction, gpa, data }: MmioExit) {
          if (direction === 'read') fill(data);
          else note(`write ${gpa - MMIO}`, data);
          return 'handled';
        },
      });
    },
  });
}

async function run(body: readonly number[], options: SevEsOptions = {}) {
  const seen: string[] = [];
  const protection = sevEs({ platform: platformOf(), ...options });
  const plugins = [device(seen)];
  const backend = emulated({ tuneHost: false });
  return { ...(await esRun({ body, backend, protection, plugins })), seen };
}

describe('ES-04 a GHCB', () => {
  test('in private memory is ciphertext to the host, its refusal too', async () => {
    const { log, end, seen } = await run([
      ...asm.store(PRIVATE + GHCB.SW_EXITCODE, BigInt(EXIT.IOIO)),
      ...asm.store(PRIVATE + GHCB.SW_EXITINFO1, ioInfo(PORT, 1)),
      ...asm.store(PRIVATE + GHCB.VALID_BITMAP, 2n ** 64n - 1n),
      ...asm.store(PRIVATE + GHCB.VALID_BITMAP + 8, 2n ** 64n - 1n),
      ...[...es.request(PRIVATE), ...es.noteWord(PRIVATE + GHCB.SW_EXITINFO1), ...es.end],
    ]);
    expect(seen).toEqual([]);
    expect(end.reason).toBe('stopped');
    // Neither what was there nor what the hypervisor wrote.
    expect(log).toHaveLength(1);
    expect([2, Number(ioInfo(PORT, 1))]).not.toContain(log[0]);
  });

  test('without memory ends the VM', async () => {
    const { end } = await run([...es.request(0x7fff_f000), ...es.end]);
    expect(end.reason).toBe('error');
    expect(end.message).toMatch(/finds no memory for a GHCB at 7FFFF000h/);
  });
});

describe('ES-12 a guest that gives up', () => {
  test.each<[string, readonly number[], RegExp]>([
    ['by MSR', es.request(0x100), /terminated itself: 0:0 \(general/],
    ['by MSR, as Linux', es.request(0x5_1100), /terminated itself: 1:5 \(Linux: hypervisor did/],
    ['by GHCB', es.event(NAE.TERMINATE, 0x10n), /terminated itself: 0:1 \(general: protocol/],
    ['at a #VC', es.event(NAE.UNSUPPORTED_EVENT, 0x7dn), /cannot handle its #VC 7Dh/],
    ['in words unknown', es.request(0x0fe), /Linux\/KVM has no answer to GHCB MSR request FEh/],
  ])('%s ends with its reason', async (_name, body, message) => {
    const { end } = await run([...body, ...es.end]);
    expect(end.reason).toBe('error');
    expect(end.message).toMatch(message);
  });
});

test('ES-08 INS and OUTS through the shared buffer reach the device in one go', async () => {
  const string = { string: true, rep: true };
  const scratch = { [GHCB.SW_SCRATCH]: SCRATCH };
  const { log, seen, end } = await run([
    ...[...asm.store(BUFFER, 0x8877_6655_4433_2211n), ...asm.store(BUFFER + 8, 0xbbaan)],
    ...es.event(EXIT.IOIO, ioInfo(PORT, 2, string), 5n, scratch),
    ...es.event(EXIT.IOIO, ioInfo(PORT, 4, { ...string, input: true }), 2n, scratch),
    ...[...es.noteField(GHCB.SHARED_BUFFER), ...es.noteField(GHCB.SHARED_BUFFER + 4)],
    ...es.end,
  ]);
  expect(end.reason).toBe('stopped');
  expect(seen).toEqual(['out 2x5 1122334455667788aabb']);
  expect(log).toEqual([0x0403_0201, 0x0807_0605]);
});

test('ES-09 MMIO through the shared buffer reaches the device', async () => {
  const scratch = { [GHCB.SW_SCRATCH]: SCRATCH };
  const { log, seen } = await run([
    ...asm.store(BUFFER, 0x8877_6655_4433_2211n),
    ...es.event(NAE.MMIO_WRITE, BigInt(MMIO + 8), 8n, scratch),
    ...es.event(NAE.MMIO_READ, BigInt(MMIO), 4n, scratch),
    ...[...es.noteField(GHCB.SHARED_BUFFER), ...es.end],
  ]);
  expect(seen).toEqual(['write 8 1122334455667788']);
  expect(log).toEqual([0x0403_0201]);
});

describe('ES-21 on vmm(4)', () => {
  const openbsd = { host: 'openbsd' } as const;

  test('a guest that asks for no more than it knows runs', async () => {
    const { log, seen, end } = await run(
      [
        // CPUID 8000001Fh, EAX, by MSR
        ...[...es.request(0x004, 0x8000001f), ...asm.rdmsr(0xc0010130), 0x89, 0xd0, ...es.note],
        ...es.event(EXIT.CPUID, 0n, 0n, { [GHCB.RAX]: 0x4000_0000n, [GHCB.RCX]: 0n }),
        ...es.noteField(GHCB.RBX),
        ...es.event(EXIT.IOIO, ioInfo(PORT, 1), 0n, { [GHCB.RAX]: 0x41n }),
        ...es.event(EXIT.IOIO, ioInfo(PORT, 2, { input: true })),
        ...es.noteField(GHCB.RAX),
        ...es.event(EXIT.MSR, 0n, 0n, { [GHCB.RCX]: 0x1bn }),
        ...es.noteField(GHCB.RAX),
        ...es.request(0x100),
      ],
      openbsd,
    );
    expect(end.message).toMatch(/terminated itself: 0:0/);
    expect(seen).toEqual(['out 1x1 41']);
    expect(log[0]! & 0b1010).toBe(0b1010);
    expect(log.slice(1)).toEqual([0x6e65704f, 0x0201, 0xfee00900]);
  });

  test.each<[string, readonly number[], RegExp]>([
    ['MMIO', es.event(NAE.MMIO_READ, BigInt(MMIO), 4n), /GHCB event 80000001h \(EINVAL\)/],
    ['SEV_INFO', es.request(0x002), /GHCB MSR request 2h \(EINVAL\)/],
    ['HLT without interrupts', es.end, /HLT with interrupts disabled \(EIO\)/],
  ])('%s ends the guest with the reason', async (_name, body, message) => {
    const { end } = await run([...body, ...es.end], openbsd);
    expect(end.reason).toBe('error');
    expect(end.message).toMatch(message);
  });
});
