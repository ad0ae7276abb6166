/**
 * PSP-13: a small guest that runs is saved by SEND and goes on by RECEIVE, on its platform or on
 * another; what the host keeps of it is ciphertext; whatever was changed on the way is refused.
 */
import { emulated } from '@cloister/backend-emu';
import { definePlugin, type Snapshot, type Vm, type VmPlugin } from '@cloister/core';
import fc from 'fast-check';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { POLICY } from '../abi/policy.js';
import { seededEntropy } from '../firmware/entropy.js';
import { makeChip } from '../firmware/root.js';
import { otherChip, testChip } from '../testing/emulated-chip.js';
import { asm, microVm } from '../testing/micro-guest.js';
import './node.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { decodeStream, receiverOf } from './guest-stream.js';
import { sev } from './sev.js';
import type { SevOptions } from './sev-options.js';

const C_BIT = 1n << 51n;
const DATA = 0x400000;
/** The guest's other mapping of DATA, without the C-bit. */
const SHARED = 0x1_0000_0000;
const TABLE = 0x500000;
const SECRET = 0x1122334455667788n;
const NOTE = 0x5566778855667788n;

const le64 = (value: bigint) =>
  Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
const le32 = (value: number) => le64(BigInt(value)).slice(0, 4);
/** and rax, the address bits of an entry */
const ADDRESS = [
  ...[0x48, 0xc1, 0xe0, 0x0d, 0x48, 0xc1, 0xe8, 0x0d],
  ...[0x48, 0x25, 0x00, 0xf0, 0xff, 0xff],
];
/** Maps 2 MiB at SHARED to DATA without the C-bit, by a table that is private. */
const SHARE = [
  ...[0x0f, 0x20, 0xd8, ...ADDRESS, 0x48, 0x8b, 0x00, ...ADDRESS],
  ...[0x48, 0xb9, ...le64(BigInt(TABLE) | 3n | C_BIT), 0x48, 0x89, 0x48, 0x20],
  ...asm.store(TABLE, BigInt(DATA) | 0x83n),
];
/** KVM_HC_MAP_GPA_RANGE: eax 12, rbx address, ecx pages, edx attributes; then reports eax. */
const mapRange = (gpa: number, pages: number, attributes: number) => [
  ...[0xb8, ...le32(12), 0x48, 0xbb, ...le64(BigInt(gpa)), 0xb9, ...le32(pages)],
  ...[0xba, ...le32(attributes), 0x0f, 0x01, 0xd9, ...asm.reportEax],
];
/** wrmsr of MSR_KVM_MIGRATION_CONTROL */
const migration = (lo: number) => [
  ...[0xb9, ...le32(0x4b564d08), 0xb8, ...le32(lo), 0x31, 0xd2, 0x0f, 0x30],
];
/** mov ecx, count; loop $ */
const wait = (count: number) => [0xb9, ...le32(count), 0xe2, 0xfe];

/** Writes in both views, tells which page it shares, waits, and reports what it finds. */
const CODE = [
  ...SHARE,
  ...asm.store(DATA, SECRET),
  ...asm.store(SHARED + 0x1000, NOTE),
  ...mapRange(0, 0x800, 1 << 4),
  ...mapRange(DATA + 0x1000, 1, 0),
  ...migration(1),
  ...[...asm.mark(1), ...wait(20_000)],
  ...[...asm.report(DATA), ...asm.report(SHARED + 0x1000)],
  ...[...asm.rdmsr(0x4b564d08), ...asm.reportEax, ...asm.exit],
];

const vms: Vm[] = [];
afterEach(async () => {
  for (const vm of vms.splice(0)) await vm.dispose();
});

async function make(options: SevOptions, code = CODE, more: readonly VmPlugin[] = []) {
  const reports: number[] = [];
  const backend = emulated({ tuneHost: false });
  const vm = await microVm({ code, backend, plugins: [sev(options), ...more] }, reports);
  vms.push(vm);
  return { vm, reports };
}

const platform = (chip = testChip, seed = 'own') => new EmulatedPlatform({ chip, seed });
const initialized = (made = platform()) => {
  made.driver.init();
  return made;
};

/** A guest in the middle of its wait. */
async function waiting(options: SevOptions = {}, code = CODE, more: readonly VmPlugin[] = []) {
  const made = await make({ platform: platform(), ...options }, code, more);
  await made.vm.start();
  await made.vm.pause({ at: 10_000 });
  return made;
}

/** The same page again and again. */
const REPEATED = Array.from({ length: 1000 }, () => [0x401, 1]);
const LOW = Number(SECRET & 0xffffffffn);
const FOUND = [LOW, Number(NOTE & 0xffffffffn), 1];

