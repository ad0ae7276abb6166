/**
 * A scripted kernel: files, mappings, signals and as much of KVM as it takes to make VMs and run
 * them through a list of exits. Nothing is executed. Any call can be made to fail.
 *
 * It keeps account of what is open and mapped, so that a test can tell a leak.
 */
import { CAP, EXIT, MP } from '../abi/constants.js';
import { KVM, type KvmIoctl } from '../abi/ioctls.js';
import { ERRNO, MAP_FIXED, NR, SEEK_DATA, SI_TIMER } from '../abi/linux.js';
import { offsetOf, type Struct, StructView } from '../abi/struct.js';
import * as S from '../abi/structs.js';
import type { Sys, Word } from '../sys/sys.js';

type FileKind = 'kvm' | 'vm' | 'vcpu' | 'memory' | 'private' | 'event' | 'sev';

interface FakeFile {
  readonly kind: FileKind;
  /** Contents, or the run page of a vCPU. */
  buffer: ArrayBuffer | null;
  mpState: number;
}

/** One KVM_RUN: fills the run page and returns what the ioctl does. */
export type RunStep = (page: DataView, kernel: FakeSys) => number;

/** What an ioctl does in place of the fake's own answer. */
export type Answer = (argument: Word, kernel: FakeSys) => number;

const RUN_SIZE = 3 * 4096;
const PIO_DATA = 4096;
const TKILL = -6;

const names = new Map<number, KvmIoctl>(
  (Object.entries(KVM) as [KvmIoctl, number][]).map(([name, number]) => [number, name]),
);
const calls = new Map<number, string>(Object.entries(NR).map(([name, number]) => [number, name]));

/** A run that leaves with exit `reason`, `fields` of `type` set in the union. */
export function leave(
  reason: number,
  type?: Struct,
  fields: Readonly<Record<string, number | bigint>> = {},
  more: (page: DataView) => void = () => {},
): RunStep {
  return (page) => {
    page.setUint32(offsetOf(S.RUN, 'exit_reason'), reason, true);
    if (type !== undefined) {
      const view = new StructView(type, new Uint8Array(page.buffer), S.EXIT_UNION);
      for (const [name, value] of Object.entries(fields)) view.set(name, value);
    }
    more(page);
    return 0;
  };
}

/** IN or OUT with `data`, `size` bytes an item. */
export function io(
  direction: 'in' | 'out',
  port: number,
  size: number,
  data: readonly number[],
): RunStep {
  const fields = {
    direction: direction === 'out' ? 1 : 0,
    size,
    port,
    count: data.length / size,
    data_offset: PIO_DATA,
  };
  return leave(EXIT.IO, S.EXIT_IO, fields, (page) => {
    new Uint8Array(page.buffer).set(data, PIO_DATA);
  });
}

/** A run that ends because a signal came in. */
export function interrupted(by: 'timer' | 'kick' | 'other'): RunStep {
  return (_page, kernel) => {
    if (by !== 'other') kernel.signals.push(by === 'timer' ? SI_TIMER : TKILL);
    return -ERRNO.EINTR;
  };
}

export class FakeSys implements Sys {
  readonly name = 'fake';
  /** `si_code` of signals that wait. */
  readonly signals: number[] = [];
  /** What the vCPUs' runs do, one after the other; then every run ends by its deadline. */
  readonly script: RunStep[] = [];
  /** KVM_CHECK_EXTENSION; those not named are there. */
  readonly capabilities = new Map<number, number>([
    [CAP.VM_TYPES, 1],
    [CAP.MAX_VCPUS, 16],
    [CAP.NR_MEMSLOTS, 64],
    [CAP.SYNC_REGS, 7],
  ]);
  /** Errors by name of an ioctl or system call. */
  readonly failures = new Map<string, number>();
  readonly answers = new Map<KvmIoctl, Answer>();
  /** Every ioctl of KVM with a copy of what was passed. */
  readonly log: { readonly name: KvmIoctl; readonly argument: number | bigint | Uint8Array }[] = [];
  /** Holes that were punched, by the kind of file. */
  readonly punched: {
    readonly kind: FileKind;
    readonly offset: number;
    readonly length: number;
  }[] = [];
  readonly files = new Map<number, FakeFile>();
  readonly mappings = new Map<number, ArrayBuffer>();
  private readonly known = new Map<ArrayBufferLike, bigint>();
  private nextFd = 3;
  private nextAddress = 0x10000000;
  private immediateRuns = 0;

  /** Descriptors and mappings that are not given back. */
  get open(): { readonly files: number; readonly mappings: number } {
    return { files: this.files.size, mappings: this.mappings.size };
  }

  /** The arguments of every `name` so far. */
  calls(name: KvmIoctl): (number | bigint | Uint8Array)[] {
    return this.log.filter((each) => each.name === name).map(({ argument }) => argument);
  }

  /** Runs that only completed an instruction. */
  get completions(): number {
    return this.immediateRuns;
  }

