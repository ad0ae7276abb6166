/**
 * A line of the exit log, read back. What is in it comes from a file and may be anything: a line
 * that is no record is an error that names it; a field that is missing reads as empty.
 */
import { VmmError } from '@cloister/core';

export interface TraceRecord {
  /** Executed before it; -1 where the backend doesn't count. */
  readonly instructions: number;
  readonly vcpu: number;
  /** An exit's, or `switch`. */
  readonly kind: string;
  number(field: string): number;
  text(field: string): string;
  flag(field: string): boolean;
  /** The line as it was. */
  readonly line: string;
}

/** Reads line `number` (from 1) of the log `path`. */
export function parseRecord(line: string, path: string, number: number): TraceRecord {
  const wrong = (message: string): VmmError =>
    new VmmError('invalid-file', `line ${number} of the exit log: ${message}`, {
      path,
      remedy: 'give a file that "cloister run --exits FILE" wrote',
    });
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw wrong('not JSON');
  }
  if (typeof value !== 'object' || value === null) throw wrong('not a record');
  const fields = value as Record<string, unknown>;
  const { instructions, vcpu, kind } = fields;
  if (!Number.isSafeInteger(instructions) || (instructions as number) < -1) {
    throw wrong('it has no number of instructions');
  }
  if (!Number.isSafeInteger(vcpu) || (vcpu as number) < 0) throw wrong('it names no vCPU');
  if (typeof kind !== 'string') throw wrong('it has no kind');
  return {
    instructions: instructions as number,
    vcpu: vcpu as number,
    kind,
    number: (field) => (Number.isSafeInteger(fields[field]) ? (fields[field] as number) : 0),
    text: (field) => (typeof fields[field] === 'string' ? (fields[field] as string) : ''),
    flag: (field) => fields[field] === true,
    line,
  };
}
