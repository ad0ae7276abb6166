/**
 * Numbers of the system functions: what emitted code passes to the import `system`.
 */
import type { Processor, SystemFunction } from './cpu/processor.js';
import { type FpuFunction, fpuFunctions } from './fpu/functions.js';
import { systemFunctions } from './system/functions.js';

function ofRecord(fn: FpuFunction): SystemFunction {
  return (cpu: Processor) => fn(cpu.record.view);
}

const ALL: readonly (readonly [string, SystemFunction])[] = [
  ...Object.entries(systemFunctions),
  ...Object.entries(fpuFunctions).map(([name, fn]) => [name, ofRecord(fn)] as const),
];

const NUMBERS = new Map(ALL.map(([name], number) => [name, number]));

/** The functions by number. */
export const SYSTEM_FUNCTIONS: readonly SystemFunction[] = ALL.map(([, fn]) => fn);

/** The number of a function; a name that is not there is a bug in a description. */
export function systemNumber(name: string): number {
  const number = NUMBERS.get(name);
  if (number === undefined) throw new Error(`no system function ${name}`);
  return number;
}
