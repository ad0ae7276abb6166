/**
 * SEV-01 to SEV-03, SEV-08, SEV-10: small guests on the emulated processor, protected by `sev()`:
 * what they see, what the host sees, and what their launch measures.
 */
import { createHash, createHmac } from 'node:crypto';
import { emulated } from '@cloister/backend-emu';
import { definePlugin, type LaunchPlan, type PluginContext, type VmPlugin } from '@cloister/core';
import { describe, expect, test } from 'vitest';
import { asm, type Host, type MicroOptions, microRun, microVm } from '../testing/micro-guest.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { sev } from './sev.js';
import type { SevOptions } from './sev-options.js';

const C_BIT = 1n << 51n;
/** A private page, and the same page as the guest's shared mapping shows it. */
const DATA = 0x400000;
const SHARED = 0x1_0000_0000;
const TABLE = 0x500000;
const SECRET = 0x1122334455667788n;

/** and rax, the address bits of an entry */
const ADDRESS = [
  ...[0x48, 0xc1, 0xe0, 0x0d, 0x48, 0xc1, 0xe8, 0x0d],
  ...[0x48, 0x25, 0x00, 0xf0, 0xff, 0xff],
];
const le64 = (value: bigint) =>
  Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

/** Maps 2 MiB at SHARED to DATA without the C-bit, by a table that is private. */
const SHARE = [
  ...[0x0f, 0x20, 0xd8, ...ADDRESS, 0x48, 0x8b, 0x00, ...ADDRESS],
  ...[0x48, 0xb9, ...le64(BigInt(TABLE) | 3n | C_BIT), 0x48, 0x89, 0x48, 0x20],
  ...asm.store(TABLE, BigInt(DATA) | 0x83n),
  ...asm.stack(0x80000),
];

const platform = () => new EmulatedPlatform({ seed: 'micro' });
const guest = (code: readonly number[], more: Partial<MicroOptions> = {}, options?: SevOptions) =>
  microRun({
    code: [...(more.mode === undefined ? SHARE : []), ...code],
    backend: emulated({ tuneHost: false }),
    ...more,
    plugins: [sev({ platform: platform(), ...options }), ...(more.plugins ?? [])],
  });

const read32 = ({ memory }: Pick<Host, 'memory'>, gpa: number) => {
  const bytes = new Uint8Array(4);
  memory.read(gpa, bytes);
  return new DataView(bytes.buffer).getUint32(0, true);
};

const LOW = Number(SECRET & 0xffffffffn);

/** mov rdi, address; mov ecx, count; mov al, byte; rep stosb */
const fill = (address: number, count: number, byte = 0x5a) => [
  ...[0x48, 0xbf, ...le64(BigInt(address)), 0xb9, ...le64(BigInt(count)).slice(0, 4)],
  ...[0xb0, byte, 0xf3, 0xaa],
];

