/**
 * The host's driver of the secure processor: one method for each command of the API before SNP,
 * with values in place of buffers, and firmware statuses as errors.
 *
 * Guest memory is named by system-physical addresses. Everything else goes through memory of the
 * host's own, for the time of the command. Caches are written back where the API wants it.
 *
 * Source: SEV API 55766, chapters 5 to 7.
 */
import {
  BUFFERS,
  type BufferedCommand,
  type BufferOf,
  COMMAND,
  type CommandName,
  GUEST_STATE,
  type GuestStateName,
  PLATFORM_STATE,
  type PlatformStateName,
  SIZE,
} from '../abi/commands.js';
import { decode, encode, type Struct } from '../abi/struct.js';
import { concat, sized } from '../bytes.js';
import type { FirmwareVersion } from '../measure/launch-measure.js';
import { expectSuccess } from './error.js';
import type { PspTransport } from './mailbox-transport.js';

export interface PlatformStatus {
  readonly version: FirmwareVersion;
  readonly state: PlatformStateName;
  /** Whether an owner has certified the platform's PEK. */
  readonly externallyOwned: boolean;
  /** Whether guests may use SEV-ES. */
  readonly es: boolean;
  readonly guests: number;
}

export interface GuestStatus {
  readonly state: GuestStateName;
  readonly policy: number;
  /** 0 without one. */
  readonly asid: number;
}

export interface PlatformCertificates {
  readonly pdh: Uint8Array;
  readonly pek: Uint8Array;
  readonly oca: Uint8Array;
  /** Without its maker's signature. */
  readonly cek: Uint8Array;
}

/** What an owner gives for a launch that it can check. */
export interface OwnerSession {
  /** The owner's Diffie-Hellman key as a certificate (GODH). */
  readonly certificate: Uint8Array;
  /** 128 bytes. */
  readonly session: Uint8Array;
}

/** A secret, or a part of a migrated guest. */
export interface SevPacket {
  /** 52 bytes. */
  readonly header: Uint8Array;
  readonly ciphertext: Uint8Array;
}

const stateName = <Name extends string>(codes: Readonly<Record<Name, number>>, code: number) =>
  (Object.keys(codes) as Name[]).find((name) => codes[name] === code)!;

export class PspDriver {
  readonly #transport: PspTransport;
  #tmr: number | null = null;

  constructor(transport: PspTransport) {
    this.#transport = transport;
  }

  // The platform

  /** INIT; for SEV-ES with a trusted memory region of the host's own memory. */
  init({ es = false }: { readonly es?: boolean } = {}): void {
    const { host } = this.#transport;
    // While the firmware has one, it is not free: INIT is refused with any.
    const fresh = es && this.#tmr === null ? host.allocate(SIZE.TMR, SIZE.TMR) : null;
    const tmr = es ? { flags: 1, tmr_paddr: (fresh ?? this.#tmr)!, tmr_length: SIZE.TMR } : {};
    try {
      this.#issue('INIT', tmr);
    } catch (error) {
      if (fresh !== null) host.free(fresh);
      throw error;
    }
    this.#tmr = fresh;
    this.#transport.wbinvd();
  }

  /** SHUTDOWN: every guest's context is gone. */
  shutdown(): void {
    this.#run('SHUTDOWN');
    this.#freeTmr();
    this.#transport.wbinvd();
  }

  /** PLATFORM_RESET, which Linux calls FACTORY_RESET: keys and certificates are made anew. */
  factoryReset(): void {
    this.#run('PLATFORM_RESET');
  }

  platformStatus(): PlatformStatus {
    const status = this.#issue('PLATFORM_STATUS', {});
    const { api_major: major, api_minor: minor, build } = status;
    return {
      version: { major, minor, build },
      state: stateName(PLATFORM_STATE, status.state),
      externallyOwned: (status.owner & 1) !== 0,
      es: (status.config & 1) !== 0,
      guests: status.guest_count,
    };
  }

  pekGen(): void {
    this.#run('PEK_GEN');
  }

  pdhGen(): void {
    this.#run('PDH_GEN');
  }

  /** PEK_CSR: the PEK's certificate without signatures, for an owner to sign. */
  pekCsr(): Uint8Array {
    return this.#with([SIZE.CERTIFICATE], ([paddr]) => {
      this.#issue('PEK_CSR', { paddr: paddr!, length: SIZE.CERTIFICATE });
      return this.#read(paddr!, SIZE.CERTIFICATE);
    });
  }

