/**
 * A secure processor on a test bench: seeded, with a little memory, commands by name.
 *
 * Memory: command buffers at 0x1000, what they point to from 0x10000 on, guest pages from 0x40000,
 * the trusted memory region at 0x100000.
 */
import { BUFFERS, COMMAND, type CommandName, SIZE } from '../abi/commands.js';
import { POLICY } from '../abi/policy.js';
import { STATUS } from '../abi/status.js';
import { decode, encode, type Struct } from '../abi/struct.js';
import { seededEntropy } from '../firmware/entropy.js';
import { KeyedMemory } from '../firmware/keyed-memory.js';
import { memoryStore, type Store } from '../firmware/persistent.js';
import { SecureProcessor, type SecureProcessorParts } from '../firmware/secure-processor.js';
import type { LiveGuestState } from '../firmware/states.js';
import { testChip } from './emulated-chip.js';

export const AT = {
  buffer: 0x1000,
  certificate: 0x10000,
  chain: 0x12000,
  authorities: 0x16000,
  session: 0x1a000,
  header: 0x1b000,
  transport: 0x1c000,
  measure: 0x24000,
  report: 0x25000,
  ids: 0x26000,
  image: 0x27000,
  nv: 0x30000,
  guest: 0x40000,
  vmsa: 0x50000,
  tmr: 0x10_0000,
  end: 0x20_0000,
} as const;

type Named = Record<string, number | Uint8Array>;

export interface Answer {
  readonly status: number;
  readonly values: Named;
}

/** One pair of keys for every bench: INIT then reads them, which is fast. */
const FLASH = memoryStore();

function sharedFlash(): Store {
  if (FLASH.read() === null) {
    const bench = new FirmwareBench({ flash: FLASH });
    bench.ok('INIT');
  }
  const own = memoryStore();
  own.write(FLASH.read()!);
  return own;
}

export class FirmwareBench {
  readonly memory = new KeyedMemory(AT.end);
  readonly flash: Store;
  readonly processor: SecureProcessor;

  constructor(parts: Partial<SecureProcessorParts> = {}) {
    this.flash = parts.flash ?? sharedFlash();
    this.processor = new SecureProcessor({
      memory: this.memory,
      chip: testChip,
      entropy: seededEntropy('bench'),
      asids: { max: 8, minNoEs: 4 },
      ...parts,
      flash: this.flash,
    });
  }

  /** Runs a command with these fields in its buffer, as far as it has them. */
  run(name: CommandName, values: Named = {}): Answer {
    const type: Struct | undefined = BUFFERS[name as keyof typeof BUFFERS];
    if (type === undefined) {
      return { status: this.processor.command(COMMAND[name], 0), values: {} };
    }
    this.put(AT.buffer, encode(type, values as never));
    const status = this.processor.command(COMMAND[name], AT.buffer);
    return { status, values: decode(type, this.get(AT.buffer, type.size)) as Named };
  }

  /** Runs one that must succeed. */
  ok(name: CommandName, values: Named = {}): Named {
    const { status, values: out } = this.run(name, values);
    if (status !== STATUS.SUCCESS) throw new Error(`${name}: status 0x${status.toString(16)}`);
    return out;
  }

  put(spa: number, bytes: Uint8Array): void {
    this.memory.write(spa, bytes, 0);
  }

  /** Bytes as the host sees them, or under an ASID's key. */
  get(spa: number, length: number, tag = 0): Uint8Array {
    const bytes = new Uint8Array(length);
    this.memory.read(spa, bytes, tag);
    return bytes;
  }

  /** INIT, with SEV-ES if asked, and the flush that lets guests be activated. */
  start({ es = false } = {}): this {
    this.ok('INIT', es ? { flags: 1, tmr_paddr: AT.tmr, tmr_length: SIZE.TMR } : {});
    return this.flush();
  }

  flush(): this {
    this.processor.wbinvd();
    this.ok('DF_FLUSH');
    return this;
  }

  /** The platform's PDH certificate at `AT.certificate`, its chain at `AT.chain`. */
  exportCertificates(): Uint8Array {
    this.ok('PDH_CERT_EXPORT', {
      pdh_cert_paddr: AT.certificate,
      pdh_cert_len: SIZE.CERTIFICATE,
      certs_paddr: AT.chain,
      certs_len: SIZE.CERTIFICATE_CHAIN,
    });
    return this.get(AT.certificate, SIZE.CERTIFICATE);
  }

  /** A guest in this state and its handle, with a VMSA if it is SEV-ES; active unless told. */
  guest(
    state: LiveGuestState,
    {
      policy = 0,
      asid = 0,
      active = true,
    }: { policy?: number; asid?: number; active?: boolean } = {},
  ): number {
    const own = asid || ((policy & POLICY.ES) !== 0 ? 1 : 4);
    if (state === 'RUPDATE') return this.#received(policy, own, active);
    const handle = this.ok('LAUNCH_START', { policy }).handle as number;
    this.ok('ACTIVATE', { handle, asid: own });
    if ((policy & POLICY.ES) !== 0) {
      this.ok('LAUNCH_UPDATE_VMSA', { handle, paddr: AT.vmsa, length: SIZE.VMSA });
    }
    if (state !== 'LUPDATE') {
      this.ok('LAUNCH_MEASURE', { handle, measure_paddr: AT.measure, measure_len: SIZE.MEASURE });
    }
    if (state !== 'LUPDATE' && state !== 'LSECRET') this.ok('LAUNCH_FINISH', { handle });
    if (state === 'SUPDATE' || state === 'SENT') this.#send(handle);
    if (state === 'SENT') this.ok('SEND_FINISH', { handle });
    if (!active) this.#rest(handle);
    return handle;
  }

  /** SEND_START to this platform itself: the session stands at `AT.session`. */
  #send(handle: number): void {
    this.exportCertificates();
    this.ok('SEND_START', this.sendStart(handle));
  }

  sendStart(handle: number): Named {
    return {
      handle,
      pdh_cert_paddr: AT.certificate,
      pdh_cert_len: SIZE.CERTIFICATE,
      plat_certs_paddr: AT.chain,
      plat_certs_len: SIZE.CERTIFICATE_CHAIN,
      session_paddr: AT.session,
      session_len: SIZE.SESSION,
    };
  }

  receiveStart(policy: number): Named {
    return {
      policy,
      pdh_cert_paddr: AT.certificate,
      pdh_cert_len: SIZE.CERTIFICATE,
      session_paddr: AT.session,
      session_len: SIZE.SESSION,
    };
  }

  #received(policy: number, asid: number, active: boolean): number {
    const sender = this.guest('SUPDATE', { policy, asid });
    this.ok('SEND_FINISH', { handle: sender });
    this.#rest(sender);
    const handle = this.ok('RECEIVE_START', this.receiveStart(policy)).handle as number;
    this.ok('DECOMMISSION', { handle: sender });
    if (active) this.ok('ACTIVATE', { handle, asid });
    return handle;
  }

  #rest(handle: number): void {
    this.ok('DEACTIVATE', { handle });
    this.flush();
  }
}
