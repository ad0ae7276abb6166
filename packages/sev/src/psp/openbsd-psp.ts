/**
 * psp(4) of OpenBSD over any transport: its ioctls, with its errors, for programs and tests that
 * are written against it. What it asks of its process and of vmm(4) are ports.
 *
 * As in the original every refusal of the firmware is EIO, data is encrypted page by page, results
 * of LAUNCH_MEASURE and ATTESTATION pass through the command buffer's own page, and LAUNCH_START
 * takes no session.
 *
 * Known inaccuracies: opening the device loads no firmware image; SNP_GET_PSTATUS is EIO, as the
 * firmware here knows no SNP.
 *
 * Source: OpenBSD sys/dev/ic/psp.c (1.20, as of 7.8).
 */
import {
  BUFFERS,
  type BufferedCommand,
  type BufferOf,
  COMMAND,
  type CommandName,
  SIZE,
} from '../abi/commands.js';
import { STATUS } from '../abi/status.js';
import { decode, encode, type Struct, update } from '../abi/struct.js';
import type { PspTransport } from './mailbox-transport.js';
import {
  ERRNO,
  type Errno,
  PLEDGE_VMM,
  PSP_STRUCTS,
  type PspIoctlName,
  pspIoctlName,
} from './openbsd-ioctls.js';

export interface OpenBsdPspPorts {
  /** Physical address of the page of the calling process at `va`; null where it has none. */
  physical(va: number): number | null;
  /** Physical address of a vCPU's VMSA, which vmm(4) knows; null for no such vCPU. */
  vmsa(vmid: number, vcpuid: number, asid: number): number | null;
}

const PAGE = 4096;
const BLOCK = 16;
/** SNP_PLATFORM_STATUS as OpenBSD numbers it. */
const CMD_SNP_PLATFORMSTATUS = 0x81;

type Arguments = Record<string, number | Uint8Array>;

export class OpenBsdPsp {
  /** The command buffer: one page, mapped for good. */
  readonly #page: number;
  #tmr: number | null = null;

  /** `transport` is null on a machine without a secure processor. */
  constructor(
    private readonly transport: PspTransport | null,
    private readonly ports: OpenBsdPspPorts,
  ) {
    this.#page = transport?.host.allocate(PAGE) ?? 0;
  }

  /**
   * One ioctl; `data` is its struct, updated in place. `pledged` says that the calling process has
   * pledged "vmm".
   */
  ioctl(request: number, data: Uint8Array, { pledged = false } = {}): Errno {
    const name = pspIoctlName(request);
    if (pledged && (name === undefined || !PLEDGE_VMM.has(name))) return ERRNO.EPERM;
    if (this.transport === null) return ERRNO.ENXIO;
    if (name === undefined) return ERRNO.ENOTTY;
    const type = PSP_STRUCTS[name] as Struct | null;
    if (type === null) return this.#run(name, {});
    if (data.length !== type.size) return ERRNO.EINVAL;
    const values = decode(type, data) as Arguments;
    const errno = this.#run(name, values);
    if (errno === ERRNO.OK) update(type, data, values as never);
    return errno;
  }

