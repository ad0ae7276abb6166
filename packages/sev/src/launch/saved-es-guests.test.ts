/**
 * PSP-13 with SEV-ES: guests are saved and go on on another platform, their vCPUs in every state
 * that one can be in; the host keeps no register of theirs, and what was changed is refused.
 */
import { emulated } from '@cloister/backend-emu';
import { decodeSnapshot, encodeSnapshot, type Snapshot, type Vm } from '@cloister/core';
import { afterEach, describe, expect, test } from 'vitest';
import { GHCB } from '../abi/ghcb.js';
import { POLICY } from '../abi/policy.js';
import { otherChip, testChip } from '../testing/emulated-chip.js';
import { es, esImage, esLog } from '../testing/es-guest.js';
import { asm, microVm } from '../testing/micro-guest.js';
import './node.js';
import { EmulatedPlatform } from './emulated-platform.js';
import { decodeStream, receiverOf } from './guest-stream.js';
import { type SevEsOptions, sevEs } from './sev-es.js';

const full = process.env['CLOISTER_FULL'] === '1';
const PLANTED = 0x5ec7e71337c0ffeen;
const le = (value: number, bytes: number) =>
  Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 0xff);
const le64 = (value: bigint) =>
  Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));

const mapRange = (gpa: number, pages: number, attributes: number) =>
  es.event(0x81, 0n, 0n, {
    [GHCB.CPL]: 0n,
    [GHCB.RAX]: 12n,
    [GHCB.RBX]: BigInt(gpa),
    [GHCB.RCX]: BigInt(pages),
    [GHCB.RDX]: BigInt(attributes),
  });
/** Reports the GHCB and the log as shared, and that this is all. */
const TELL = [...mapRange(0x400000, 2, 0), ...es.wrmsr(0x4b564d08, 1n)];
/** mov eax, value; note */
const note = (value: number) => [0xb8, ...le(value, 4), ...es.note];
/** mov ecx, count; loop $ */
const wait = (count: number) => [0xb9, ...le(count, 4), 0xe2, 0xfe];

const X2APIC = [...es.wrmsr(0x1b, 0xfee00d00n), ...es.wrmsr(0x80f, 0x1ffn)];
const ICR = 0x830;
const EOI = es.wrmsr(0x80b, 0n);
const SELF = 0x40000n;
const noting = (vector: number) => [0x50, ...note(vector), 0x58, 0x48, 0xcf];

/** Instructions into a wait. */
const MIDDLE = 10_000;

const vms: Vm[] = [];
afterEach(disposeAll);

async function disposeAll(): Promise<void> {
  for (const vm of vms.splice(0)) await vm.dispose();
}

const platform = (chip = testChip, seed = 'own') => new EmulatedPlatform({ chip, seed });

interface Program {
  readonly body: readonly number[];
  readonly handlers?: Readonly<Record<number, readonly number[]>>;
  readonly cpus?: number;
}

async function make(program: Program, options: SevEsOptions) {
  const { body, handlers, cpus = 1 } = program;
  const vm = await microVm({
    code: esImage(body, handlers),
    backend: emulated({ tuneHost: false }),
    cpus,
    plugins: [sevEs(options)],
  });
  vms.push(vm);
  return vm;
}

/** Runs to its end and says what the guest noted. */
async function finish(vm: Vm): Promise<readonly number[]> {
  const end = await vm.run();
  expect(end.reason, end.message).toBe('stopped');
  return esLog(vm.memory);
}

/** The guest paused before instruction `at`, and a VM at another platform that can take it. */
async function pair(program: Program, at: number, options: SevEsOptions = {}) {
  const target = platform(otherChip, 'other');
  target.driver.init({ es: true });
  const sendTo = () => receiverOf(target);
  const source = await make(program, { platform: platform(), sendTo, ...options });
  await source.start();
  await source.pause({ at });
  return { source, target: await make(program, { platform: target }) };
}

/** Moves the guest before instruction `at`; what it noted on both sides. */
async function moved(program: Program, at: number): Promise<readonly number[]> {
  const { source, target } = await pair(program, at);
  const snapshot = await source.save({ leave: true });
  await target.restore(snapshot);
  expect(target.instructions).toBe(at);
  const log = await finish(target);
  await disposeAll();
  return log;
}

/** The least count at which the guest may be saved: it has told what it shares. */
async function readyFrom(program: Program, most: number): Promise<number> {
  let [least, ready] = [0, most];
  while (least < ready) {
    const at = (least + ready) >> 1;
    const { source } = await pair(program, at);
    const refusal = await source.save().then(
      () => undefined,
      (error: unknown) => error,
    );
    if (refusal === undefined) ready = at;
    else {
      expect(refusal).toMatchObject({ code: 'invalid-state' });
      least = at + 1;
    }
    await disposeAll();
  }
  return ready;
}

