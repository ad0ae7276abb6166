/**
 * Commands of the firmware before SNP and their buffers (SEV API 55766, 4.3 "Command identifiers",
 * chapters 5 to 7; COPY, ACTIVATE_EX and ATTESTATION of later revisions). Names are the manual's.
 *
 * Absent, and refused as unknown: RING_BUFFER (0x0f), SWAP_OUT (0x70) and SWAP_IN (0x71).
 */
import { struct, type Values } from './struct.js';

const packed = { packed: true } as const;
const handleOnly = (name: string) => struct(name, { handle: 'u32' }, packed);

const launchUpdate = (name: string) =>
  struct(name, { handle: 'u32', reserved: 'u32', paddr: 'u64', length: 'u32' }, packed);

const transport = (name: string) =>
  struct(
    name,
    {
      handle: 'u32',
      reserved: 'u32',
      hdr_paddr: 'u64',
      hdr_len: 'u32',
      reserved2: 'u32',
      guest_paddr: 'u64',
      guest_len: 'u32',
      reserved3: 'u32',
      trans_paddr: 'u64',
      trans_len: 'u32',
    },
    packed,
  );

const debug = (name: string) =>
  struct(
    name,
    { handle: 'u32', reserved: 'u32', src_paddr: 'u64', dst_paddr: 'u64', length: 'u32' },
    packed,
  );

/** Command buffers by command; a command that is not here has none. */
export const BUFFERS = {
  INIT: struct(
    'init',
    { flags: 'u32', reserved: 'u32', tmr_paddr: 'u64', tmr_length: 'u32' },
    packed,
  ),
  PLATFORM_STATUS: struct(
    'platform_status',
    {
      api_major: 'u8',
      api_minor: 'u8',
      state: 'u8',
      owner: 'u8',
      config: 'u16',
      reserved: 'u8',
      build: 'u8',
      guest_count: 'u32',
    },
    packed,
  ),
  PEK_CSR: struct('pek_csr', { paddr: 'u64', length: 'u32' }, packed),
  PEK_CERT_IMPORT: struct(
    'pek_cert_import',
    {
      pek_cert_paddr: 'u64',
      pek_cert_len: 'u32',
      reserved: 'u32',
      oca_cert_paddr: 'u64',
      oca_cert_len: 'u32',
    },
    packed,
  ),
  PDH_CERT_EXPORT: struct(
    'pdh_cert_export',
    {
      pdh_cert_paddr: 'u64',
      pdh_cert_len: 'u32',
      reserved: 'u32',
      certs_paddr: 'u64',
      certs_len: 'u32',
    },
    packed,
  ),
  DOWNLOAD_FIRMWARE: struct('download_firmware', { paddr: 'u64', length: 'u32' }, packed),
  GET_ID: struct('get_id', { paddr: 'u64', length: 'u32' }, packed),
  INIT_EX: struct(
    'init_ex',
    {
      ex_len: 'u32',
      flags: 'u32',
      tmr_paddr: 'u64',
      tmr_length: 'u32',
      reserved: 'u32',
      nv_paddr: 'u64',
      nv_length: 'u32',
    },
    packed,
  ),
  DECOMMISSION: handleOnly('decommission'),
  ACTIVATE: struct('activate', { handle: 'u32', asid: 'u32' }, packed),
  DEACTIVATE: handleOnly('deactivate'),
  GUEST_STATUS: struct(
    'guest_status',
    { handle: 'u32', policy: 'u32', asid: 'u32', state: 'u8' },
    packed,
  ),
  COPY: struct(
    'copy',
    { handle: 'u32', length: 'u32', src_paddr: 'u64', dst_paddr: 'u64' },
    packed,
  ),
  ACTIVATE_EX: struct(
    'activate_ex',
    { ex_len: 'u32', handle: 'u32', asid: 'u32', numids: 'u32', ids_paddr: 'u64' },
    packed,
  ),
  LAUNCH_START: struct(
    'launch_start',
    {
      handle: 'u32',
      policy: 'u32',
      dh_cert_paddr: 'u64',
      dh_cert_len: 'u32',
      reserved: 'u32',
      session_paddr: 'u64',
      session_len: 'u32',
    },
    packed,
  ),
  LAUNCH_UPDATE_DATA: launchUpdate('launch_update_data'),
  LAUNCH_UPDATE_VMSA: launchUpdate('launch_update_vmsa'),
  LAUNCH_MEASURE: struct(
    'launch_measure',
    { handle: 'u32', reserved: 'u32', measure_paddr: 'u64', measure_len: 'u32' },
    packed,
  ),
  LAUNCH_SECRET: transport('launch_secret'),
  LAUNCH_FINISH: handleOnly('launch_finish'),
  ATTESTATION: struct(
    'attestation',
    { handle: 'u32', reserved: 'u32', paddr: 'u64', mnonce: 16, length: 'u32' },
    packed,
  ),
  SEND_START: struct(
    'send_start',
    {
      handle: 'u32',
      policy: 'u32',
      pdh_cert_paddr: 'u64',
      pdh_cert_len: 'u32',
      reserved: 'u32',
      plat_certs_paddr: 'u64',
      plat_certs_len: 'u32',
      reserved2: 'u32',
      amd_certs_paddr: 'u64',
      amd_certs_len: 'u32',
      reserved3: 'u32',
      session_paddr: 'u64',
      session_len: 'u32',
    },
    packed,
  ),
  SEND_UPDATE_DATA: transport('send_update_data'),
  SEND_UPDATE_VMSA: transport('send_update_vmsa'),
  SEND_FINISH: handleOnly('send_finish'),
  SEND_CANCEL: handleOnly('send_cancel'),
  RECEIVE_START: struct(
    'receive_start',
    {
      handle: 'u32',
      policy: 'u32',
      pdh_cert_paddr: 'u64',
      pdh_cert_len: 'u32',
      reserved: 'u32',
      session_paddr: 'u64',
      session_len: 'u32',
    },
    packed,
  ),
  RECEIVE_UPDATE_DATA: transport('receive_update_data'),
  RECEIVE_UPDATE_VMSA: transport('receive_update_vmsa'),
  RECEIVE_FINISH: handleOnly('receive_finish'),
  DBG_DECRYPT: debug('dbg_decrypt'),
  DBG_ENCRYPT: debug('dbg_encrypt'),
} as const;

