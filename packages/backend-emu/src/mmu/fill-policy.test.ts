/**
 * SEV-01, SEV-02, the processor's part: two views of one memory under an extension's keys, exact
 * for every access; exceptions of the extension's own; bits of table entries that it claims.
 */
import type { CpuExtension, FillRequest, FillVerdict, FrameCipher } from '@cloister/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../cpu/layout.js';
import { TestComputer } from '../cpu/test-computer.js';
import { AT, RAM_BASE, RAM_SIZE, TestProcessor } from '../cpu/test-processor.js';
import { TRANSLATE_FAULT, TRANSLATE_MMIO } from './mmu.js';
import { FRAME_DIRTY } from './physical.js';
import { systemMemory } from './system-memory.js';
import { EXECUTE, READ, WRITE } from './walk.js';

/** Within the model's physical address, so that no bit need be claimed. */
const KEY_BIT = 45;
const KEY = 1n << BigInt(KEY_BIT);
const TAG = 5;
const PAGE = 4096;
/** Bit of a verdict's permissions. */
const WRITE_RIGHT = 2;
/** Frames under test, and the virtual pages that show them: three frames, private and shared. */
const FRAMES = [0x40000, 0x41000, 0x42000];
const VIEWS = 0x60000;

/** Swaps the halves of each 16-byte block and mixes address and key in. */
const cipher: FrameCipher = {
  encrypt: (tag, spa, frames) => mixAll(frames, tag * 7 + spa / PAGE),
  decrypt: (tag, spa, frames) => mixAll(frames, tag * 7 + spa / PAGE),
};

function mixAll(frames: Uint8Array, key: number): void {
  for (let at = 0; at < frames.length; at += PAGE) {
    mix(frames.subarray(at, at + PAGE), key + at / PAGE);
  }
}

function mix(frame: Uint8Array, key: number): void {
  for (let at = 0; at < PAGE; at += 16) {
    const block = frame.slice(at, at + 16);
    for (let i = 0; i < 16; i++) frame[at + i] = block[i ^ 8]! ^ ((key + (at >> 4)) & 0xff);
  }
}

/** As SEV has it: walks, fetches and accesses without a choice are private. */
function policy(t: TestProcessor): CpuExtension {
  const memory = systemMemory(t.physical);
  const fill = (request: FillRequest): FillVerdict => {
    const { access, implicit } = request;
    const marked = (request.gpaHi & (1 << (KEY_BIT - 32))) !== 0;
    const gpa = (request.gpaHi & ~(1 << (KEY_BIT - 32))) * 2 ** 32 + request.gpaLo;
    const spa = memory.locate(gpa);
    if (spa < 0) return { kind: 'device', gpa };
    const keyTag = marked || implicit || access === 'execute' ? TAG : 0;
    const permissions = marked || implicit ? 7 : access === 'execute' ? 4 : 3;
    return { kind: 'page', gpa, spa, permissions, keyTag };
  };
  return { name: 'test', cipher, fill };
}

/** Long mode with everything private but the virtual pages at odd places from VIEWS on. */
function machine(extension = policy, t = new TestProcessor()): TestProcessor {
  t.longMode();
  for (let i = 0; i < 512; i++) t.setU64(t.pte(i * PAGE), t.u64(t.pte(i * PAGE)) | KEY);
  FRAMES.forEach((frame, i) => {
    t.setU64(t.pte(VIEWS + 2 * i * PAGE), BigInt(frame) | KEY | 7n);
    t.setU64(t.pte(VIEWS + (2 * i + 1) * PAGE), BigInt(frame) | 7n);
  });
  t.physical.keys.cipher = cipher;
  // What the test wrote is what the guest sees.
  t.physical.keys.tags.fill(TAG);
  t.cpu.mmu.setFillPolicy(extension(t), t.cpu.extension);
  return t;
}

/** One memory of three frames, raw, and its two views. */
class Model {
  private readonly raw = FRAMES.map((frame): Uint8Array => {
    const bytes = new Uint8Array(PAGE);
    cipher.encrypt(TAG, frame, bytes);
    return bytes;
  });

  /** Bytes from `offset` of the virtual pages at VIEWS on. */
  read(offset: number, length: number): Uint8Array {
    return Uint8Array.from({ length }, (_, i) => {
      const at = offset + i;
      return this.view(at >> 12)[at % PAGE]!;
    });
  }

  write(offset: number, bytes: Uint8Array): void {
    bytes.forEach((byte, i) => {
      const at = offset + i;
      const page = this.view(at >> 12);
      page[at % PAGE] = byte;
      const frame = (at >> 13) % FRAMES.length;
      if ((at >> 12) % 2 === 0) cipher.encrypt(TAG, FRAMES[frame]!, page);
      this.raw[frame] = page;
    });
  }

