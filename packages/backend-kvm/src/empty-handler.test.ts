/** The handler that does nothing, on the real kernel. */
import { expect, test } from 'vitest';
import { NR, PROT_EXEC, SIG_UNBLOCK, SIGACTION } from './abi/linux.js';
import { StructView } from './abi/struct.js';
import { handleByNothing } from './empty-handler.js';
import { addonSys } from './sys/addon.js';
import type { Sys } from './sys/sys.js';
import { FakeSys } from './testing/fake-sys.js';

/** None that anything here uses. */
const SIGNAL = 50;

const loaded = addonSys();
const reason = 'sys' in loaded ? null : loaded.reason;

test.skipIf(reason !== null)(`its signals do nothing; it is set once ${reason ?? ''}`, () => {
  const { sys } = loaded as { readonly sys: Sys };
  const handler = () => {
    const action = new StructView(SIGACTION);
    sys.syscall(NR.rt_sigaction, SIGNAL, 0, action.bytes, 8);
    return action.get64('sa_handler');
  };
  expect(handler()).toBe(0n);
  expect(handleByNothing(sys, SIGNAL)).toBe(true);
  const set = handler();
  expect(set).not.toBe(0n);
  const signals = BigUint64Array.of(1n << BigInt(SIGNAL - 1));
  sys.syscall(NR.rt_sigprocmask, SIG_UNBLOCK, new Uint8Array(signals.buffer), 0, 8);
  const [pid, tid] = [sys.syscall(NR.getpid), sys.syscall(NR.gettid)];
  for (let i = 0; i < 1000; i++) expect(sys.syscall(NR.tgkill, pid, tid, SIGNAL)).toBe(0);
  expect(handleByNothing(sys, SIGNAL)).toBe(true);
  expect(handler()).toBe(set);
});

test('where no code may be made, none is, and nothing stays mapped', () => {
  const sys = new FakeSys();
  let mapped = 0;
  const refusing: Sys = {
    name: 'refusing',
    syscall: (number, ...words) => {
      if (number === NR.mmap) mapped++;
      else if (number === NR.munmap) mapped--;
      if (number === NR.mprotect && (Number(words[2]) & PROT_EXEC) !== 0) return -13;
      return number === NR.mmap ? 0x1000 : sys.syscall(number, ...words);
    },
    view: (_address, length) => new ArrayBuffer(length),
    detach: () => {},
    addressOf: () => 0n,
  };
  expect(handleByNothing(refusing, SIGNAL)).toBe(false);
  expect(mapped).toBe(0);
  expect(handleByNothing(sys, SIGNAL)).toBe(false);
});
