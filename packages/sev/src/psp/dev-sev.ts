/**
 * /dev/sev of Linux: the platform's commands for whoever may open it. Guests are KVM's.
 *
 * Source: Linux include/uapi/linux/psp-sev.h, drivers/crypto/ccp/sev-dev.c. Layouts are those of
 * `kvm/psp-device`; addresses are filled in by the port.
 */
import { VmmError } from '@cloister/core';
import { make, offsetOf, type StructView } from '@cloister/core/abi';
import { PLATFORM_STATE, SIZE } from '../abi/commands.js';
import { statusName } from '../abi/status.js';
import {
  ISSUE_CMD,
  PSP_COMMAND,
  PSP_GET_ID2,
  PSP_PDH_CERT_EXPORT,
  PSP_PEK_CERT_IMPORT,
  PSP_PEK_CSR,
  PSP_STATUS,
  PSP_STATUS_FLAG,
  SEV_ISSUE_CMD,
} from '../kvm/psp-device.js';
import type { PlatformCertificates, PlatformStatus } from './driver.js';
import { SevFirmwareError } from './error.js';

/** Memory whose address is to stand in a struct; the kernel may write to it. */
export interface SevDevicePointer {
  /** The struct, the ioctl's argument by default. */
  readonly of?: Uint8Array;
  /** Byte offset of the u64 in it. */
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** The opened device. */
export interface SevDevice {
  /** The ioctl `request` on `argument`, updated in place: 0, or a negative errno. */
  ioctl(request: number, argument: Uint8Array, pointers: readonly SevDevicePointer[]): number;
}

type Blob = readonly [field: string, bytes: Uint8Array];

export class DevSev {
  constructor(private readonly device: SevDevice) {}

  platformStatus(): PlatformStatus {
    const status = make(PSP_STATUS);
    this.#issue('PLATFORM_STATUS', status);
    const flags = status.get('flags');
    const states = Object.keys(PLATFORM_STATE) as (keyof typeof PLATFORM_STATE)[];
    return {
      version: {
        major: status.get('api_major'),
        minor: status.get('api_minor'),
        build: status.get('build'),
      },
      state: states.find((name) => PLATFORM_STATE[name] === status.get('state'))!,
      externallyOwned: (flags & 1) !== 0,
      es: (flags & PSP_STATUS_FLAG.CONFIG_ES) !== 0,
      guests: status.get('guest_count'),
    };
  }

  factoryReset(): void {
    this.#issue('FACTORY_RESET');
  }

  pekGen(): void {
    this.#issue('PEK_GEN');
  }

  pdhGen(): void {
    this.#issue('PDH_GEN');
  }

  pekCsr(): Uint8Array {
    const csr = new Uint8Array(SIZE.CERTIFICATE);
    this.#issue('PEK_CSR', make(PSP_PEK_CSR, { length: csr.length }), [['address', csr]]);
    return csr;
  }

  pekCertImport(pek: Uint8Array, oca: Uint8Array): void {
    const lengths = { pek_cert_len: pek.length, oca_cert_len: oca.length };
    this.#issue('PEK_CERT_IMPORT', make(PSP_PEK_CERT_IMPORT, lengths), [
      ['pek_cert_address', pek],
      ['oca_cert_address', oca],
    ]);
  }

  pdhCertExport(): PlatformCertificates {
    const pdh = new Uint8Array(SIZE.CERTIFICATE);
    const chain = new Uint8Array(SIZE.CERTIFICATE_CHAIN);
    const lengths = { pdh_cert_len: pdh.length, cert_chain_len: chain.length };
    this.#issue('PDH_CERT_EXPORT', make(PSP_PDH_CERT_EXPORT, lengths), [
      ['pdh_cert_address', pdh],
      ['cert_chain_address', chain],
    ]);
    const [pek, oca, cek] = [0, 1, 2].map((n) =>
      chain.slice(n * SIZE.CERTIFICATE, (n + 1) * SIZE.CERTIFICATE),
    );
    return { pdh, pek: pek!, oca: oca!, cek: cek! };
  }

  /** 64 bytes for each socket. */
  chipId(): Uint8Array {
    const id = new Uint8Array(2 * SIZE.CHIP_ID);
    const struct = make(PSP_GET_ID2, { length: id.length });
    this.#issue('GET_ID2', struct, [['address', id]]);
    return id.slice(0, struct.get('length'));
  }

  #issue(name: keyof typeof PSP_COMMAND, struct?: StructView, blobs: readonly Blob[] = []): void {
    const command = make(ISSUE_CMD, { cmd: PSP_COMMAND[name] });
    const attachments = blobs.map(([field, bytes]) => ({
      at: offsetOf(struct!.type, field),
      bytes,
      of: struct!.bytes,
    }));
    const own =
      struct === undefined ? [] : [{ at: offsetOf(ISSUE_CMD, 'data'), bytes: struct.bytes }];
    const result = this.device.ioctl(SEV_ISSUE_CMD, command.bytes, [...own, ...attachments]);
    if (result >= 0) return;
    const status = command.get('error');
    if (status !== 0 && statusName(status) !== undefined) throw new SevFirmwareError(name, status);
    throw new VmmError('io-failed', `/dev/sev refuses ${name}: errno ${-result}`, {
      remedy: 'it needs the rights of root, and a processor with SEV enabled',
    });
  }
}
