/**
 * Random bytes as guests, in real and in long mode: whatever they do, a run returns and the host
 * throws nothing. A few seconds' worth of guests here, a minute's with CLOISTER_FULL=1.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { longMode, makeVm, ram, realMode, whyNoKvm } from './testing/index.js';

const reason = whyNoKvm();
const full = process.env.CLOISTER_FULL === '1';
const TIME_MS = full ? 60_000 : 700;
/** Nanoseconds of one run, and how many. */
const SLICE = 2e6;
const RUNS = 3;
const EXITS_MAX = 20_000;

const ENDS = ['slice', 'kicked', 'halted', 'waiting', 'shutdown', 'error'];

/** Bytes with more than their share of what leaves a guest. */
const code = fc.array(
  fc.oneof(
    fc.nat(255),
    fc.constantFrom(0x6c, 0x6e, 0xe4, 0xe6, 0xec, 0xee, 0xf3, 0xf4, 0xcc, 0xcd, 0x0f, 0x66, 0xea),
  ),
  { minLength: 1, maxLength: 64 },
);

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  test.each(['real', 'long'] as const)(
    'random %s-mode guests',
    async (mode) => {
      const property = fc.asyncProperty(code, async (bytes) => {
        const vm = await makeVm({ irqchip: mode === 'real' ? 'none' : 'split' });
        try {
          vm.addSlot(ram());
          vm.memory.write(0x1000, Uint8Array.from(bytes));
          vm.vcpus[0]!.writeState(mode === 'real' ? realMode(0x1000) : longMode(vm, 0x1000));
          let exits = 0;
          for (let run = 0; run < RUNS; run++) {
            const end = vm.vcpus[0]!.run(SLICE, () => {
              // A guest that exits without end is ended by its deadline; this is the test's own.
              if (++exits > EXITS_MAX) vm.vcpus[0]!.shorten(0);
            });
            expect(ENDS).toContain(end);
            vm.vcpus[0]!.readState();
          }
          vm.snapshot();
        } finally {
          await vm.dispose();
        }
      });
      const limits = { interruptAfterTimeLimit: TIME_MS, markInterruptAsFailure: false };
      await fc.assert(property, { numRuns: 1e6, ...limits });
    },
    TIME_MS + 60_000,
  );
});