  pekCertImport(pek: Uint8Array, oca: Uint8Array): void {
    this.#with([pek, oca], ([pekAt, ocaAt]) => {
      this.#issue('PEK_CERT_IMPORT', {
        pek_cert_paddr: pekAt!,
        pek_cert_len: pek.length,
        oca_cert_paddr: ocaAt!,
        oca_cert_len: oca.length,
      });
    });
  }

  pdhCertExport(): PlatformCertificates {
    return this.#with([SIZE.CERTIFICATE, SIZE.CERTIFICATE_CHAIN], ([pdhAt, chainAt]) => {
      this.#issue('PDH_CERT_EXPORT', {
        pdh_cert_paddr: pdhAt!,
        pdh_cert_len: SIZE.CERTIFICATE,
        certs_paddr: chainAt!,
        certs_len: SIZE.CERTIFICATE_CHAIN,
      });
      const [pek, oca, cek] = [0, 1, 2].map((n) =>
        this.#read(chainAt! + n * SIZE.CERTIFICATE, SIZE.CERTIFICATE),
      );
      return { pdh: this.#read(pdhAt!, SIZE.CERTIFICATE), pek: pek!, oca: oca!, cek: cek! };
    });
  }

  /** DF_FLUSH, behind the WBINVD that it wants. */
  dfFlush(): void {
    this.#transport.wbinvd();
    this.#run('DF_FLUSH');
  }

  downloadFirmware(image: Uint8Array): void {
    this.#with([image], ([paddr]) => {
      this.#issue('DOWNLOAD_FIRMWARE', { paddr: paddr!, length: image.length });
    });
  }

  /** GET_ID: 64 bytes for each socket. */
  chipId(): Uint8Array {
    return this.#with([SIZE.CHIP_ID], ([paddr]) => {
      const { length } = this.#issue('GET_ID', { paddr: paddr!, length: SIZE.CHIP_ID });
      return this.#read(paddr!, length);
    });
  }

  // Guests

  /** LAUNCH_START: the new guest's handle. `shareWith` is a guest whose key it gets. */
  launchStart(options: {
    readonly policy: number;
    readonly owner?: OwnerSession;
    readonly shareWith?: number;
  }): number {
    const { policy, owner, shareWith = 0 } = options;
    const blobs = owner === undefined ? [] : [owner.certificate, owner.session];
    return this.#with(blobs, ([certificate, session]) => {
      const given = owner && {
        dh_cert_paddr: certificate!,
        dh_cert_len: owner.certificate.length,
        session_paddr: session!,
        session_len: owner.session.length,
      };
      return this.#issue('LAUNCH_START', { handle: shareWith, policy, ...given }).handle;
    });
  }

  launchUpdateData(handle: number, paddr: number, length: number): void {
    this.#transport.wbinvd();
    this.#issue('LAUNCH_UPDATE_DATA', { handle, paddr, length });
  }

  launchUpdateVmsa(handle: number, paddr: number): void {
    this.#transport.wbinvd();
    this.#issue('LAUNCH_UPDATE_VMSA', { handle, paddr, length: SIZE.VMSA });
  }

  /** LAUNCH_MEASURE: the measurement, then its nonce. */
  launchMeasure(handle: number): Uint8Array {
    return this.#with([SIZE.MEASURE], ([paddr]) => {
      const measure = { handle, measure_paddr: paddr!, measure_len: SIZE.MEASURE };
      this.#issue('LAUNCH_MEASURE', measure);
      return this.#read(paddr!, SIZE.MEASURE);
    });
  }

  launchSecret(handle: number, packet: SevPacket, guestPaddr: number): void {
    this.#packet('LAUNCH_SECRET', handle, packet, guestPaddr);
  }

  launchFinish(handle: number): void {
    this.#issue('LAUNCH_FINISH', { handle });
  }

  /** ATTESTATION: a report with this nonce of 16 bytes, signed by the PEK. */
  attestation(handle: number, nonce: Uint8Array): Uint8Array {
    const mnonce = sized(nonce, 16, 'the nonce');
    return this.#with([SIZE.ATTESTATION_REPORT], ([paddr]) => {
      const length = SIZE.ATTESTATION_REPORT;
      this.#issue('ATTESTATION', { handle, paddr: paddr!, mnonce, length });
      return this.#read(paddr!, length);
    });
  }

  activate(handle: number, asid: number): void {
    this.#issue('ACTIVATE', { handle, asid });
  }

  deactivate(handle: number): void {
    this.#issue('DEACTIVATE', { handle });
  }

  decommission(handle: number): void {
    this.#issue('DECOMMISSION', { handle });
  }

  /** UNINIT for a handle that is no guest's. */
  guestStatus(handle: number): GuestStatus {
    const { state, policy, asid } = this.#issue('GUEST_STATUS', { handle });
    return { state: stateName(GUEST_STATE, state), policy, asid };
  }

  /** DBG_DECRYPT of whole blocks at `paddr`. */
  debugRead(handle: number, paddr: number, length: number): Uint8Array {
    return this.#with([length], ([to]) => {
      this.#issue('DBG_DECRYPT', { handle, src_paddr: paddr, dst_paddr: to!, length });
      return this.#read(to!, length);
    });
  }

  /** DBG_ENCRYPT of whole blocks to `paddr`. */
  debugWrite(handle: number, paddr: number, bytes: Uint8Array): void {
    this.#with([bytes], ([from]) => {
      const { length } = bytes;
      this.#issue('DBG_ENCRYPT', { handle, src_paddr: from!, dst_paddr: paddr, length });
    });
  }

  copy(handle: number, from: number, to: number, length: number): void {
    this.#issue('COPY', { handle, length, src_paddr: from, dst_paddr: to });
  }

  // Migration

  /** SEND_START to the platform of these certificates: what it needs to receive the guest. */
  sendStart(
    handle: number,
    to: {
      readonly pdh: Uint8Array;
      /** PEK, OCA and the signed CEK, then ASK and ARK: where the policy asks for them. */
      readonly platform?: Uint8Array;
      readonly authorities?: Uint8Array;
    },
  ): { readonly policy: number; readonly session: Uint8Array } {
    const { pdh, platform = new Uint8Array(), authorities = new Uint8Array() } = to;
    return this.#with([pdh, platform, authorities, SIZE.SESSION], ([a, b, c, session]) => {
      const { policy } = this.#issue('SEND_START', {
        handle,
        pdh_cert_paddr: a!,
        pdh_cert_len: pdh.length,
        plat_certs_paddr: b!,
        plat_certs_len: platform.length,
        amd_certs_paddr: c!,
        amd_certs_len: authorities.length,
        session_paddr: session!,
        session_len: SIZE.SESSION,
      });
      return { policy, session: this.#read(session!, SIZE.SESSION) };
    });
  }

  /** SEND_UPDATE_DATA of `length` bytes at `paddr`. */
  sendUpdateData(handle: number, paddr: number, length: number): SevPacket {
    return this.#send('SEND_UPDATE_DATA', handle, paddr, length);
  }

  sendUpdateVmsa(handle: number, paddr: number): SevPacket {
    return this.#send('SEND_UPDATE_VMSA', handle, paddr, SIZE.VMSA);
  }

  sendFinish(handle: number): void {
    this.#issue('SEND_FINISH', { handle });
  }

  sendCancel(handle: number): void {
    this.#issue('SEND_CANCEL', { handle });
  }

  /** RECEIVE_START: the new guest's handle. */
  receiveStart(from: {
    readonly policy: number;
    readonly pdh: Uint8Array;
    readonly session: Uint8Array;
  }): number {
    const { policy, pdh, session } = from;
    return this.#with([pdh, session], ([pdhAt, sessionAt]) => {
      const { handle } = this.#issue('RECEIVE_START', {
        policy,
        pdh_cert_paddr: pdhAt!,
        pdh_cert_len: pdh.length,
        session_paddr: sessionAt!,
        session_len: session.length,
      });
      return handle;
    });
  }

  receiveUpdateData(handle: number, packet: SevPacket, guestPaddr: number): void {
    this.#packet('RECEIVE_UPDATE_DATA', handle, packet, guestPaddr);
  }

  receiveUpdateVmsa(handle: number, packet: SevPacket, guestPaddr: number): void {
    this.#packet('RECEIVE_UPDATE_VMSA', handle, packet, guestPaddr);
  }

  receiveFinish(handle: number): void {
    this.#issue('RECEIVE_FINISH', { handle });
  }

  // How commands are issued

  #send(
    name: 'SEND_UPDATE_DATA' | 'SEND_UPDATE_VMSA',
    handle: number,
    paddr: number,
    length: number,
  ): SevPacket {
    return this.#with([SIZE.PACKET_HEADER, length], ([header, transport]) => {
      this.#issue(name, transportFields(handle, header!, transport!, paddr, length));
      const ciphertext = this.#read(transport!, length);
      return { header: this.#read(header!, SIZE.PACKET_HEADER), ciphertext };
    });
  }

  #packet(
    name: 'LAUNCH_SECRET' | 'RECEIVE_UPDATE_DATA' | 'RECEIVE_UPDATE_VMSA',
    handle: number,
    { header, ciphertext }: SevPacket,
    paddr: number,
  ): void {
    this.#with([sized(header, SIZE.PACKET_HEADER, 'the header'), ciphertext], ([a, b]) => {
      this.#issue(name, transportFields(handle, a!, b!, paddr, ciphertext.length));
    });
  }

  /** Lends host memory for each blob, or room of that length, while `work` runs. */
  #with<T>(blobs: readonly (Uint8Array | number)[], work: (at: readonly number[]) => T): T {
    const { host } = this.#transport;
    const places: number[] = [];
    try {
      for (const blob of blobs) {
        const length = typeof blob === 'number' ? blob : blob.length;
        const spa = host.allocate(length);
        places.push(spa);
        if (typeof blob !== 'number') host.view(spa, length).set(blob);
      }
      return work(places);
    } finally {
      for (const spa of places) host.free(spa);
    }
  }

  #read(spa: number, length: number): Uint8Array {
    return concat(this.#transport.host.view(spa, length));
  }

  /** A command with a buffer: what stands in it afterwards. */
  #issue<Name extends BufferedCommand>(
    name: Name,
    values: Partial<BufferOf<Name>>,
  ): BufferOf<Name> {
    const type = BUFFERS[name] as unknown as Struct<(typeof BUFFERS)[Name]['fields']>;
    return this.#with([encode(type, values)], ([spa]) => {
      expectSuccess(name, this.#transport.command(COMMAND[name], spa!));
      return decode(type, this.#transport.host.view(spa!, type.size));
    });
  }

  /** A command without one. */
  #run(name: CommandName): void {
    expectSuccess(name, this.#transport.command(COMMAND[name], 0));
  }

  #freeTmr(): void {
    if (this.#tmr !== null) this.#transport.host.free(this.#tmr);
    this.#tmr = null;
  }
}

function transportFields(
  handle: number,
  header: number,
  transport: number,
  paddr: number,
  length: number,
): Partial<BufferOf<'LAUNCH_SECRET'>> {
  return {
    handle,
    hdr_paddr: header,
    hdr_len: SIZE.PACKET_HEADER,
    guest_paddr: paddr,
    guest_len: length,
    trans_paddr: transport,
    trans_len: length,
  };
}
