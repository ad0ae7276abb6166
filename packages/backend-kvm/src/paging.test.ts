/**
 * The paging programs on the real KVM, where there is one, against the reference walk: a sample of
 * each structure that the host has.
 *
 * A KVM that runs without hardware virtualization (kvm_pvm) knows long mode's tables only, and
 * refuses to execute what SMAP keeps it from reading.
 */
import {
  isLong,
  PAGING_STRUCTURES,
  type PagingCase,
  pagingCases,
  runPaging,
} from '@cloister/core/testing';
import { describe, expect, it } from 'vitest';
import { kvmBackend } from './backend.js';
import { whyNoKvm } from './testing/index.js';
import { isWeakHost } from './testing/weak-host.js';

const SAMPLE = process.env['CLOISTER_FULL'] === '1' ? 6000 : 300;
const PHYSICAL_BITS = 46;
const reason = whyNoKvm();
const weak = isWeakHost();
const backend = kvmBackend({ cpu: ',+pku,+la57' });
const details = reason === null ? (await backend.probe()).details : [];
const lacking = details.find(([name]) => name.startsWith('features that'))?.[1].split(' ') ?? [];
const has = (feature: string) => !lacking.includes(feature);

function* casesFor(structure: (typeof PAGING_STRUCTURES)[number]): Generator<PagingCase> {
  for (const c of pagingCases(structure, PHYSICAL_BITS, SAMPLE)) {
    const readBySmap = c.kind === 'execute' && !c.user && c.smap && !c.ac && !c.smep;
    if (weak && readBySmap) continue;
    if (c.pkru === undefined || has('pku')) yield c;
  }
}

describe.skipIf(reason !== null)(`guest accesses on KVM ${reason ?? ''}`, () => {
  for (const structure of PAGING_STRUCTURES) {
    const missing = (structure.mode === 'long5' && !has('la57')) || (weak && !isLong(structure));
    it.skipIf(missing)(
      `agree with the reference walk on ${structure.name}${missing ? ' (not on this host)' : ''}`,
      async () => {
        const report = await runPaging(backend, structure, casesFor(structure), {
          processor: { physicalBits: PHYSICAL_BITS, gigabytePages: has('pdpe1gb') },
          clock: 'wall',
          // Without hardware virtualization KVM walks by itself, and marks only what succeeds.
          accessedByFaults: !weak,
        });
        process.stdout.write(
          `paging on KVM, ${structure.name}: ${report.cases} cases, ${report.faults} faults\n`,
        );
        expect(report.differences).toEqual([]);
        expect(report.cases).toBeGreaterThan(SAMPLE / 4);
      },
    );
  }
});