/** What the guest noted, and the instructions of its whole run. */
async function length(program: Program) {
  const vm = await make(program, { platform: platform() });
  const log = await finish(vm);
  return { log, instructions: vm.instructions };
}

describe('PSP-13 an SEV-ES guest', () => {
  /** Events in flight: CPUID, an interrupt at IF = 0, a window, HLT, an NMI in its handler. */
  const EVENTS: Program = {
    body: [
      ...[...TELL, ...X2APIC],
      // CR4.OSFXSR; mov r12, planted; movq xmm3, r12
      ...[0x0f, 0x20, 0xe0, 0x0f, 0xba, 0xe8, 9, 0x0f, 0x22, 0xe0],
      ...[0x49, 0xbc, ...le64(PLANTED), 0x66, 0x49, 0x0f, 0x6e, 0xdc],
      ...[...es.event(0x72, 0n, 0n, { [GHCB.RAX]: 0n, [GHCB.RCX]: 0n }), ...es.noteField(GHCB.RBX)],
      // An interrupt waits, its window is open soon: sti; nop; cli
      ...[...es.wrmsr(ICR, SELF | 0x40n), ...note(1), 0xfb, 0x90, 0xfa, ...note(2), ...EOI],
      // sti; hlt
      ...[...es.wrmsr(ICR, SELF | 0x41n), 0xfb, 0xf4, 0xfa, ...note(3), ...EOI],
      // Two NMIs, the second of which waits for the end of the first.
      ...[...es.wrmsr(ICR, 0x402n), 0x90, ...note(4), ...es.wrmsr(ICR, 0x402n), 0x90, ...note(5)],
      ...[...es.event(0x80000003), 0x90, ...note(6)],
      // What CR4 is, the host knows by a trap only: bts eax, 18 (OSXSAVE)
      ...[0x0f, 0x20, 0xe0, 0x0f, 0xba, 0xe8, 18, 0x0f, 0x22, 0xe0, 0x90],
      ...es.event(0x72, 0n, 0n, { [GHCB.RAX]: 1n, [GHCB.RCX]: 0n }),
      ...es.noteField(GHCB.RCX),
      // mov eax, r12d; movq rax, xmm3
      ...[0x44, 0x89, 0xe0, ...es.note, 0x66, 0x48, 0x0f, 0x7e, 0xd8, ...es.note, ...es.end],
    ],
    handlers: { 2: noting(2), 0x40: noting(0x40), 0x41: noting(0x41) },
  };

  test('goes on at another platform, whichever instruction it was stopped at', async () => {
    const { log, instructions } = await length(EVENTS);
    const low = Number(PLANTED & 0xffffffffn);
    expect(log.slice(1, 10)).toEqual([1, 0x40, 2, 0x41, 3, 2, 4, 5, 2]);
    expect(log.slice(-2)).toEqual([low, low]);
    const first = await readyFrom(EVENTS, instructions - 1);
    const every = full ? 1 : Math.ceil((instructions - first) / 3);
    for (let at = instructions - 1; at >= first; at -= every) {
      expect(await moved(EVENTS, at), `stopped before ${at}`).toEqual(log);
    }
  }, 600_000);

  // xor ax, ax; mov ds, ax; mov word [marker], 0x1234; cli; hlt; in real mode
  const [start, marker] = [0xe000, 0xf000];
  const ap = [0x31, 0xc0, 0x8e, 0xd8, 0xc7, 0x06, ...le(marker, 2), 0x34, 0x12, 0xfa, 0xf4];
  const quad = (bytes: readonly number[]) =>
    bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const icr = (mode: bigint) => es.wrmsr(ICR, (1n << 32n) | mode);
  const [INIT, SIPI] = [icr(0x4500n), icr(0x4601n)];
  const PREPARE = [
    ...[...TELL, ...es.wrmsr(0x1b, 0xfee00d00n), ...asm.store(marker, 0n)],
    ...[...asm.store(start, quad(ap.slice(0, 8))), ...asm.store(start + 8, quad(ap.slice(8)))],
  ];
  /** IP, CS of the jump table. */
  const FILL = asm.store(0x5000, BigInt(start >> 4) << 16n);
  /** wait: cmp word [marker], 0; je wait */
  const UNTIL = [0x66, 0x83, 0x3c, 0x25, ...le(marker, 4), 0, 0x74, 0xf5];
  const STARTED = [...UNTIL, ...es.noteWord(marker), ...es.end];

  const START = [...INIT, ...SIPI];
  test.each<[string, readonly number[], readonly number[]]>([
    ['that has never run', FILL, START],
    ['after INIT', [...FILL, ...INIT], SIPI],
    ['that holds until the next SIPI', [...START, ...wait(200_000)], [...FILL, ...SIPI]],
    ['that halts with interrupts disabled', [...FILL, ...START, ...UNTIL, ...wait(200_000)], []],
  ])('moves with another CPU %s', async (_, first, then) => {
    const before = [...PREPARE, ...first, ...note(7)];
    const program = {
      body: [...before, ...wait(20_000), ...note(8), ...then, ...STARTED],
      cpus: 2,
    };
    const { instructions } = await length({ body: [...before, ...es.end], cpus: 2 });
    const { source, target } = await pair(program, instructions + MIDDLE);
    expect(esLog(source.memory)).toEqual([7]);
    await target.restore(await source.save({ leave: true }));
    expect(await finish(target)).toEqual([7, 8, 0x1234]);
  });

  /** In its wait, with a register that nobody may find. */
  const WAITING: Program = {
    body: [
      ...[...TELL, 0x49, 0xbc, ...le64(PLANTED), ...note(1), ...wait(20_000)],
      ...[0x44, 0x89, 0xe0, ...es.note, ...es.end],
    ],
  };
  const FOUND = [1, Number(PLANTED & 0xffffffffn)];

  test('leaves no register to the host, and runs here no more', async () => {
    const { source, target } = await pair(WAITING, MIDDLE);
    const snapshot = await source.save({ leave: true });
    const hex = (_: string, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
    const text = JSON.stringify(snapshot, hex);
    const planted = Buffer.alloc(8);
    planted.writeBigUInt64LE(PLANTED);
    expect(text).not.toContain(planted.toString('hex'));
    expect(text).not.toContain(PLANTED.toString(16));
    const { vmsas } = (snapshot.state as unknown as Saved).protection.state;
    expect(vmsas.map(({ ciphertext }) => ciphertext.length)).toEqual([4096]);
    expect(await source.run()).toMatchObject({ reason: 'error', instructions: MIDDLE });
    // Through a file, as `cloister` does.
    await target.restore(await decodeSnapshot(await encodeSnapshot(snapshot)));
    expect(await finish(target)).toEqual(FOUND);
    expect(Object.fromEntries(target.summary().protection!.lines)).toMatchObject({
      policy: '0x27',
    });
  });

  test('stays where what was saved cannot be kept, and goes on', async () => {
    const own = platform();
    const { source } = await pair(WAITING, MIDDLE, { platform: own });
    const keep = () => Promise.reject(new Error('the disk is full'));
    await expect(source.save({ leave: true, keep })).rejects.toThrow('the disk is full');
    expect(own.driver.guestStatus(1).state).toBe('RUNNING');
    expect(await finish(source)).toEqual(FOUND);
  });

  test('that ends while what was saved is kept has left', async () => {
    const { source, target } = await pair(WAITING, MIDDLE);
    const snapshot = await source.save({ leave: true, keep: () => source.dispose() });
    await target.restore(snapshot);
    expect(await finish(target)).toEqual(FOUND);
  });

  test('takes a page over to which the processor owes the state of another', async () => {
    const own = platform();
    const sendTo = () => receiverOf(own);
    const { source } = await pair(WAITING, MIDDLE, { platform: own, sendTo });
    const { protection } = (await source.save()).state as unknown as Saved;
    const { stream } = decodeStream(protection as unknown as Snapshot);
    const stands = source.pause({ at: MIDDLE + 100 });
    source.resume();
    await stands;
    const { driver, controller } = own;
    const at = controller.memory.size - 4096;
    expect(controller.memory.isDeferred(at)).toBe(true);
    const handle = driver.receiveStart(stream);
    driver.activate(handle, 2);
    driver.receiveUpdateVmsa(handle, stream.vmsas[0]!, at);
    driver.receiveFinish(handle);
    driver.sendStart(handle, receiverOf(own));
    // It is what was received: the firmware vouches for it.
    driver.sendUpdateVmsa(handle, at);
    expect(await source.run()).toMatchObject({ reason: 'error' });
  });

  test('is refused once anything of it was changed', async () => {
    const { source } = await pair(WAITING, MIDDLE, { sendTo: () => receiverOf(own) });
    const own = platform(otherChip, 'other');
    own.driver.init({ es: true });
    const good = await source.save();
    const cases: readonly (readonly [(state: Saved) => void, RegExp])[] = [
      [bitOf('ciphertext', 0x178), /RECEIVE_UPDATE_VMSA: BAD_MEASUREMENT/],
      [bitOf('header', 3), /RECEIVE_UPDATE_VMSA: BAD_MEASUREMENT/],
      [bitOf('header', 50), /RECEIVE_UPDATE_VMSA: BAD_MEASUREMENT/],
      [({ protection }) => void protection.state.vmsas.pop(), /the state of 0 CPUs/],
      [({ protection }) => void (protection.state.vmsas = null as never), /no list of CPUs/],
      [(saved) => void (host(saved).vcpus[0]!.halted = 1), /a CPU of the guest is damaged/],
      [(saved) => void (host(saved).vcpus[0]!.ghcb = [1]), /a CPU of the guest is damaged/],
      [(saved) => void (host(saved).vcpus[0]!.event = BAD_EVENT), /a CPU of the guest is damaged/],
      [(saved) => void host(saved).vcpus.pop(), /not the state of a SEV-ES guest/],
      [(saved) => void (host(saved).hypervisor.state.ghcbVersion = 1), /saved under kvm, GHCB/],
    ];
    for (const [change, message] of cases) {
      const there = platform(otherChip, 'other');
      const vm = await make(WAITING, { platform: there });
      const changed = structuredClone(good) as unknown as Snapshot & { state: Saved };
      change(changed.state);
      await expect(vm.restore(changed)).rejects.toMatchObject({
        message: expect.stringMatching(message),
      });
      const { state } = there.driver.platformStatus();
      expect(state === 'UNINIT' || there.driver.platformStatus().guests === 0).toBe(true);
    }
  });

  test('runs from its VMSA alone, whatever the host writes into the file', async () => {
    const { source, target } = await pair(WAITING, MIDDLE);
    const snapshot = structuredClone(await source.save({ leave: true }));
    const saved = snapshot.state as unknown as Saved;
    // A CPU that sleeps, they say, while its processor runs, and with other registers.
    host(saved).vcpus[0]!.halted = true;
    const { record } = saved.backend.state.cpus[0]!.state;
    record.subarray(0, 128).fill(0x41);
    await target.restore(snapshot);
    expect(await target.run()).toMatchObject({ reason: 'stopped', instructions: MIDDLE });
    const again = await pair(WAITING, MIDDLE);
    const other = structuredClone(await again.source.save({ leave: true }));
    const { state } = (other.state as unknown as Saved).backend.state.cpus[0]!;
    state.record.subarray(0, 128).fill(0x41);
    await again.target.restore(other);
    expect(await finish(again.target)).toEqual(FOUND);
  });

  test('whose VMSA the host has changed is not sent', async () => {
    const own = platform();
    const { source } = await pair(WAITING, MIDDLE, { platform: own });
    const { memory } = own.controller;
    const word = new Uint8Array(1);
    const at = memory.size - 4096 + 0x350;
    memory.read(at, word, 0);
    word[0]! ^= 1;
    memory.write(at, word, 0);
    await expect(source.save({ leave: true })).rejects.toMatchObject({
      message: expect.stringMatching(/refuses SEND_UPDATE_VMSA: INVALID_PARAM/),
    });
    expect(own.driver.guestStatus(1).state).toBe('RUNNING');
    expect(await source.run()).toMatchObject({ reason: 'error' });
  });

  test.each<[string, SevEsOptions, RegExp]>([
    ['with NOSEND', { policy: POLICY.ES | POLICY.NOSEND }, /NOSEND/],
    [
      'on vmm(4), which no guest tells what it shares,',
      { host: 'openbsd' },
      /which pages it shares/,
    ],
  ])('%s is not saved', async (_, options, message) => {
    const body = [...wait(20_000), ...es.end];
    const vm = await make({ body }, { platform: platform(), ...options });
    await vm.start();
    await vm.pause({ at: MIDDLE });
    await expect(vm.save()).rejects.toMatchObject({ message: expect.stringMatching(message) });
  });

  const BAD_EVENT = { vector: 40, type: 3, errorCode: null };
  const host = ({ backend }: Saved) => backend.state.extensions['sev-es'].state;
  const bitOf = (part: 'header' | 'ciphertext', at: number) => (saved: Saved) => {
    saved.protection.state.vmsas[0]![part][at]! ^= 0x10;
  };
});

interface Saved {
  readonly protection: {
    readonly state: { vmsas: { header: Uint8Array; ciphertext: Uint8Array }[] };
  };
  readonly backend: {
    readonly state: {
      readonly cpus: { readonly state: { readonly record: Uint8Array } }[];
      readonly extensions: {
        readonly 'sev-es': {
          readonly state: {
            readonly vcpus: { halted: unknown; ghcb: unknown; event: unknown }[];
            readonly hypervisor: { readonly state: { ghcbVersion: number } };
          };
        };
      };
    };
  };
}
