/**
 * /dev/sev: commands to the secure processor that concern the platform, not a VM. One ioctl takes
 * a command number, the address of the command's struct and room for the firmware's status.
 *
 * Source: Linux include/uapi/linux/psp-sev.h; what each command does is in AMD's SEV API (55766),
 * chapter 5, and SEV-SNP ABI (56860), chapter 8. The structs are packed. The SNP commands came with
 * Linux 6.9 (status, commit, config) and 6.11 (VLEK). Reserved fields have no name here.
 */
import { type Struct, struct } from '@cloister/core/abi';

/** `SEV_…` */
export const PSP_COMMAND = {
  FACTORY_RESET: 0,
  PLATFORM_STATUS: 1,
  PEK_GEN: 2,
  PEK_CSR: 3,
  PDH_GEN: 4,
  PDH_CERT_EXPORT: 5,
  PEK_CERT_IMPORT: 6,
  GET_ID: 7,
  GET_ID2: 8,
} as const;

/** `SNP_…` */
export const PSP_SNP_COMMAND = {
  PLATFORM_STATUS: 9,
  COMMIT: 10,
  SET_CONFIG: 11,
  VLEK_LOAD: 12,
} as const;

const packed = { packed: true } as const;

/** The ioctl's argument. */
export const ISSUE_CMD = struct('sev_issue_cmd', { cmd: 'u32', data: 'u64', error: 'u32' }, packed);

/** `SEV_ISSUE_CMD`: read and written, type 'S', number 0. */
export const SEV_ISSUE_CMD = ((3 << 30) | (ISSUE_CMD.size << 16) | (0x53 << 8)) >>> 0;

export const PSP_STATUS = struct(
  'sev_user_data_status',
  {
    api_major: 'u8',
    api_minor: 'u8',
    state: 'u8',
    flags: 'u32',
    build: 'u8',
    guest_count: 'u32',
  },
  packed,
);

/** `SEV_STATUS_FLAGS_…` */
export const PSP_STATUS_FLAG = { CONFIG_ES: 0x100 } as const;

export const PSP_PEK_CSR = struct(
  'sev_user_data_pek_csr',
  { address: 'u64', length: 'u32' },
  packed,
);

export const PSP_PEK_CERT_IMPORT = struct(
  'sev_user_data_pek_cert_import',
  {
    pek_cert_address: 'u64',
    pek_cert_len: 'u32',
    oca_cert_address: 'u64',
    oca_cert_len: 'u32',
  },
  packed,
);

export const PSP_PDH_CERT_EXPORT = struct(
  'sev_user_data_pdh_cert_export',
  {
    pdh_cert_address: 'u64',
    pdh_cert_len: 'u32',
    cert_chain_address: 'u64',
    cert_chain_len: 'u32',
  },
  packed,
);

export const PSP_GET_ID = struct(
  'sev_user_data_get_id',
  { socket1: ['u8', 64], socket2: ['u8', 64] },
  packed,
);

export const PSP_GET_ID2 = struct(
  'sev_user_data_get_id2',
  { address: 'u64', length: 'u32' },
  packed,
);

/** Bit 0 of `rmp`: the RMP is initialized. Bits of `masks`: chip id, chip key masked, VLEK. */
export const PSP_SNP_STATUS = struct(
  'sev_user_data_snp_status',
  {
    api_major: 'u8',
    api_minor: 'u8',
    state: 'u8',
    rmp: 'u8',
    build_id: 'u32',
    masks: 'u32',
    guest_count: 'u32',
    current_tcb_version: 'u64',
    reported_tcb_version: 'u64',
  },
  packed,
);

/** Bits 0 and 1 of `masks`: chip id and chip key masked. */
export const PSP_SNP_CONFIG = struct(
  'sev_user_data_snp_config',
  { reported_tcb: 'u64', masks: 'u32' },
  { packed: true, size: 64 },
);

export const PSP_SNP_VLEK_LOAD = struct(
  'sev_user_data_snp_vlek_load',
  { len: 'u32', vlek_wrapped_version: 'u8', rsvd: ['u8', 3], vlek_wrapped_address: 'u64' },
  packed,
);

export const PSP_SNP_WRAPPED_VLEK = struct(
  'sev_user_data_snp_wrapped_vlek_hashstick',
  { data: ['u8', 432] },
  packed,
);

export const PSP_STRUCTS: readonly Struct[] = [
  ISSUE_CMD, PSP_STATUS, PSP_PEK_CSR, PSP_PEK_CERT_IMPORT, PSP_PDH_CERT_EXPORT, PSP_GET_ID,
  PSP_GET_ID2,
]; // biome-ignore format: a list

export const PSP_SNP_STRUCTS: readonly Struct[] = [
  PSP_SNP_STATUS,
  PSP_SNP_CONFIG,
  PSP_SNP_VLEK_LOAD,
  PSP_SNP_WRAPPED_VLEK,
];