  rawFrame(index: number): Uint8Array {
    return this.raw[index]!;
  }

  private view(page: number): Uint8Array {
    const frame = page >> 1;
    const bytes = this.raw[frame]!.slice();
    if (page % 2 === 0) cipher.decrypt(TAG, FRAMES[frame]!, bytes);
    return bytes;
  }
}

const LENGTH = FRAMES.length * 2 * PAGE;
const access = fc.record({
  // Near the borders of pages as often as elsewhere.
  offset: fc.oneof(
    fc.nat(LENGTH - 65),
    fc
      .tuple(fc.nat(4), fc.integer({ min: -64, max: 64 }))
      .map(([page, by]) => Math.max(0, (page + 1) * PAGE + by)),
  ),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 64 }),
  write: fc.boolean(),
  rmw: fc.boolean(),
});

describe('memory under keys', () => {
  it('SEV-01: both views of each frame are exact, whatever the accesses', () => {
    fc.assert(
      fc.property(fc.array(access, { minLength: 1, maxLength: 40 }), (accesses) => {
        const t = machine();
        const model = new Model();
        const { memory } = t.cpu;
        for (const { offset, bytes, write, rmw } of accesses) {
          const seen = new Uint8Array(bytes.length);
          memory.readBytes(VIEWS + offset, 0, seen, 0);
          expect(seen).toEqual(model.read(offset, bytes.length));
          if (!write) continue;
          if (rmw) {
            memory.prepareRmw(VIEWS + offset, 0, bytes.length);
            t.record.bytes.set(bytes, L.BOUNCE);
            memory.commitRmw();
          } else memory.writeBytes(VIEWS + offset, 0, bytes, 0);
          model.write(offset, bytes);
        }
        FRAMES.forEach((frame, i) => {
          const raw = new Uint8Array(PAGE);
          t.physical.keys.read(frame, raw, 0);
          expect(raw).toEqual(model.rawFrame(i));
        });
      }),
      { numRuns: 25 },
    );
  });

  it('SEV-01: host and devices see ciphertext, without a change of how the frame is kept', () => {
    const t = machine();
    const { keys } = t.physical;
    t.cpu.memory.write32(VIEWS, 0, 0x11223344, 0);
    const before = keys.switches;
    const raw = t.physical.ciphertext(FRAMES[0]!)!;
    expect(new DataView(raw.buffer).getUint32(0, true)).not.toBe(0x11223344);
    expect([keys.switches, keys.tags[FRAMES[0]! / PAGE]]).toEqual([before, TAG]);
    // A byte of ciphertext is one of its block in plaintext.
    raw[3] ^= 0xff;
    t.physical.storeCiphertext(FRAMES[0]!, raw);
    const page = new Uint8Array(64);
    t.cpu.memory.readBytes(VIEWS, 0, page, 0);
    expect(
      [...page.keys()].filter((at) => page[at] !== [0x44, 0x33, 0x22, 0x11][at] && page[at]),
    ).toEqual([11]);
  });

  it('SEV-01: a fill that meets ROM leaves what the frame holds under its key', () => {
    const t = machine((machine) => {
      const { fill } = policy(machine);
      return {
        name: 'rom',
        fill(request, vcpu) {
          const verdict = fill!(request, vcpu);
          const rom = verdict.kind === 'page' && verdict.spa === FRAMES[0];
          return rom ? { ...verdict, permissions: verdict.permissions & ~WRITE_RIGHT } : verdict;
        },
      };
    });
    const { keys, memory } = t.physical;
    memory.fill(0x77, RAM_BASE + FRAMES[0]!, RAM_BASE + FRAMES[0]! + PAGE);
    const raw = t.physical.ciphertext(FRAMES[0]!);
    t.cpu.mmu.overwriting = true;
    expect(t.cpu.mmu.translate(VIEWS + PAGE, 0, WRITE, 0)).toBe(TRANSLATE_MMIO);
    const seen = new Uint8Array(PAGE);
    keys.read(FRAMES[0]!, seen, 0);
    expect(seen).toEqual(raw);
    // A page of RAM is taken over as it is.
    const { switches } = keys;
    expect(t.cpu.mmu.translate(VIEWS + 3 * PAGE, 0, WRITE, 0)).toBe(RAM_BASE + FRAMES[1]!);
    expect([keys.switches, keys.tags[FRAMES[1]! / PAGE]]).toEqual([switches, 0]);
  });

  it('a write of the secure processor over several frames is noted in each', () => {
    const t = machine();
    const { physical } = t;
    const frames = FRAMES.map((frame) => frame / PAGE);
    for (const frame of frames) physical.flags[frame] = 0;
    for (const frame of frames) physical.markCode(frame);
    const seen: number[][] = [];
    physical.onCodeWrite = (...write) => void seen.push(write);
    systemMemory(physical).write(FRAMES[0]! + 16, new Uint8Array(2 * PAGE), TAG);
    expect(seen).toEqual([
      [frames[0], 16, PAGE - 16],
      [frames[1], 0, PAGE],
      [frames[2], 0, 16],
    ]);
    expect(frames.map((frame) => (physical.flags[frame]! & FRAME_DIRTY) !== 0)).toEqual([
      ...[true, true, true],
    ]);
  });

  it('SEV-02: what is fetched is private, and so are tables, however the page is mapped', () => {
    const t = machine();
    const { mmu, memory } = t.cpu;
    memory.write8(VIEWS, 0, 0x90, 0);
    expect(mmu.translate(VIEWS + PAGE, 0, EXECUTE, 0)).toBe(RAM_BASE + FRAMES[0]!);
    expect(t.physical.memory[RAM_BASE + FRAMES[0]!]).toBe(0x90);
    // Data by the same mapping is raw, and the fetch's translation does not serve it.
    const raw = memory.read8(VIEWS + PAGE, 0, 0);
    expect(raw).not.toBe(0x90);
    expect(mmu.translate(VIEWS + PAGE, 0, EXECUTE, 0)).toBe(RAM_BASE + FRAMES[0]!);
    expect(t.physical.memory[RAM_BASE + FRAMES[0]!]).toBe(0x90);
    // An entry written through a shared mapping of its table is garbled for the walk.
    const table = t.pte(0) & ~(PAGE - 1);
    t.setU64(t.pte(VIEWS + PAGE), BigInt(table) | 7n);
    mmu.tlb.flushAll();
    const target = 0x70000;
    memory.write64(
      VIEWS + PAGE + (t.pte(target) - table),
      0,
      FRAMES[2]! | 3,
      1 << (KEY_BIT - 32),
      0,
    );
    mmu.tlb.flushAll();
    expect(mmu.translate(target, 0, READ, 0)).not.toBe(RAM_BASE + FRAMES[2]!);
    expect(t.u64(t.pte(target))).not.toBe(BigInt(FRAMES[2]! | 3) | KEY);
  });

  it('SEV-02: everything is private without paging and under 32-bit tables', () => {
    const requests: Pick<FillRequest, 'access' | 'implicit'>[] = [];
    const t = new TestProcessor().protectedMode();
    const { mmu, record } = t.cpu;
    t.physical.keys.cipher = cipher;
    const { fill } = policy(t);
    const watched: CpuExtension = {
      name: 'watched',
      fill: (request, vcpu) => {
        requests.push({ access: request.access, implicit: request.implicit });
        return fill!(request, vcpu);
      },
    };
    mmu.setFillPolicy(watched, t.cpu.extension);
    mmu.translate(AT.code, 0, READ, 0);
    t.physical.keys.replace(AT.tables / PAGE, TAG, new Uint8Array(PAGE));
    t.view.setUint32(AT.tables, 0x83, true);
    record.setPair(L.CR3, AT.tables, 0);
    record.setPair(L.CR4, 0x10, 0);
    record.setPair(L.CR0, 0x80000033 | 0, 0);
    mmu.reconfigure();
    expect(mmu.translate(AT.stack, 0, WRITE, 0)).toBe(RAM_BASE + AT.stack);
    expect(requests).toEqual([
      { access: 'read', implicit: true },
      { access: 'walk', implicit: true },
      { access: 'write', implicit: true },
    ]);
    expect(t.physical.keys.tags[AT.stack / PAGE]).toBe(TAG);
  });

  it('a guest that goes from view to view all the time leaves the host its turns', () => {
    const t = new TestComputer();
    machine(policy, t);
    // inc dword [VIEWS]; inc dword [VIEWS + PAGE]; jmp back
    t.load(AT.code, 'ff 04 25 00 00 06 00  ff 04 25 00 10 06 00  eb f0');
    const executed = () => {
      const before = t.vcpu.executed;
      expect(t.run(200_000)).toBe('slice');
      return t.vcpu.executed - before;
    };
    for (let run = 0; run < 3; run++) {
      const count = executed();
      expect(count).toBeGreaterThan(100);
      expect(count).toBeLessThan(400);
    }
    // In the end nothing is lost: what is due comes at its count.
    expect(t.run(100)).toBe('slice');
    expect(t.rip - AT.code).toBe([0, 7, 14][t.vcpu.executed % 3]);
    // Code that stays in one view gets its slices whole again, soon.
    t.load(AT.code, 'eb fe').record.setPair(L.RIP, AT.code, 0);
    expect(executed()).toBe(200_000);
  });

  it('is not asked at misses of a running guest where its verdicts last', () => {
    const askedBy = (lastingVerdicts: boolean) => {
      let asked = 0;
      let decide: NonNullable<CpuExtension['fill']>;
      const extension: CpuExtension = {
        ...{ name: 'test', cipher, tableBits: [KEY_BIT], lastingVerdicts },
        fill: (request, vcpu) => {
          asked++;
          return decide(request, vcpu);
        },
      };
      const t = new TestComputer('', undefined, [extension]);
      machine(() => extension, t);
      decide = policy(t).fill!;
      t.physical.written(0, RAM_SIZE);
      // mov rax, cr3; mov cr3, rax; mov ecx, [private]; mov [shared], ecx; jmp back
      t.load(AT.code, '0f 20 d8  0f 22 d8  8b 0c 25 00 00 06 00  89 0c 25 00 30 06 00  eb ea');
      // The code's page is global: it stays.
      t.setU64(t.pte(AT.code), t.u64(t.pte(AT.code)) | 0x100n);
      t.record.setPair(L.CR4, t.record.lo(L.CR4) | 0x80, 0);
      t.cpu.mmu.reconfigure();
      t.run(50);
      const before = [asked, t.cpu.mmu.tlb.fills] as const;
      t.run(5000);
      return { asked: asked - before[0], fills: t.cpu.mmu.tlb.fills - before[1] };
    };
    const [without, lasting] = [askedBy(false), askedBy(true)];
    expect(lasting.fills).toBe(without.fills);
    expect(lasting.fills).toBe(2000);
    expect(without.asked).toBe(5 * 2000);
    expect(lasting.asked).toBe(0);
  });

  it('SEV-09: string I/O reads ciphertext in private pages and plaintext in shared ones', () => {
    const t = machine();
    const { memory, record } = t.cpu;
    const string = [1, 2, 3, 4, 5, 6, 7, 8];
    memory.writeBytes(VIEWS + 16, 0, Uint8Array.from(string), 0);
    memory.writeBytes(VIEWS + 3 * PAGE + 16, 0, Uint8Array.from(string), 0);
    const outs = (address: number): number[] => {
      record.setPair(L.gprOffset(1), 8, 0);
      record.setPair(L.gprOffset(6), address, 0);
      record.setI32(L.BUDGET, 100);
      t.call('outs', 1, 1, 8, L.ZERO);
      const exit = t.exits.at(-1);
      return exit?.kind === 'io' ? [...exit.data] : [];
    };
    expect(outs(VIEWS + 16)).not.toEqual(string);
    expect(outs(VIEWS + 3 * PAGE + 16)).toEqual(string);
    t.onExit = (exit) => {
      if (exit.kind === 'io') exit.data.fill(0x5a);
    };
    const ins = (address: number): number[] => {
      record.setPair(L.gprOffset(1), 8, 0);
      record.setPair(L.gprOffset(7), address, 0);
      // The exit that the test keeps is a copy: the device's answer comes by the sink itself.
      t.cpu.exits.sink = (exit) => t.onExit(exit);
      t.call('ins', 1, 1, 8);
      const bytes = new Uint8Array(8);
      memory.readBytes(address, 0, bytes, 0);
      return [...bytes];
    };
    expect(ins(VIEWS + 3 * PAGE)).toEqual(Array(8).fill(0x5a));
    expect(ins(VIEWS + 2 * PAGE)).not.toEqual(Array(8).fill(0x5a));
  });

  it('delivers an exception of the extension in place of the access, also in a walk', () => {
    const exception = { vector: 29, errorCode: 0x404 };
    let refused: FillRequest['access'] = 'write';
    const t = machine((machine) => {
      const { fill } = policy(machine);
      return {
        name: 'strict',
        fill: (request, vcpu) =>
          request.access === refused ? { kind: 'exception', exception } : fill!(request, vcpu),
      };
    });
    const { mmu } = t.cpu;
    expect(mmu.translate(VIEWS, 0, READ, 0)).toBe(RAM_BASE + FRAMES[0]!);
    expect(mmu.translate(VIEWS, 0, WRITE, 0)).toBe(TRANSLATE_FAULT);
    expect(t.fault).toEqual([29, 0x404]);
    refused = 'walk';
    mmu.tlb.flushAll();
    t.record.setI32(L.FAULT_VECTOR, -1);
    expect(mmu.translate(VIEWS, 0, READ, 0)).toBe(TRANSLATE_FAULT);
    expect(t.fault).toEqual([29, 0x404]);
  });

  it('shows devices behind the masked address', () => {
    const t = machine();
    t.setU64(t.pte(VIEWS), BigInt(RAM_SIZE) | KEY | 7n);
    expect(t.cpu.mmu.translate(VIEWS + 8, 0, READ, 0)).toBe(TRANSLATE_MMIO);
    expect(t.cpu.mmu.gpa).toBe(RAM_SIZE + 8);
  });
});
