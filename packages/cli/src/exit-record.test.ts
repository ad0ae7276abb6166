// An exit as a line: fixed fields in a fixed order, for every kind.
import type { VmExit } from '@cloister/core';
import { expect, test } from 'vitest';
import { exitLine, hex, isGuestExit } from './exit-record.js';

const base = { vcpu: 0, instructions: 12 };
const bytes = (...values: number[]) => Uint8Array.from(values);

const cases: [VmExit, string][] = [
  [
    { ...base, data: bytes(0x41), count: 1, size: 1, port: 1016, direction: 'out', kind: 'io' },
    '"kind":"io","direction":"out","port":1016,"size":1,"count":1,"data":"41"',
  ],
  [
    { ...base, kind: 'mmio', direction: 'read', gpa: 0xfec00000, size: 4, data: bytes(1, 2, 3, 0) },
    '"kind":"mmio","direction":"read","gpa":4273995776,"size":4,"data":"01020300"',
  ],
  [{ ...base, kind: 'hlt', interruptible: true }, '"kind":"hlt","interruptible":true'],
  [
    { ...base, kind: 'cpuid', leaf: 1, subleaf: 0, eax: 2, ebx: 3, ecx: 4, edx: 5 },
    '"kind":"cpuid","leaf":1,"subleaf":0,"eax":2,"ebx":3,"ecx":4,"edx":5',
  ],
  [
    { ...base, kind: 'msr', direction: 'write', index: 0x10, lo: 5, hi: 0xffffffff, fault: true },
    '"kind":"msr","direction":"write","index":16,"value":"0xffffffff00000005","fault":true',
  ],
  [
    {
      ...base,
      kind: 'hypercall',
      number: 5,
      args: Uint32Array.of(1, 0, 2, 1, 0, 0, 0, 0),
      resultLo: 0xfffffc18,
      resultHi: 0xffffffff,
    },
    '"kind":"hypercall","number":5,"args":["0x1","0x100000002","0x0","0x0"],' +
      '"result":"0xfffffffffffffc18"',
  ],
  [
    { ...base, kind: 'memory-fault', gpa: 4096, size: 1, access: 'write', private: true },
    '"kind":"memory-fault","gpa":4096,"size":1,"access":"write","private":true',
  ],
  [
    { ...base, kind: 'shutdown', reason: 'triple-fault' },
    '"kind":"shutdown","reason":"triple-fault"',
  ],
  [{ ...base, kind: 'vmgexit', ghcbLo: 0x1000, ghcbHi: 0 }, '"kind":"vmgexit","ghcb":"0x1000"'],
  [
    { ...base, kind: 'system-event', event: 'reset', data: [1, 2] },
    '"kind":"system-event","event":"reset","data":[1,2]',
  ],
  [
    { ...base, kind: 'debug', vector: 1, ripLo: 16, ripHi: 1, dr6: 0, dr7: 4 },
    '"kind":"debug","vector":1,"rip":"0x100000010","dr6":0,"dr7":4',
  ],
  [
    { ...base, kind: 'error', code: 'internal', message: 'm', bytes: bytes(0x0f, 0xff) },
    '"kind":"error","code":"internal","message":"m","bytes":"0fff"',
  ],
];

test.each(cases)('%o', (exit, rest) => {
  expect(exitLine(exit)).toBe(`{"instructions":12,"vcpu":0,${rest}}\n`);
  expect(isGuestExit(exit)).toBe(true);
});

test('the host’s own interruption is not the guest’s', () => {
  expect(isGuestExit({ ...base, kind: 'interrupted' })).toBe(false);
});

test('hex writes every byte with two digits', () => {
  const all = Uint8Array.from({ length: 256 }, (_, index) => index);
  expect(hex(all)).toBe(Buffer.from(all).toString('hex'));
});
