/**
 * CPU types by QEMU's names, as CPUID Fn0000_0001_EAX, which is RDX of a vCPU that starts
 * (AMD APM vol. 3, appendix E.3.2).
 */
import { VmmError } from '@cloister/core';

export interface CpuModel {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
}

const NAPLES = { family: 23, model: 1, stepping: 2 };
const ROME = { family: 23, model: 49, stepping: 0 };
const MILAN = { family: 25, model: 1, stepping: 1 };
const GENOA = { family: 25, model: 17, stepping: 0 };
const TURIN = { family: 26, model: 0, stepping: 0 };

/** QEMU's CPU models of AMD servers. */
export const CPU_TYPES: Readonly<Record<string, CpuModel>> = {
  EPYC: NAPLES,
  'EPYC-v1': NAPLES,
  'EPYC-v2': NAPLES,
  'EPYC-IBPB': NAPLES,
  'EPYC-v3': NAPLES,
  'EPYC-v4': NAPLES,
  'EPYC-v5': NAPLES,
  'EPYC-Rome': ROME,
  'EPYC-Rome-v1': ROME,
  'EPYC-Rome-v2': ROME,
  'EPYC-Rome-v3': ROME,
  'EPYC-Rome-v4': ROME,
  'EPYC-Rome-v5': ROME,
  'EPYC-Milan': MILAN,
  'EPYC-Milan-v1': MILAN,
  'EPYC-Milan-v2': MILAN,
  'EPYC-Milan-v3': MILAN,
  'EPYC-Genoa': GENOA,
  'EPYC-Genoa-v1': GENOA,
  'EPYC-Genoa-v2': GENOA,
  'EPYC-Turin': TURIN,
  'EPYC-Turin-v1': TURIN,
};

/** Family, model and stepping as CPUID packs them. */
export function cpuSignature({ family, model, stepping }: CpuModel): number {
  const fits = (value: number, max: number) =>
    Number.isInteger(value) && value >= 0 && value <= max;
  if (!fits(family, 0xf + 0xff) || !fits(model, 0xff) || !fits(stepping, 0xf)) {
    const given = `${family}, ${model}, ${stepping}`;
    throw new VmmError('invalid-argument', `no CPU has family, model, stepping ${given}`);
  }
  const base = Math.min(family, 0xf);
  return (
    (((family - base) << 20) |
      ((model >> 4) << 16) |
      (base << 8) |
      ((model & 0xf) << 4) |
      stepping) >>>
    0
  );
}

/** The signature of a CPU type; QEMU's spelling, in any case. */
export function cpuTypeSignature(type: string): number {
  const name = Object.keys(CPU_TYPES).find((key) => key.toLowerCase() === type.toLowerCase());
  if (name === undefined) {
    throw new VmmError('invalid-argument', `vCPU type ${JSON.stringify(type)} is not known`, {
      remedy: `one of ${Object.keys(CPU_TYPES).join(', ')}, or give the signature`,
    });
  }
  return cpuSignature(CPU_TYPES[name]!);
}
