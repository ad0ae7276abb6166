// SEV-01, SEV-02: what the processor says of a page depends on the page and the kind of access
// alone, so that it may be remembered (`CpuExtension.lastingVerdicts`).
import type {
  CpuExtension,
  ExtensionVcpu,
  FillRequest,
  FillVerdict,
  SystemMemory,
} from '@cloister/core';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Hypervisor } from '../hypervisor/hypervisor.js';
import { MemoryController } from './memory-controller.js';
import { SevEsProcessor } from './sev-es-processor.js';
import { SevProcessor } from './sev-processor.js';

const C_BIT = 51;
const C_BIT_HI = 1 << (C_BIT - 32);
const PAGE = 4096;
const VCPU = { index: 0, context: 0 } as unknown as ExtensionVcpu;

/** Four pages of RAM, two of ROM, nothing above. */
const memory = {
  size: 64 * PAGE,
  place: (page: number) => (page < 4 ? (page + 8) * PAGE : page < 6 ? (page + 8) * PAGE + 1 : -1),
} as unknown as SystemMemory;

const options = { cBit: C_BIT, asids: 15, firstPlainAsid: 4, asid: () => 4 };

const processors: Readonly<Record<string, () => CpuExtension>> = {
  sev: () => new SevProcessor(new MemoryController(), options),
  'sev-es': () =>
    new SevEsProcessor(new MemoryController(), {
      ...options,
      hypervisor: {} as Hypervisor,
      memory: () => {
        throw new Error('a fill does not look into memory');
      },
    }),
};

const aspect = fc.record({
  page: fc.nat(7),
  marked: fc.boolean(),
  access: fc.constantFrom('read', 'write', 'execute', 'walk'),
});
const circumstances = fc.record({
  user: fc.boolean(),
  linearLo: fc.nat(2 ** 32 - 1),
  linearHi: fc.nat(2 ** 32 - 1),
  vcpu: fc.nat(3),
  context: fc.nat(3),
});

test.each(['sev', 'sev-es'])('%s: says the same of a page whoever asks', (name) => {
  const processor = processors[name]!();
  processor.attach!(memory);
  const said = new Map<string, FillVerdict>();
  const ask = (request: Pick<FillRequest, 'access'> & { page: number; marked: boolean }) => {
    const { page, marked, access } = request;
    const of = (rest: Omit<FillRequest, 'gpaLo' | 'gpaHi' | 'access' | 'implicit'>) => ({
      ...{ gpaLo: page * PAGE, gpaHi: marked ? C_BIT_HI : 0, access },
      ...{ implicit: access === 'walk', ...rest },
    });
    return (rest: Parameters<typeof of>[0]) => ({ ...processor.fill!(of(rest), VCPU) });
  };
  expect(processor.lastingVerdicts).toBe(true);
  fc.assert(
    fc.property(aspect, circumstances, (what, rest) => {
      const verdict = ask(what)(rest);
      const key = JSON.stringify(what);
      expect(verdict).toEqual(said.get(key) ?? verdict);
      said.set(key, verdict);
      if (verdict.kind !== 'page' || what.access === 'walk') return;
      // Other accesses that it permits get the same answer: an entry of the TLB serves them, too.
      for (const [bit, access] of (['read', 'write', 'execute'] as const).entries()) {
        if ((verdict.permissions & (1 << bit)) === 0) continue;
        expect(ask({ ...what, access })(rest)).toEqual(verdict);
      }
    }),
    { numRuns: 400 },
  );
  expect(new Set([...said.values()].map(({ kind }) => kind)).size).toBe(2);
});