describe('a small SEV guest', () => {
  test('SEV-01: writes privately; shared mappings and the host see ciphertext', async () => {
    const seen: number[] = [];
    const { reports, end } = await guest(
      [
        ...asm.store(DATA, SECRET),
        ...asm.store(DATA + 8, 0n),
        ...asm.store(DATA + 0x40, SECRET),
        ...asm.store(DATA + 0x48, 0n),
        ...[...asm.report(DATA), ...asm.report(SHARED), ...asm.report(SHARED + 0x40)],
        ...asm.mark(1),
        // What is written shared is garbage in private, and the other way round again.
        ...[...asm.store(SHARED + 0x80, SECRET), ...asm.report(SHARED + 0x80)],
        ...[...asm.report(DATA + 0x80), ...asm.report(DATA)],
        ...[...asm.mark(2), ...asm.exit],
      ],
      {
        at: {
          1: (host) => void seen.push(read32(host, DATA), read32(host, DATA + 0x40)),
          2: (host) => void seen.push(read32(host, DATA + 0x80)),
        },
      },
    );
    expect(end.reason).toBe('debug-exit');
    const [own, shared, elsewhere, plain, garbled, again] = reports;
    expect([own, plain, again]).toEqual([LOW, LOW, LOW]);
    expect(shared).not.toBe(LOW);
    expect(elsewhere).not.toBe(shared);
    expect(garbled).not.toBe(LOW);
    expect(seen).toEqual([shared, elsewhere, LOW]);
  });

  test('SEV-01: another ASID sees neither', async () => {
    const own = platform();
    const { controller } = own;
    const words: number[] = [];
    await guest(
      [...asm.store(DATA, SECRET), ...asm.mark(1), ...asm.report(DATA), ...asm.exit],
      {
        at: {
          1: () => {
            const handle = own.driver.launchStart({ policy: 0 });
            own.driver.activate(handle, own.asids.minNoEs + 1);
            for (const tag of [own.asids.minNoEs, own.asids.minNoEs + 1, 0]) {
              const bytes = new Uint8Array(4);
              controller.read(controller.memory.locate(DATA), bytes, tag);
              words.push(new DataView(bytes.buffer).getUint32(0, true));
            }
          },
        },
      },
      { platform: own },
    );
    expect(words[0]).toBe(LOW);
    expect(new Set(words).size).toBe(3);
  });

  test('a byte of ciphertext that the host flips garbles its block of 16, no more', async () => {
    const blocks = [0, 16, 32, 48].map((at) => DATA + at);
    const words = blocks.flatMap((at) => [at, at + 4, at + 8, at + 12]);
    const { reports } = await guest(
      [
        ...blocks.flatMap((at) => [...asm.store(at, SECRET), ...asm.store(at + 8, ~SECRET)]),
        ...asm.mark(1),
        ...words.flatMap(asm.report),
        ...asm.exit,
      ],
      {
        at: {
          1({ memory }) {
            memory.withSpan(DATA + 20, 1, 'write', (span) => {
              span[0]! ^= 0x01;
            });
          },
        },
      },
    );
    const view = new DataView(new ArrayBuffer(16));
    view.setBigUint64(0, SECRET, true);
    view.setBigUint64(8, BigInt.asUintN(64, ~SECRET), true);
    const good = [0, 4, 8, 12].map((at) => view.getUint32(at, true));
    const differs = reports.map((word, index) => word !== good[index % 4]);
    expect(differs.map(Number).join('')).toBe('0000111100000000');
  });

  test('SEV-01: fills through the other mapping keep what they leave of a page', async () => {
    const raw: number[] = [];
    const { reports } = await guest(
      [
        ...[
          ...asm.store(DATA + 0xff8, SECRET),
          ...asm.store(DATA + 0x1ff8, SECRET),
          ...asm.mark(1),
        ],
        ...[...fill(SHARED, 4095), ...asm.report(SHARED + 0xffc)],
        ...[...fill(SHARED + 0x1000, 4096), ...asm.report(SHARED + 0x1ffc)],
        ...[...fill(DATA + 0x1000, 4096), ...asm.report(DATA + 0x1000), ...asm.exit],
      ],
      { at: { 1: (host) => void raw.push(read32(host, DATA + 0xffc)) } },
    );
    expect(reports[0]).toBe(((raw[0]! & 0xff000000) | 0x5a5a5a) >>> 0);
    expect(reports.slice(1)).toEqual([0x5a5a5a5a, 0x5a5a5a5a]);
  });

  test('SEV-01: untouched memory is zeros for the host, garbage for the guest', async () => {
    const untouched = DATA + 0x10_000;
    const cleared = DATA + 0x20_000;
    const open = SHARED + 0x30_000;
    const seen: boolean[] = [];
    const { reports } = await guest(
      [
        ...[...asm.report(untouched), ...asm.store(untouched + 0x20, SECRET)],
        // A page and a half, private and shared; then a word on each.
        ...[...fill(cleared, 0x1800, 0), ...fill(open, 0x1800, 0)],
        ...[...asm.store(cleared + 8, SECRET), ...asm.store(open + 8, SECRET)],
        ...[0, 8, 0xffc, 0x17fc, 0x1800].flatMap((at) => asm.report(cleared + at)),
        ...[0, 8, 0xffc, 0x17fc, 0x1800].flatMap((at) => asm.report(open + at)),
        ...[...asm.mark(1), ...asm.report(untouched), ...asm.exit],
      ],
      {
        at: {
          1(host) {
            for (const at of [0, 0x10, 0x20, 0xffc]) seen.push(read32(host, untouched + at) === 0);
            for (const at of [0, 0xffc, 0x17fc, 0x1800]) {
              seen.push(read32(host, cleared + at) === 0);
            }
          },
        },
      },
    );
    const [garbage, ...rest] = reports;
    expect(garbage).not.toBe(0);
    expect(rest.slice(0, 4)).toEqual([0, LOW, 0, 0]);
    expect(rest[4]).not.toBe(0);
    expect(rest.slice(5, 10)).toEqual([0, LOW, 0, 0, 0]);
    // Seen by the host or not, garbage stays what it is.
    expect(rest[10]).toBe(garbage);
    expect(seen).toEqual([true, true, false, true, false, false, false, true]);
  });

  test('SEV-02: code runs from a page mapped as shared, since fetches are private', async () => {
    const { reports, end } = await guest([
      // mov eax, 0x77; ret
      ...asm.store(DATA + 0x800, 0xc3_0000_0077_b8n),
      ...[...asm.call(SHARED + 0x800), ...asm.reportEax, ...asm.exit],
    ]);
    expect(end.reason).toBe('debug-exit');
    expect(reports).toEqual([0x77]);
  });

  test('SEV-02: a table written through a shared mapping is no table', async () => {
    // The shared mapping's own table, rewritten through itself as it is: the walk finds garbage.
    const { end } = await guest([
      ...asm.store(SHARED + (TABLE - DATA), BigInt(DATA) | 0x83n),
      // mov rax, cr3; mov cr3, rax
      ...[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8],
      ...[...asm.report(SHARED), ...asm.exit],
    ]);
    expect(end.reason).toBe('triple-fault');
  });

  test('SEV-02: without paging everything is private', async () => {
    const seen: number[] = [];
    const { reports } = await guest(
      [
        ...[0xc7, 0x05, 0x00, 0x00, 0x40, 0x00, 0x88, 0x77, 0x66, 0x55], // mov [DATA], 0x55667788
        ...[0xa1, 0x00, 0x00, 0x40, 0x00, ...asm.reportEax], // mov eax, [DATA]
        ...[...asm.mark(1), ...asm.exit],
      ],
      { mode: 'protected', at: { 1: (host) => void seen.push(read32(host, DATA)) } },
    );
    expect(reports).toEqual([LOW]);
    expect(seen).not.toEqual([LOW]);
  });

  test('SEV-03: CPUID 8000001F and SEV_STATUS say so; the MSR cannot be written', async () => {
    const { reports } = await guest([
      ...[...asm.cpuid(0x8000001f), ...asm.reportEax],
      ...[...asm.cpuid(0x8000001f), 0x89, 0xd8, ...asm.reportEax], // mov eax, ebx
      ...[...asm.cpuid(0x8000001f), 0x89, 0xd0, ...asm.reportEax], // mov eax, edx
      ...[...asm.rdmsr(0xc0010131), ...asm.reportEax],
      ...asm.exit,
    ]);
    const [eax, ebx, firstPlain, status] = reports;
    expect(eax).toBe(0x402);
    expect([ebx! & 0x3f, (ebx! >> 6) & 0x3f]).toEqual([51, 5]);
    expect([firstPlain, status]).toEqual([100, 1]);
    const { end } = await guest([...asm.wrmsr(0xc0010131), ...asm.exit]);
    expect(end.reason).toBe('triple-fault');
  });

  test('SEV-03: bits between the physical address and the C-bit stay reserved', async () => {
    const entry = BigInt(DATA) | 0x83n;
    for (const [bits, reason] of [
      [C_BIT, 'debug-exit'],
      [1n << 50n, 'triple-fault'],
      [1n << 46n, 'triple-fault'],
    ] as const) {
      const { end } = await guest([
        ...[...asm.store(TABLE + 8, entry | bits), ...asm.report(SHARED + 0x200000), ...asm.exit],
      ]);
      expect(end.reason, bits.toString(16)).toBe(reason);
    }
  });

  test('SEV-08: a device finds ciphertext in a private page, and garbles it', async () => {
    const seen: number[] = [];
    const device = ({ dma }: Host) => {
      const bytes = new Uint8Array(4);
      dma.read(DATA, bytes);
      seen.push(new DataView(bytes.buffer).getUint32(0, true));
      dma.write(DATA + 0x40, Uint8Array.of(1, 2, 3, 4));
      dma.write(DATA + 0x80, Uint8Array.of(1, 2, 3, 4));
    };
    const { reports } = await guest(
      [
        ...[...asm.store(DATA, SECRET), ...asm.store(DATA + 0x40, 0n), ...asm.mark(1)],
        ...[...asm.report(DATA), ...asm.report(DATA + 0x40), ...asm.report(SHARED + 0x80)],
        ...asm.exit,
      ],
      { at: { 1: device } },
    );
    expect(seen[0]).not.toBe(LOW);
    expect(reports[0]).toBe(LOW);
    expect(reports[1]).not.toBe(0x04030201);
    expect(reports[2]).toBe(0x04030201);
  });
});

