/**
 * A signal handler that does nothing, for a signal that has only to interrupt. The port to the
 * kernel has no function to lend, so these are eight bytes of machine code in a page of their own,
 * which the process keeps: whichever thread a late signal meets, it finds them there.
 *
 * Source: sigreturn(2), and rt_sigaction of arch/x86/kernel/signal_64.c, which needs a restorer.
 */
import {
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  NR,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  SA_RESTART,
  SA_RESTORER,
  SIGACTION,
} from './abi/linux.js';
import { StructView } from './abi/struct.js';
import type { Sys } from './sys/sys.js';

/** ret; then the restorer: mov eax, 15 (rt_sigreturn); syscall */
const CODE = Uint8Array.of(0xc3, 0xb8, 15, 0, 0, 0, 0x0f, 0x05);
const RESTORER = 1;
/** System calls that the signal meets outside of KVM_RUN go on. */
const FLAGS = SA_RESTORER | SA_RESTART;
const PAGE = 4096;
const SIGSET_BYTES = 8;

/** Whether a signal has this handler. */
function installed(sys: Sys, signal: number): boolean {
  const action = new StructView(SIGACTION);
  sys.syscall(NR.rt_sigaction, signal, 0, action.bytes, SIGSET_BYTES);
  const restorer = action.get64('sa_restorer');
  return restorer !== 0n && restorer === action.get64('sa_handler') + BigInt(RESTORER);
}

function mapCode(sys: Sys): number | null {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS;
  const address = sys.syscall(NR.mmap, 0, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (address < 0) return null;
  const buffer = sys.view(address, PAGE);
  new Uint8Array(buffer).set(CODE);
  sys.detach(buffer);
  if (sys.syscall(NR.mprotect, address, PAGE, PROT_READ | PROT_EXEC) === 0) return address;
  sys.syscall(NR.munmap, address, PAGE);
  return null;
}

/**
 * Has `signal` handled by doing nothing, once in a process; false where the system allows no code
 * of ours. Two threads that do so at once leave a page too many, and either's handler will do.
 */
export function handleByNothing(sys: Sys, signal: number): boolean {
  if (installed(sys, signal)) return true;
  const address = mapCode(sys);
  if (address === null) return false;
  const action = new StructView(SIGACTION)
    .set('sa_handler', address)
    .set('sa_flags', FLAGS)
    .set('sa_restorer', address + RESTORER);
  return sys.syscall(NR.rt_sigaction, signal, action.bytes, 0, SIGSET_BYTES) === 0;
}