describe('PSP-13 a guest that runs', () => {
  test('goes on at another platform, which leaves the first without it', async () => {
    const target = initialized(platform(otherChip, 'other'));
    const source = platform();
    const { vm, reports } = await waiting({ platform: source, sendTo: () => receiverOf(target) });
    expect(reports).toEqual([0, 0]);
    const snapshot = await vm.save({ leave: true });
    expect(source.driver.guestStatus(1).state).toBe('SENT');
    expect(await vm.run()).toMatchObject({
      reason: 'error',
      message: 'the protection does not let the guest run any more',
      instructions: 10_000,
    });
    await expect(vm.save()).rejects.toMatchObject({ code: 'invalid-state' });
    const there = await make({ platform: target });
    await there.vm.restore(snapshot);
    expect(there.vm.instructions).toBe(10_000);
    expect(await there.vm.run()).toMatchObject({ reason: 'debug-exit' });
    expect(there.reports).toEqual(FOUND);
    const { lines } = there.vm.summary().protection!;
    expect(Object.fromEntries(lines)).toEqual({
      'protection by': 'emulation: this process holds the keys',
      policy: '0x23',
    });
  });

  test('has not left where the rest of its VM cannot be saved', async () => {
    const stuck = definePlugin({
      name: 'stuck',
      version: '1.0.0',
      api: 1,
      setup: (context) =>
        context.addDevice({
          name: 'stuck',
          regions: [],
          read: () => 0,
          write: () => {},
          reset: () => {},
          drain: () => Promise.resolve(),
          snapshot: () => {
            throw new Error('its state is elsewhere');
          },
          restore: () => {},
        }),
    });
    const { vm, reports } = await waiting({}, CODE, [stuck]);
    await expect(vm.save({ leave: true })).rejects.toThrow('its state is elsewhere');
    expect(await vm.run()).toMatchObject({ reason: 'debug-exit' });
    expect(reports.slice(2)).toEqual(FOUND);
  });

  test('that cannot be sent or taken back is told both, and goes on', async () => {
    const own = platform();
    const { vm, reports } = await waiting({ platform: own });
    const failing = (message: string) => () => {
      throw new Error(message);
    };
    vi.spyOn(own.driver, 'sendUpdateData').mockImplementationOnce(failing('no room'));
    vi.spyOn(own.driver, 'sendCancel').mockImplementationOnce(failing('no answer'));
    await expect(vm.save({ leave: true })).rejects.toMatchObject({
      message: 'no room; then no answer',
    });
    expect(await vm.run()).toMatchObject({ reason: 'debug-exit' });
    expect(reports.slice(2)).toEqual(FOUND);
  });

  test('is saved for its own platform, and goes on here as well', async () => {
    const { vm, reports } = await waiting();
    const snapshot = await vm.save();
    expect(await vm.run()).toMatchObject({ reason: 'debug-exit' });
    expect(reports.slice(2)).toEqual(FOUND);
    // The same chip, started again, has the same keys.
    const again = await make({ platform: platform() });
    await again.vm.restore(snapshot);
    expect(await again.vm.run()).toMatchObject({ reason: 'debug-exit' });
    expect(again.reports).toEqual(FOUND);
    const other = await make({ platform: platform(otherChip, 'other') });
    await expect(other.vm.restore(snapshot)).rejects.toMatchObject({
      code: 'io-failed',
      message: expect.stringMatching(/refuses RECEIVE_START: BAD_MEASUREMENT/),
    });
  });

  test('leaves the host with ciphertext, and with what it shares', async () => {
    const { vm } = await waiting();
    const raw = new Uint8Array(16);
    vm.memory.read(DATA, raw);
    const { state } = await vm.save();
    const hex = (_: string, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
    const { protection, backend } = state as unknown as Saved;
    const saved = JSON.stringify([protection, backend.state.memory], hex);
    expect(saved).not.toContain('8877665544332211');
    expect(saved.split('8877665588776655')).toHaveLength(2);
    // The page as it lies in memory is not there either: it is under a key that ends here.
    expect(saved).not.toContain(Buffer.from(raw).toString('hex'));
    const { stream } = decodeStream(protection);
    const bytes = stream.packets.reduce((sum, { ciphertext }) => sum + ciphertext.length, 0);
    expect(bytes).toBe((8 << 20) - 4096);
  });

  test('is refused once anything of it was changed', async () => {
    const { vm } = await waiting();
    const snapshot = await vm.save();
    const good = (snapshot.state as unknown as Saved).protection;
    const bitFlips = fc.record({
      packet: fc.nat(1000),
      part: fc.constantFrom('header' as const, 'ciphertext' as const),
      at: fc.nat(20_000),
      bit: fc.nat(7),
    });
    await fc.assert(
      fc.asyncProperty(bitFlips, async ({ packet, part, at, bit }) => {
        const changed = structuredClone(good) as unknown as Changeable;
        const { packets } = changed.state;
        const bytes = packets[packet % packets.length]![part];
        bytes[at % bytes.length]! ^= 1 << bit;
        await refused(snapshot, changed, /RECEIVE_UPDATE_DATA: BAD_MEASUREMENT/);
      }),
      { numRuns: 4 },
    );
    const cases: readonly (readonly [(state: Changeable['state']) => void, RegExp])[] = [
      [(state) => void (state.session[100]! ^= 1), /RECEIVE_START: BAD_MEASUREMENT/],
      [(state) => void (state.pdh[0x300]! ^= 1), /RECEIVE_START: /],
      [(state) => void (state.policy = 0x22), /RECEIVE_START: BAD_MEASUREMENT/],
      [(state) => void state.packets.pop(), /ends without the page at/],
      [(state) => void state.packets.push(state.packets[3]!), /a packet does not fit/],
      [(state) => void (state.packets[0]!.gpa = 0x7ff000), /a packet does not fit/],
      [(state) => void (state.packets[0]!.gpa = 0.5), /a packet is none/],
      [(state) => void (state.more.shared = [[0, 2 ** 40]]), /what the saved guest shares/],
      [(state) => void (state.more.shared = REPEATED), /what the saved guest shares/],
      [(state) => void (state.more.shared = [[5, 0]]), /what the saved guest shares/],
      [(state) => void (state.more.shared = null), /what the saved guest shares/],
      [(state) => void (state.packets[1] = state.packets[0]!), /a packet does not fit/],
      [(state) => void (state.session = state.session.slice(1)), /a part has no size/],
    ];
    for (const [change, message] of cases) {
      const changed = structuredClone(good) as unknown as Changeable;
      change(changed.state);
      await refused(snapshot, changed, message);
    }
    await refused(snapshot, { ...good, version: 3 }, /version 3 is not known/);
  });

  /** A VM that is refused has no guest left in its secure processor, and is of no further use. */
  async function refused(snapshot: Snapshot, protection: object, message: RegExp) {
    const own = platform();
    const { vm } = await make({ platform: own });
    const state = { ...(snapshot.state as object), protection } as unknown as Snapshot['state'];
    const error = { message: expect.stringMatching(message) };
    await expect(vm.restore({ ...snapshot, state })).rejects.toMatchObject(error);
    expect(own.driver.platformStatus().guests).toBe(0);
    expect(vm.status).toBe('stopped');
    await vm.dispose();
  }

  test('whose policy keeps it here, or that has told nothing, is not saved', async () => {
    const kept = await waiting({ policy: POLICY.NOSEND });
    await expect(kept.vm.save()).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/NOSEND/),
    });
    expect(await kept.vm.run()).toMatchObject({ reason: 'debug-exit' });
    const silent = await waiting({}, [...wait(20_000), ...asm.exit]);
    await expect(silent.vm.save()).rejects.toMatchObject({
      code: 'invalid-state',
      message: expect.stringMatching(/which pages it shares/),
    });
    const elsewhere = initialized(new EmulatedPlatform({ chip: makeChip(seededEntropy('maker')) }));
    const loyal = await waiting({ sendTo: () => receiverOf(elsewhere) });
    await expect(loyal.vm.save()).rejects.toMatchObject({
      message: expect.stringMatching(/refuses SEND_START: INVALID_CERTIFICATE/),
    });
    expect(await loyal.vm.run()).toMatchObject({ reason: 'debug-exit' });
  });

  test('is not restored with another policy than its own', async () => {
    const { vm } = await waiting();
    const snapshot = await vm.save();
    const other = await make({ platform: platform(), policy: 1 });
    await expect(other.vm.restore(snapshot)).rejects.toMatchObject({
      code: 'snapshot-mismatch',
      message: 'the guest was launched with policy 0x23',
    });
  });
});

test('KVM_HC_MAP_GPA_RANGE and its MSR refuse what KVM refuses', async () => {
  const code = [
    ...mapRange(0x1001, 1, 0),
    ...mapRange(0x1000, 0, 0),
    ...mapRange(0x7ff000, 2, 0),
    ...mapRange(0x7ff000, 1, 0),
    ...[...asm.cpuid(0x40000001), ...asm.reportEax, ...migration(2)],
  ];
  const { vm, reports } = await make({ platform: platform() }, code);
  // #GP without a handler.
  expect(await vm.run()).toMatchObject({ reason: 'triple-fault' });
  expect(reports.slice(0, 4).map((word) => word | 0)).toEqual([-22, -22, -22, 0]);
  expect((reports[4]! >>> 17) & 1).toBe(1);
});

interface Saved {
  readonly backend: { readonly state: { readonly memory: unknown } };
  readonly protection: Snapshot;
}

interface Changeable {
  readonly state: {
    policy: number;
    pdh: Uint8Array;
    session: Uint8Array;
    readonly packets: { gpa: number; header: Uint8Array; ciphertext: Uint8Array }[];
    readonly more: { shared: unknown };
  };
}
