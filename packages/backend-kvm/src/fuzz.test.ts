/**
 * Random bytes as guests on the real KVM, where there is one, by the harness that the emulated
 * processor has as well. A quarter of a second for each kind here, ten seconds with
 * CLOISTER_FULL=1.
 */
import { hostileGuests } from '@cloister/core/testing';
import { describe, it } from 'vitest';
import { kvmBackend } from './backend.js';
import { whyNoKvm } from './testing/index.js';

const reason = whyNoKvm();
const full = process.env.CLOISTER_FULL === '1';

describe.skipIf(reason !== null)(`on KVM ${reason ?? ''}`, () => {
  hostileGuests(
    { describe, it: (name, body) => void it(name, body, 120_000) },
    {
      name: 'kvm',
      // In threads of their own: tests/kvm-vcpus.test.ts.
      make: () => kvmBackend({ parallel: false }),
      seed: Number(process.env.CLOISTER_SEED ?? Date.now() % 2 ** 31),
      guest: 5e6,
      whole: full ? 10e9 : 250e6,
      print: (line) => process.stderr.write(`${line}\n`),
    },
  );
});
