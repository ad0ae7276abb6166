/**
 * What the summary of a run says of translation.
 */
import * as L from '../cpu/layout.js';
import type { Processor } from '../cpu/processor.js';
import { EXIT_NAMES } from './exit.js';
import type { Translator } from './translator.js';

interface Counted {
  readonly processor: Processor;
  readonly executed: number;
}

/** Named counts; none if nothing is translated. */
export function jitStatistics(
  translator: Translator | undefined,
  vcpus: readonly Counted[],
): (readonly [string, number])[] {
  if (translator === undefined) return [];
  const field = (offset: number): number =>
    vcpus.reduce((sum, { processor }) => sum + Number(processor.record.u64(offset)), 0);
  const executed = vcpus.reduce((sum, vcpu) => sum + vcpu.executed, 0);
  const inRegions = field(L.REGION_INSTRUCTIONS);
  return [
    ['regions translated', translator.translated],
    ['regions dropped', translator.dropped],
    ['regions evicted at once', translator.evictions],
    ['regions without memory', translator.failed],
    ['instructions translated', translator.instructions],
    ['bytes of regions', translator.bytes],
    ['ms of translation', Math.round(translator.milliseconds)],
    [
      'percent of instructions in regions',
      Math.round((inRegions / Math.max(1, executed)) * 1000) / 10,
    ],
    ...EXIT_NAMES.map(
      (name, index) => [`region exits: ${name}`, field(L.REGION_EXITS + index * 8)] as const,
    ),
  ];
}