  syscall(number: number, ...words: readonly Word[]): number {
    const failure = this.failures.get(calls.get(number) ?? '');
    if (failure !== undefined) return -failure;
    const [a, b, c] = words;
    switch (number) {
      case NR.openat:
        return this.openFile(new TextDecoder().decode(b as Uint8Array).replace('\0', ''));
      case NR.close:
        return this.files.delete(Number(a)) ? 0 : -ERRNO.EBADF;
      case NR.memfd_create:
        return this.add('memory');
      case NR.ftruncate:
        this.files.get(Number(a))!.buffer = new ArrayBuffer(Number(b));
        return 0;
      case NR.fallocate:
        return this.punch(Number(a), Number(c), Number(words[3]));
      case NR.lseek:
        // No holes: data from there, a hole at the end.
        return c === SEEK_DATA ? Number(b) : this.files.get(Number(a))!.buffer!.byteLength;
      case NR.eventfd2:
        return this.add('event');
      case NR.mmap:
        // In place of something: whoever had that keeps its address.
        if ((Number(words[3]) & MAP_FIXED) !== 0) return Number(a);
        return this.map(Number(b), Number(words[4]));
      case NR.munmap:
        return this.mappings.delete(Number(a)) ? 0 : -ERRNO.EINVAL;
      case NR.getpid:
      case NR.gettid:
        return 100;
      case NR.rt_sigtimedwait:
        return this.takeSignal(b as Uint8Array);
      case NR.tgkill:
        this.signals.push(TKILL);
        return 0;
      case NR.ioctl:
        return this.ioctl(Number(a), Number(b), c ?? 0);
      default:
        return 0;
    }
  }

  view(address: number, length: number): ArrayBuffer {
    const buffer = this.mappings.get(address);
    if (buffer === undefined || buffer.byteLength < length) throw new TypeError('not mapped');
    return buffer;
  }

  detach(buffer: ArrayBuffer): void {
    structuredClone(buffer, { transfer: [buffer] });
  }

  addressOf(bytes: Uint8Array): bigint {
    let address = this.known.get(bytes.buffer);
    if (address === undefined) {
      address = 0x7f0000000000n + BigInt(this.known.size) * 0x100000n;
      this.known.set(bytes.buffer, address);
    }
    return address + BigInt(bytes.byteOffset);
  }

  /** The bytes that `addressOf` named. */
  bytesAt(address: bigint): Uint8Array {
    for (const [buffer, base] of this.known) {
      const offset = Number(address - base);
      if (offset >= 0 && offset < buffer.byteLength) return new Uint8Array(buffer, offset);
    }
    throw new Error(`nothing lies at ${address}`);
  }

  private add(kind: FileKind): number {
    const fd = this.nextFd++;
    this.files.set(fd, { kind, buffer: null, mpState: MP.RUNNABLE });
    return fd;
  }

  private openFile(path: string): number {
    if (path === '/dev/kvm') return this.add('kvm');
    return path === '/dev/sev' ? this.add('sev') : -ERRNO.ENOENT;
  }

  private map(length: number, fd: number): number {
    const file = this.files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    file.buffer ??= new ArrayBuffer(length);
    const address = this.nextAddress;
    this.nextAddress += Math.ceil(length / 4096 + 1) * 4096;
    this.mappings.set(address, file.buffer);
    return address;
  }

  private punch(fd: number, offset: number, length: number): number {
    const file = this.files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    if (file.buffer !== null) new Uint8Array(file.buffer).fill(0, offset, offset + length);
    this.punched.push({ kind: file.kind, offset, length });
    return 0;
  }

  private takeSignal(info: Uint8Array): number {
    const code = this.signals.shift();
    if (code === undefined) return -ERRNO.EAGAIN;
    new DataView(info.buffer, info.byteOffset).setInt32(8, code, true);
    return 1;
  }

  private ioctl(fd: number, number: number, argument: Word): number {
    const file = this.files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    const name = names.get(number);
    if (name === undefined) return -ERRNO.ENOTTY;
    this.log.push({ name, argument: argument instanceof Uint8Array ? argument.slice() : argument });
    const failure = this.failures.get(name);
    if (failure !== undefined) return -failure;
    const answer = this.answers.get(name);
    return answer === undefined ? this.answer(name, file, argument) : answer(argument, this);
  }

  private answer(name: KvmIoctl, file: FakeFile, argument: Word): number {
    switch (name) {
      case 'GET_API_VERSION':
        return 12;
      case 'CHECK_EXTENSION':
        return this.capabilities.get(Number(argument)) ?? 1;
      case 'GET_VCPU_MMAP_SIZE':
        return RUN_SIZE;
      case 'CREATE_VM':
        return this.add('vm');
      case 'CREATE_VCPU': {
        const fd = this.add('vcpu');
        if (Number(argument) > 0) this.files.get(fd)!.mpState = MP.UNINITIALIZED;
        return fd;
      }
      case 'CREATE_GUEST_MEMFD':
        return this.add('private');
      case 'GET_SUPPORTED_CPUID':
      case 'GET_MSR_INDEX_LIST':
        new DataView((argument as Uint8Array).buffer).setUint32(0, 0, true);
        return 0;
      case 'GET_MP_STATE':
        new DataView((argument as Uint8Array).buffer).setUint32(0, file.mpState, true);
        return 0;
      case 'SET_MP_STATE':
        file.mpState = (argument as Uint8Array)[0]!;
        return 0;
      case 'GET_MSRS':
        return 0;
      case 'RUN':
        return this.run(new DataView(file.buffer!));
      default:
        return 0;
    }
  }

  private run(page: DataView): number {
    if (page.getUint8(offsetOf(S.RUN, 'immediate_exit')) !== 0) {
      this.immediateRuns++;
      return -ERRNO.EINTR;
    }
    const step = this.script.shift() ?? interrupted('timer');
    return step(page, this);
  }
}
