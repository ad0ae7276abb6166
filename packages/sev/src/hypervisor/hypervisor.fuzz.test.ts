// Whatever a guest puts into its GHCB, its GHCB MSR and its scratch address: the hypervisor
// answers, ends after bounded work, and writes nothing but the reply and the scratch area.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GHCB, GHCB_SIZE, IOIO } from '../abi/ghcb.js';
import { decodeEvent, EXIT, encodeEvent } from '../abi/vmcb.js';
import { AT, HypervisorBench } from '../testing/hypervisor-bench.js';
import { GHCB_EVENTS } from './ghcb-protocol.js';
import { MSR_REQUESTS } from './msr-protocol.js';
import { SCRATCH_LIMIT } from './scratch-area.js';

const FULL = process.env['CLOISTER_FULL'] === '1';
const VMGEXITS = FULL ? 1_000_000 : 3_000;
const NEXTS = ['run', 'halt', 'reset-hold', 'terminated'];
const EVENTS = [...GHCB_EVENTS.keys()];
const REQUESTS = [...MSR_REQUESTS.keys()];

/** Marsaglia's xorshift of 32 bits: the same guest for the same seed. */
class Dice {
  constructor(private state: number) {}

  /** 0 to 2^32 - 1. */
  word(): number {
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    this.state = x ^= x << 5;
    return x >>> 0;
  }

  below(end: number): number {
    return this.word() % end;
  }

  chance(outOf: number): boolean {
    return this.below(outOf) === 0;
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }

