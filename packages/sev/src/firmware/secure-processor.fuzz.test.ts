/**
 * Whatever a host puts into registers, command buffers and what they point to, a command answers
 * with a status: it never throws, never hangs, and touches no memory of the firmware's own.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BUFFERS, bufferSize, COMMAND, type CommandName, SIZE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { statusName } from '../abi/status.js';
import type { FieldType } from '../abi/struct.js';
import { AT, FirmwareBench } from '../testing/firmware-bench.js';
import { MAILBOX_OFFSETS, Mailbox } from './mailbox.js';

const NAMES = Object.keys(COMMAND) as CommandName[];

/** Addresses and lengths where something may be wrong, and where nothing is. */
const address = fc.oneof(
  fc.constantFrom(...Object.values(AT), 0, 1, AT.end - 1, 2 ** 32, 2 ** 52, 2 ** 63),
  fc.nat(AT.end),
  fc.maxSafeNat(),
);
const length = fc.oneof(
  fc.constantFrom(...Object.values(SIZE), 0, 1, 16, 64, 0xffff_ffff, 0x8000_0000),
  fc.nat(0x20000),
);
const small = fc.oneof(fc.nat(9), fc.nat(0xffff_ffff));

function valuesOf(field: string, type: FieldType): fc.Arbitrary<number | Uint8Array> {
  if (typeof type === 'number') return fc.uint8Array({ minLength: type, maxLength: type });
  if (type === 'u64') return address;
  if (/len|length/.test(field)) return length;
  return type === 'u32' ? small : fc.nat(type === 'u8' ? 255 : 65535);
}

const call = fc.constantFrom(...NAMES).chain((name) => {
  const type = BUFFERS[name as keyof typeof BUFFERS];
  const fields = Object.entries(type?.fields ?? {}).map(
    ([field, kind]) => [field, valuesOf(field, kind)] as const,
  );
  return fc.tuple(fc.constant(name), fc.record(Object.fromEntries(fields)));
});

/** Two guests in states that most commands are for. */
function stage(): FirmwareBench {
  const bench = new FirmwareBench().start({ es: true });
  bench.guest('LUPDATE', { asid: 4 });
  bench.guest('RUNNING', { asid: 5 });
  bench.guest('SUPDATE', { asid: 1, policy: POLICY.ES });
  bench.guest('RUPDATE', { asid: 6 });
  return bench;
}

test('commands with any buffer answer, one after the other', () => {
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: 24 }), (calls) => {
      const bench = stage();
      const own = bench.memory.bytes.slice(AT.tmr, AT.tmr + SIZE.TMR);
      let region = true;
      for (const [name, values] of calls) {
        const { status } = bench.run(name, values);
        if (statusName(status) === undefined) return false;
        // SHUTDOWN gives the region back to the host.
        region &&= bench.processor.state !== 'UNINIT';
        if (region && !sameBytes(own, bench.memory.bytes.subarray(AT.tmr))) return false;
      }
      return true;
    }),
    { numRuns: process.env.CLOISTER_FULL === '1' ? 1000 : 20 },
  );
});

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b.subarray(0, a.length)) === 0;
}

test('registers take any word, and buffers may lie anywhere', () => {
  const bench = stage();
  const mailbox = new Mailbox(bench.processor);
  const offsets = [...Object.values(MAILBOX_OFFSETS.v2), ...Object.values(MAILBOX_OFFSETS.v1), 0];
  const word = fc.oneof(
    fc.constantFrom(...Object.values(COMMAND).map((id) => id << 16)),
    fc.nat(0xffff_ffff),
    fc.nat(AT.end),
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.constantFrom(...offsets), word), { maxLength: 8 }),
      (writes) => {
        for (const [offset, value] of writes) mailbox.write32(offset, value);
        return offsets.every((offset) => Number.isInteger(mailbox.read32(offset)));
      },
    ),
    { numRuns: 100 },
  );
});

test('random bytes as a buffer and behind it', () => {
  const bench = stage();
  const bytes = fc.uint8Array({ minLength: 64, maxLength: 64 });
  fc.assert(
    fc.property(fc.constantFrom(...NAMES), bytes, (name, buffer) => {
      bench.put(AT.buffer, buffer);
      return statusName(bench.processor.command(COMMAND[name], AT.buffer)) !== undefined;
    }),
    { numRuns: 200 },
  );
});

test('a buffer that ends outside of memory is INVALID_ADDRESS', () => {
  const bench = stage();
  for (const name of NAMES) {
    if (bufferSize(name) === 0) continue;
    expect(statusName(bench.processor.command(COMMAND[name], AT.end - 1))).toBe('INVALID_ADDRESS');
  }
});
