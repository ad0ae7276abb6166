/**
 * Guests that misbehave: whatever they do is an exit, a fault event or the end of the VM, and never
 * an exception of the host. Random bytes run as code in every mode; the seed is printed.
 */
import { type CpuBackend, createVm, type VmEnd } from '@cloister/core';
import { boot, flat } from '@cloister/core/boot';
import { debugExit, pc } from '@cloister/core/devices';
import { hostileGuests, type KitRunner } from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { emulated, emulatedBackend } from './index.js';

type Mode = 'real' | 'protected' | 'long';

interface Outcome {
  readonly end: VmEnd;
  /** Messages of the fault events. */
  readonly faults: readonly string[];
}

/** Runs `image` for at most `limit` instructions. */
async function run(image: Uint8Array, mode: Mode, limit = 100_000): Promise<Outcome> {
  const vm = await createVm({ memory: '4M', cpus: 1, seed: 1, clock: 'icount' })
    .use(emulated(), pc(), debugExit(), boot(flat({ image, mode })))
    .build();
  const faults: string[] = [];
  vm.events.faults.subscribe(({ message }) => faults.push(message));
  await vm.start();
  await vm.pause({ at: limit });
  const end = await vm.stop();
  await vm.dispose();
  return { end, faults };
}

const bytes = (...code: number[]): Uint8Array => new Uint8Array(code);

describe('a guest that misbehaves', () => {
  it('triple-faults without an IDT', async () => {
    // ud2
    const { end } = await run(bytes(0x0f, 0x0b), 'long');
    expect(end.reason).toBe('triple-fault');
  });

  it('jumps into nowhere', async () => {
    // mov rax, 0x123456789abc; jmp rax
    const code = [0x48, 0xb8, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0, 0, 0xff, 0xe0];
    expect((await run(bytes(...code), 'long')).end.reason).toBe('triple-fault');
  });

  it('reads an unknown MSR', async () => {
    // mov ecx, 0x12345; rdmsr
    const { end, faults } = await run(bytes(0xb9, 0x45, 0x23, 1, 0, 0x0f, 0x32), 'long');
    expect(end.reason).toBe('triple-fault');
    expect(faults).toEqual(['read of unknown MSR 0x12345']);
  });

  it('uses a port that nothing answers, then ends by debug-exit', async () => {
    // mov dx, 0x1234; in al, dx; out 0xf4, al
    const { end, faults } = await run(bytes(0x66, 0xba, 0x34, 0x12, 0xec, 0xe6, 0xf4), 'long');
    expect(end).toMatchObject({ reason: 'debug-exit', status: ((0xff << 1) | 1) & 0xff });
    expect(faults).toEqual(['no device at port 0x1234 (in, 1 bytes)']);
  });

  it('writes to a port that resets the machine', async () => {
    // mov dx, 0xcf9; mov al, 6; out dx, al
    const { end } = await run(bytes(0x66, 0xba, 0xf9, 0x0c, 0xb0, 6, 0xee), 'long');
    expect(end.reason).toBe('reset');
  });

  it('loops for ever and can be stopped', async () => {
    expect((await run(bytes(0xeb, 0xfe), 'long', 5000)).end.reason).toBe('stopped');
  });

  it('halts with interrupts disabled', async () => {
    expect((await run(bytes(0xfa, 0xf4), 'long')).end.reason).toBe('stopped');
  });
});

const full = process.env.CLOISTER_FULL === '1';
const seed = Number(process.env.CLOISTER_SEED ?? Date.now() % 2 ** 31);
const print = (line: string): void => void process.stderr.write(`${line}\n`);

/** Makes the backends of the runs to come, in the manner of each of `jits` in turn. */
function inTurn(...jits: readonly ('off' | 'on' | 'stress')[]): () => CpuBackend {
  let runs = 0;
  return () => emulatedBackend({ jit: jits[runs++ % jits.length]! });
}

const runner: KitRunner = { describe, it: (name, body) => void it(name, body, 3_600_000) };
const sample = { seed, guest: 4e4, whole: 4e4, print };
hostileGuests(runner, { ...sample, name: 'emu, all translated', make: inTurn('off', 'stress') });
// Random bytes translated at their first execution are slow: the many run translated when hot.
// Every other guest does so in both its runs. Among as many there are some that change their page
// tables and go by what the TLB still holds, which is not the same with and without translation.
// With both runs of each guest, 10^8 instructions a kind.
const many = full ? { seed, guest: 2e6, whole: 5e7, print } : sample;
hostileGuests(runner, { ...many, name: 'emu', make: inTurn('off', 'off', 'on', 'on') });