/** Command identifiers. FACTORY_RESET of Linux is the manual's PLATFORM_RESET. */
export const COMMAND = {
  INIT: 0x01,
  SHUTDOWN: 0x02,
  PLATFORM_RESET: 0x03,
  PLATFORM_STATUS: 0x04,
  PEK_GEN: 0x05,
  PEK_CSR: 0x06,
  PEK_CERT_IMPORT: 0x07,
  PDH_CERT_EXPORT: 0x08,
  PDH_GEN: 0x09,
  DF_FLUSH: 0x0a,
  DOWNLOAD_FIRMWARE: 0x0b,
  GET_ID: 0x0c,
  INIT_EX: 0x0d,
  NOP: 0x0e,
  DECOMMISSION: 0x20,
  ACTIVATE: 0x21,
  DEACTIVATE: 0x22,
  GUEST_STATUS: 0x23,
  COPY: 0x24,
  ACTIVATE_EX: 0x25,
  LAUNCH_START: 0x30,
  LAUNCH_UPDATE_DATA: 0x31,
  LAUNCH_UPDATE_VMSA: 0x32,
  LAUNCH_MEASURE: 0x33,
  LAUNCH_SECRET: 0x34,
  LAUNCH_FINISH: 0x35,
  ATTESTATION: 0x36,
  SEND_START: 0x40,
  SEND_UPDATE_DATA: 0x41,
  SEND_UPDATE_VMSA: 0x42,
  SEND_FINISH: 0x43,
  SEND_CANCEL: 0x44,
  RECEIVE_START: 0x50,
  RECEIVE_UPDATE_DATA: 0x51,
  RECEIVE_UPDATE_VMSA: 0x52,
  RECEIVE_FINISH: 0x53,
  DBG_DECRYPT: 0x60,
  DBG_ENCRYPT: 0x61,
} as const;

export type CommandName = keyof typeof COMMAND;
export type BufferedCommand = keyof typeof BUFFERS;
/** The values of a command's buffer. */
export type BufferOf<Name extends BufferedCommand> = Values<(typeof BUFFERS)[Name]['fields']>;

const NAMES = new Map<number, CommandName>(
  Object.entries(COMMAND).map(([name, id]) => [id, name as CommandName]),
);

/** The name of a command; undefined for an identifier that the firmware doesn't know. */
export function commandName(id: number): CommandName | undefined {
  return NAMES.get(id);
}

/** Bytes of the command's buffer, 0 for none. */
export function bufferSize(name: CommandName): number {
  return name in BUFFERS ? BUFFERS[name as BufferedCommand].size : 0;
}

/** Sizes of what buffers point to, in bytes. */
export const SIZE = {
  /** A certificate of the SEV format. */
  CERTIFICATE: 0x824,
  /** PEK, OCA, CEK. */
  CERTIFICATE_CHAIN: 3 * 0x824,
  /** Session data: nonce, wrapped keys, IV, two MACs. */
  SESSION: 128,
  /** Header of a secret or of migrated data: flags, IV, MAC. */
  PACKET_HEADER: 52,
  /** LAUNCH_MEASURE's output: measurement and nonce. */
  MEASURE: 48,
  ATTESTATION_REPORT: 0xd0,
  VMSA: 4096,
  /** GET_ID for one socket. */
  CHIP_ID: 64,
  /** Trusted memory region for SEV-ES: size and alignment. */
  TMR: 0x10_0000,
  /** Non-volatile storage that INIT_EX brings. */
  NV: 0x8000,
  INIT_EX: 0x24,
  /** The largest image for DOWNLOAD_FIRMWARE that this firmware looks at. */
  FIRMWARE: 0x4_0000,
  /** What one packet or secret may hold. */
  PACKET: 16384,
} as const;

/** Platform states. */
export const PLATFORM_STATE = { UNINIT: 0, INIT: 1, WORKING: 2 } as const;
export type PlatformStateName = keyof typeof PLATFORM_STATE;

/** Guest states. */
export const GUEST_STATE = {
  UNINIT: 0,
  LUPDATE: 1,
  LSECRET: 2,
  RUNNING: 3,
  SUPDATE: 4,
  RUPDATE: 5,
  SENT: 6,
} as const;
export type GuestStateName = keyof typeof GUEST_STATE;