  wide(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}

const GHCBS = [0, AT.ghcb, AT.shared, AT.private, AT.ramEnd - 0x1000, AT.ramEnd, AT.rom];
const EDGES = [0n, 1n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 53n, 2n ** 52n - 4n, 2n ** 32n];

/** An address or length: something near an edge more often than not. */
function number(dice: Dice, ghcb: number): bigint {
  switch (dice.below(6)) {
    case 0:
      return dice.pick(EDGES);
    case 1:
      return BigInt(ghcb + dice.below(GHCB_SIZE));
    case 2:
      return BigInt(ghcb + GHCB.SHARED_BUFFER);
    case 3:
      return BigInt(dice.below(AT.ramEnd + 0x2000));
    case 4:
      return BigInt(dice.below(64));
    default:
      return dice.wide();
  }
}

/** A GHCB that is mostly sensible, or mere noise. */
function roll(bench: HypervisorBench, dice: Dice, ghcb: number): void {
  const { bytes } = bench.memory;
  if (ghcb + GHCB_SIZE > AT.ramEnd) return;
  const view = new DataView(bytes.buffer, ghcb, GHCB_SIZE);
  const noise = dice.chance(16);
  for (let at = noise ? 0 : GHCB.SW_EXITCODE; at < GHCB.X87_STATE_GPA; at += 4) {
    view.setUint32(at, dice.word(), true);
  }
  view.setUint32(GHCB.USAGE, dice.chance(50) ? dice.word() : 0, true);
  if (noise) return;
  for (const at of [GHCB.RAX, GHCB.RCX, GHCB.RDX]) view.setBigUint64(at, number(dice, ghcb), true);
  const code = dice.chance(8) ? dice.below(0x100) : dice.pick(EVENTS);
  view.setBigUint64(GHCB.SW_EXITCODE, BigInt(code), true);
  const port = (dice.below(0x10000) << 16) | (dice.below(16) & ~IOIO.IN) | (1 << dice.below(8));
  const info1 = dice.chance(2) ? BigInt(port >>> 0) | BigInt(dice.below(2)) : number(dice, ghcb);
  view.setBigUint64(GHCB.SW_EXITINFO1, info1, true);
  view.setBigUint64(GHCB.SW_EXITINFO2, number(dice, ghcb), true);
  view.setBigUint64(GHCB.SW_SCRATCH, number(dice, ghcb), true);
  if (dice.chance(4)) return;
  bytes.fill(0xff, ghcb + GHCB.VALID_BITMAP, ghcb + GHCB.VALID_BITMAP + 16);
}

/** Where a reply may be written: its registers, INFO1 and 2, the bitmap. */
function isReply(gpa: number, length: number, ghcb: number): boolean {
  const at = gpa - ghcb;
  const registers = [GHCB.RAX, GHCB.RCX, GHCB.RDX, GHCB.RBX] as readonly number[];
  if (length === 8) return registers.includes(at);
  return length === 16 && (at === GHCB.SW_EXITINFO1 || at === GHCB.VALID_BITMAP);
}

/** One VMGEXIT; what was wrong with it, or null. */
function step(bench: HypervisorBench, dice: Dice): string | null {
  const { memory, host, vcpu } = bench;
  const ghcb = dice.pick(GHCBS);
  roll(bench, dice, ghcb);
  const protocol = dice.chance(4);
  const request = dice.chance(8) ? dice.wide() : BigInt(dice.pick(REQUESTS)) | (dice.wide() << 12n);
  const msr = protocol ? BigInt.asUintN(64, request) : BigInt(ghcb);
  const view = new DataView(memory.bytes.buffer);
  const inRam = ghcb + GHCB_SIZE <= AT.ramEnd;
  const scratch = inRam ? view.getBigUint64(ghcb + GHCB.SW_SCRATCH, true) : -1n;
  memory.writes.length = 0;
  const next = bench.request(msr);
  if (!NEXTS.includes(next)) return `next is ${next}`;
  if ((next === 'terminated') !== host.exits.length > 0) return 'an end without a reason';
  host.exits.length = 0;
  if (dice.chance(3)) bench.hypervisor.prepare(vcpu);
  for (const [gpa, length] of memory.writes) {
    const own = BigInt(gpa) === scratch && length <= SCRATCH_LIMIT && gpa + length <= AT.ramEnd;
    if (!own && !isReply(gpa, length, ghcb)) return `wrote ${length} bytes at ${gpa}`;
  }
  return memory.writes.length > 8 ? `${memory.writes.length} writes` : null;
}

describe('ES-04 ES-06 ES-11 a hostile guest', () => {
  test.each(['kvm', 'openbsd'] as const)(
    `of %s, ${VMGEXITS} times VMGEXIT`,
    (host) => {
      const dice = new Dice(host.length);
      let bench = new HypervisorBench({ host });
      const rom = bench.memory.bytes.slice(AT.ramEnd);
      const wrong = new Set<string>();
      for (let done = 0; done < VMGEXITS; done++) {
        // A latched address and old contents are not to hide what comes after them.
        if (done % 500 === 0) bench = new HypervisorBench({ host });
        bench.host.reached.length = 0;
        const what = step(bench, dice);
        if (what !== null) wrong.add(`${what} (step ${done})`);
      }
      expect([...wrong]).toEqual([]);
      expect(bench.memory.bytes.slice(AT.ramEnd)).toEqual(rom);
    },
    FULL ? 600_000 : 60_000,
  );

  test('any exit of the processor, with any words', () => {
    const word = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    fc.assert(
      fc.property(fc.nat(0x410), word, word, (code, info1, info2) => {
        const bench = new HypervisorBench();
        bench.state({ IF: (info1 & 1n) === 1n });
        const next = bench.exit(code, info1, info2);
        if (code === EXIT.VMGEXIT) return true;
        return (next === 'terminated') === bench.host.exits.some(({ kind }) => kind !== 'hlt');
      }),
      { numRuns: FULL ? 20_000 : 300 },
    );
  });
});

test('an event is what EVENTINJ says of it', () => {
  const errorCode = fc.option(fc.nat(0xffff_ffff), { nil: null });
  const event = fc.record({ vector: fc.nat(255), type: fc.nat(7), errorCode });
  fc.assert(
    fc.property(event, (each) => {
      expect(decodeEvent(encodeEvent(each), each.errorCode ?? 0)).toEqual(each);
    }),
    { numRuns: 200 },
  );
  expect(decodeEvent(0x7fff_ffff, 0)).toBeNull();
});