/** Keeps the plan that the launch was given. */
function planOf(): { readonly plugin: VmPlugin; readonly plan: () => LaunchPlan } {
  let plan: LaunchPlan | null = null;
  const keep = sev({ platform: platform() });
  return {
    plan: () => plan!,
    plugin: definePlugin({
      ...keep,
      setup(context) {
        const watched: Partial<PluginContext> = {
          setMemoryEncryption(encryption) {
            const launch = encryption.launch.bind(encryption);
            encryption.launch = (vm, given) => {
              plan = given;
              return launch(vm, given);
            };
            context.setMemoryEncryption(encryption);
          },
        };
        keep.setup(Object.setPrototypeOf(watched, context) as PluginContext);
      },
    }),
  };
}

describe('a measured launch', () => {
  async function measured(code: readonly number[], options: SevOptions = {}) {
    let found = { measure: new Uint8Array(), nonce: new Uint8Array() };
    const vm = await microVm({
      code,
      backend: emulated({ tuneHost: false }),
      plugins: [
        sev({
          platform: platform(),
          secret: (launch) => {
            found = { measure: launch.measure.slice(), nonce: launch.nonce.slice() };
            return null;
          },
          ...options,
        }),
      ],
    });
    await vm.start();
    await vm.dispose();
    return { measure: Buffer.from(found.measure).toString('hex'), nonce: found.nonce };
  }

  test('SEV-10: repeats itself, differs by a byte, and is what the plan says', async () => {
    const { plugin, plan } = planOf();
    const vm = await microVm({
      code: asm.exit,
      backend: emulated({ tuneHost: false }),
      plugins: [plugin],
    });
    await vm.start();
    await vm.dispose();
    const digest = createHash('sha256');
    for (const { bytes } of plan().regions) digest.update(bytes);
    const one = await measured(asm.exit);
    expect(await measured(asm.exit)).toEqual(one);
    // Without an owner's session the integrity key is zeros.
    const text = [Uint8Array.of(4, 1, 55, 1, 0x23, 0, 0, 0), digest.digest(), one.nonce];
    const hmac = createHmac('sha256', Buffer.alloc(16)).update(Buffer.concat(text));
    expect(one.measure).toBe(hmac.digest('hex'));
    expect((await measured([...asm.exit, 0x90])).measure).not.toBe(one.measure);
    expect((await measured(asm.exit, { policy: 0x03 })).measure).not.toBe(one.measure);
  });

  test('a refused launch starts nothing and says why', async () => {
    // The guest asks for a firmware newer than this one.
    const launch = measured(asm.exit, { policy: 0x00ff_0000 });
    await expect(launch).rejects.toMatchObject({
      code: 'io-failed',
      message: expect.stringMatching(/refuses LAUNCH_START: POLICY_FAILURE/),
    });
    expect(() => sev({ policy: 4 })).toThrow(/requires SEV-ES/);
    expect(() => sev({ policy: -1 })).toThrow(/not 32 bits/);
  });

  test('a secret of the owner needs its session', async () => {
    const secret = () => ({
      header: new Uint8Array(52),
      ciphertext: new Uint8Array(16),
      gpa: DATA,
    });
    await expect(measured(asm.exit, { secret })).rejects.toMatchObject({
      message: expect.stringMatching(/refuses LAUNCH_SECRET: BAD_MEASUREMENT/),
    });
  });
});
