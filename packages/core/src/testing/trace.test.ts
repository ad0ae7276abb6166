// Traces: what is left out, what is split, and where two of them differ.
import { Subject } from 'rxjs';
import { describe, expect, test } from 'vitest';
import type { VmExit } from '../interfaces/index.js';
import { canonicalTrace, collectExits, compareTraces } from './trace.js';

function io(count: number, data: readonly number[], instructions = 0): VmExit {
  const size = data.length / count;
  return {
    kind: 'io',
    vcpu: 0,
    instructions,
    direction: 'out',
    port: 0x3f8,
    size,
    count,
    data: Uint8Array.from(data),
  };
}

describe('a canonical trace', () => {
  test('splits strings into items, and leaves counts and interruptions out', () => {
    const string = [io(3, [1, 2, 3], 10)];
    const single = [
      io(1, [1], 5),
      { kind: 'interrupted', vcpu: 0, instructions: 6 } as const,
      io(1, [2], 7),
      io(1, [3], 8),
    ];
    expect(canonicalTrace(string)).toEqual(canonicalTrace(single));
    expect(canonicalTrace([io(1, [0x34, 0x12])])).toEqual(['cpu0 io out 0x3f8 3412']);
  });

  test('tells other exits with all that they say', () => {
    const exits: VmExit[] = [
      {
        kind: 'mmio',
        vcpu: 1,
        instructions: 0,
        direction: 'read',
        gpa: 0xfee00000,
        size: 1,
        data: Uint8Array.of(9),
      },
      { kind: 'shutdown', vcpu: 0, instructions: 9, reason: 'triple-fault' },
      {
        kind: 'hypercall',
        vcpu: 0,
        instructions: 9,
        number: 5,
        args: Uint32Array.of(1, 2),
        resultLo: 0,
        resultHi: 0,
      },
    ];
    expect(canonicalTrace(exits)).toEqual([
      'cpu1 mmio read 0xfee00000 09',
      'cpu0 {"kind":"shutdown","reason":"triple-fault"}',
      'cpu0 {"kind":"hypercall","number":5,"args":[1,2],"resultLo":0,"resultHi":0}',
    ]);
  });
});

test('a comparison names the first difference', () => {
  expect(compareTraces(['a', 'b'], ['a', 'b'])).toBeNull();
  expect(compareTraces(['a', 'b'], ['a', 'c', 'd'])).toEqual({ index: 1, left: 'b', right: 'c' });
  expect(compareTraces(['a'], ['a', 'c'])).toEqual({ index: 1, left: undefined, right: 'c' });
});

test('exits are collected up to a limit, until told to stop', () => {
  const exits = new Subject<VmExit>();
  const collected = collectExits({ exits }, 2);
  for (let i = 0; i < 5; i++) exits.next(io(1, [i]));
  expect(collected.exits.length).toBe(2);
  collected.stop();
  expect(exits.observed).toBe(false);
});