  #run(name: PspIoctlName, values: Arguments): Errno {
    const { handle, asid } = values as { handle: number; asid: number };
    switch (name) {
      case 'GET_PSTATUS':
        return this.#platformStatus(values);
      case 'DF_FLUSH':
        return this.#dfFlush();
      case 'DECOMMISSION':
      case 'DEACTIVATE':
      case 'LAUNCH_FINISH':
        return this.#command(name, { handle });
      case 'GET_GSTATUS':
        return this.#guestStatus(values);
      case 'LAUNCH_START':
        return this.#launchStart(values);
      case 'LAUNCH_UPDATE_DATA':
        return this.#updateData(values);
      case 'LAUNCH_MEASURE':
        return this.#measure(values);
      case 'ATTESTATION':
        return this.#attestation(values);
      case 'ACTIVATE':
        return this.#command('ACTIVATE', { handle, asid });
      case 'SNP_GET_PSTATUS':
        return this.#status(CMD_SNP_PLATFORMSTATUS, this.#page);
      case 'INIT':
        return this.#init();
      case 'SHUTDOWN':
        return this.#shutdown();
      case 'ENCRYPT_STATE':
        return this.#encryptState(values);
      case 'GUEST_SHUTDOWN':
        return (
          this.#command('DEACTIVATE', { handle }) ||
          this.#dfFlush() ||
          this.#command('DECOMMISSION', { handle })
        );
    }
  }

  #platformStatus(values: Arguments): Errno {
    return this.#command('PLATFORM_STATUS', {}, ({ config, build, ...rest }) => {
      Object.assign(values, rest, { cfges_build: (config | (build << 24)) >>> 0 });
      return ERRNO.OK;
    });
  }

  #guestStatus(values: Arguments): Errno {
    return this.#command('GUEST_STATUS', { handle: values.handle as number }, (out) => {
      Object.assign(values, out);
      return ERRNO.OK;
    });
  }

  #dfFlush(): Errno {
    this.transport!.wbinvd();
    return this.#status(COMMAND.DF_FLUSH, 0);
  }

  #init(): Errno {
    if (this.#tmr !== null) return ERRNO.EBUSY;
    const { host } = this.transport!;
    const tmr = host.allocate(SIZE.TMR, SIZE.TMR);
    const errno = this.#command('INIT', { flags: 1, tmr_paddr: tmr, tmr_length: SIZE.TMR });
    if (errno === ERRNO.OK) this.#tmr = tmr;
    else host.free(tmr);
    this.transport!.wbinvd();
    return errno;
  }

  #shutdown(): Errno {
    const errno = this.#status(COMMAND.SHUTDOWN, 0);
    if (errno !== ERRNO.OK) return errno;
    if (this.#tmr !== null) this.transport!.host.free(this.#tmr);
    this.#tmr = null;
    this.transport!.wbinvd();
    return ERRNO.OK;
  }

  #launchStart(values: Arguments): Errno {
    const { handle, policy } = values as { handle: number; policy: number };
    return this.#command('LAUNCH_START', { handle, policy }, (out) => {
      if (handle === 0) values.handle = out.handle;
      return ERRNO.OK;
    });
  }

  #updateData(values: Arguments): Errno {
    const { handle, paddr: va, length } = values as Record<string, number>;
    if (va! % BLOCK !== 0 || length! % BLOCK !== 0) return ERRNO.EINVAL;
    this.transport!.wbinvd();
    for (let done = 0; done < length!; ) {
      const offset = (va! + done) % PAGE;
      const size = Math.min(PAGE - offset, length! - done);
      const page = this.ports.physical(va! + done - offset);
      if (page === null) return ERRNO.EINVAL;
      const part = { handle: handle!, paddr: page + offset, length: size };
      const errno = this.#command('LAUNCH_UPDATE_DATA', part);
      if (errno !== ERRNO.OK) return errno;
      done += size;
    }
    return ERRNO.OK;
  }

  #measure(values: Arguments): Errno {
    if (values.measure_len !== SIZE.MEASURE) return ERRNO.EINVAL;
    const at = this.#page + PSP_STRUCTS.LAUNCH_MEASURE.offsets.measure;
    const handle = values.handle as number;
    const buffer = { handle, measure_paddr: at, measure_len: SIZE.MEASURE };
    return this.#command('LAUNCH_MEASURE', buffer, ({ measure_len: length }) => {
      if (length !== SIZE.MEASURE) return ERRNO.ERANGE;
      const blob = this.transport!.host.view(at, SIZE.MEASURE);
      values.measure = blob.slice(0, 32);
      values.measure_nonce = blob.slice(32);
      return ERRNO.OK;
    });
  }

  #attestation(values: Arguments): Errno {
    if (values.attest_len !== SIZE.ATTESTATION_REPORT) return ERRNO.EINVAL;
    const at = this.#page + PSP_STRUCTS.ATTESTATION.offsets.report;
    const buffer = {
      handle: values.handle as number,
      paddr: at,
      mnonce: values.attest_nonce as Uint8Array,
      length: SIZE.ATTESTATION_REPORT,
    };
    return this.#command('ATTESTATION', buffer, ({ length }) => {
      if (length !== SIZE.ATTESTATION_REPORT) return ERRNO.ERANGE;
      values.report = this.transport!.host.view(at, length).slice();
      return ERRNO.OK;
    });
  }

  #encryptState(values: Arguments): Errno {
    const { handle, asid, vmid, vcpuid } = values as Record<string, number>;
    const paddr = this.ports.vmsa(vmid!, vcpuid!, asid!);
    if (paddr === null) return ERRNO.EINVAL;
    this.transport!.wbinvd();
    const buffer = { handle: handle!, paddr, length: SIZE.VMSA };
    return this.#command('LAUNCH_UPDATE_VMSA', buffer);
  }

  /** A command with its buffer at the start of the page; `done` reads what stands there then. */
  #command<Name extends BufferedCommand & CommandName>(
    name: Name,
    values: Partial<BufferOf<Name>>,
    done: (out: BufferOf<Name>) => Errno = () => ERRNO.OK,
  ): Errno {
    const type = BUFFERS[name] as unknown as Struct<(typeof BUFFERS)[Name]['fields']>;
    const page = this.transport!.host.view(this.#page, PAGE);
    page.fill(0);
    page.set(encode(type, values));
    const errno = this.#status(COMMAND[name], this.#page);
    if (errno !== ERRNO.OK) return errno;
    return done(decode(type, page));
  }

  #status(id: number, spa: number): Errno {
    return this.transport!.command(id, spa) === STATUS.SUCCESS ? ERRNO.OK : ERRNO.EIO;
  }
}
