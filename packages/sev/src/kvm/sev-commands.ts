/**
 * KVM_MEMORY_ENCRYPT_OP: the commands that KVM passes on to the secure processor for a VM, and
 * their structs. `NativeVmControl.memoryEncryptOp` takes both.
 *
 * They are here and not in the KVM backend because protections fill them in: a backend only carries
 * the bytes. Addresses (`…_uaddr`) are of this process: an attachment of the command fills them.
 *
 * SEND_UPDATE_VMSA and RECEIVE_UPDATE_VMSA have a number only: no struct, and up to Linux 6.12 KVM
 * answers them with EINVAL.
 *
 * Source: Linux arch/x86/include/uapi/asm/kvm.h (include/uapi/linux/kvm.h up to 6.8), and
 * Documentation/virt/kvm/x86/amd-memory-encryption.rst for what each means. INIT2 came with Linux
 * 6.10, SNP with 6.11. Reserved fields are zero; those at an end, or
 * that alignment gives, have no name here.
 */
import { type FieldType, type Struct, struct } from '@cloister/core/abi';

/** `KVM_SEV_…` */
export const SEV_COMMAND = {
  INIT: 0,
  ES_INIT: 1,
  LAUNCH_START: 2,
  LAUNCH_UPDATE_DATA: 3,
  LAUNCH_UPDATE_VMSA: 4,
  LAUNCH_SECRET: 5,
  LAUNCH_MEASURE: 6,
  LAUNCH_FINISH: 7,
  SEND_START: 8,
  SEND_UPDATE_DATA: 9,
  SEND_UPDATE_VMSA: 10,
  SEND_FINISH: 11,
  RECEIVE_START: 12,
  RECEIVE_UPDATE_DATA: 13,
  RECEIVE_UPDATE_VMSA: 14,
  RECEIVE_FINISH: 15,
  GUEST_STATUS: 16,
  DBG_DECRYPT: 17,
  DBG_ENCRYPT: 18,
  CERT_EXPORT: 19,
  GET_ATTESTATION_REPORT: 20,
  SEND_CANCEL: 21,
} as const;

/** `KVM_SEV_…`; Linux 6.10 (INIT2), 6.11 (SNP) and later. */
export const SEV_COMMAND_SINCE_6_10 = {
  INIT2: 22,
  SNP_LAUNCH_START: 100,
  SNP_LAUNCH_UPDATE: 101,
  SNP_LAUNCH_FINISH: 102,
} as const;

/** `KVM_SEV_SNP_…` */
export const SNP_LIMIT = {
  ID_BLOCK_SIZE: 96,
  ID_AUTH_SIZE: 4096,
  FINISH_DATA_SIZE: 32,
} as const;

/** `KVM_SEV_SNP_PAGE_TYPE_…`: as the firmware's. */
export const SNP_PAGE_TYPE = {
  NORMAL: 1,
  ZERO: 3,
  UNMEASURED: 4,
  SECRETS: 5,
  CPUID: 6,
} as const;

/** An address and a length, as most commands have them. */
const area = (name: string): Record<string, FieldType> => ({
  [`${name}_uaddr`]: 'u64',
  [`${name}_len`]: 'u32',
});

/** For commands that pass `hdr`, `guest` and `trans`. */
const transport = (name: string): Struct =>
  struct(name, { ...area('hdr'), ...area('guest'), ...area('trans') });

export const SEV_INIT = struct(
  'kvm_sev_init',
  { vmsa_features: 'u64', flags: 'u32', ghcb_version: 'u16' },
  { size: 48 },
);

export const SEV_LAUNCH_START = struct('kvm_sev_launch_start', {
  handle: 'u32',
  policy: 'u32',
  dh_uaddr: 'u64',
  dh_len: 'u32',
  session_uaddr: 'u64',
  session_len: 'u32',
});

export const SEV_LAUNCH_UPDATE_DATA = struct('kvm_sev_launch_update_data', {
  uaddr: 'u64',
  len: 'u32',
});

export const SEV_LAUNCH_SECRET = transport('kvm_sev_launch_secret');

export const SEV_LAUNCH_MEASURE = struct('kvm_sev_launch_measure', { uaddr: 'u64', len: 'u32' });

export const SEV_GUEST_STATUS = struct('kvm_sev_guest_status', {
  handle: 'u32',
  policy: 'u32',
  state: 'u32',
});

export const SEV_DBG = struct('kvm_sev_dbg', { src_uaddr: 'u64', dst_uaddr: 'u64', len: 'u32' });

export const SEV_ATTESTATION_REPORT = struct('kvm_sev_attestation_report', {
  mnonce: ['u8', 16],
  uaddr: 'u64',
  len: 'u32',
});

export const SEV_SEND_START = struct('kvm_sev_send_start', {
  policy: 'u32',
  ...area('pdh_cert'),
  ...area('plat_certs'),
  ...area('amd_certs'),
  ...area('session'),
});

export const SEV_SEND_UPDATE_DATA = transport('kvm_sev_send_update_data');

export const SEV_RECEIVE_START = struct('kvm_sev_receive_start', {
  handle: 'u32',
  policy: 'u32',
  ...area('pdh'),
  ...area('session'),
});

export const SEV_RECEIVE_UPDATE_DATA = transport('kvm_sev_receive_update_data');

export const SNP_LAUNCH_START = struct(
  'kvm_sev_snp_launch_start',
  { policy: 'u64', gosvw: ['u8', 16], flags: 'u16' },
  { size: 64 },
);

/** `len` and `gfn_start` say what is left to do when the kernel answers EAGAIN. */
export const SNP_LAUNCH_UPDATE = struct(
  'kvm_sev_snp_launch_update',
  { gfn_start: 'u64', uaddr: 'u64', len: 'u64', type: 'u8', flags: 'u16' },
  { size: 64 },
);

export const SNP_LAUNCH_FINISH = struct(
  'kvm_sev_snp_launch_finish',
  {
    id_block_uaddr: 'u64',
    id_auth_uaddr: 'u64',
    id_block_en: 'u8',
    auth_key_en: 'u8',
    vcek_disabled: 'u8',
    host_data: ['u8', SNP_LIMIT.FINISH_DATA_SIZE],
    pad0: ['u8', 3],
    flags: 'u16',
  },
  { size: 88 },
);

/** Those that every kernel with SEV has. */
export const SEV_STRUCTS: readonly Struct[] = [
  SEV_LAUNCH_START, SEV_LAUNCH_UPDATE_DATA, SEV_LAUNCH_SECRET, SEV_LAUNCH_MEASURE,
  SEV_GUEST_STATUS, SEV_DBG, SEV_ATTESTATION_REPORT, SEV_SEND_START, SEV_SEND_UPDATE_DATA,
  SEV_RECEIVE_START, SEV_RECEIVE_UPDATE_DATA,
]; // biome-ignore format: a list

export const SEV_STRUCTS_SINCE_6_10: readonly Struct[] = [
  SEV_INIT,
  SNP_LAUNCH_START,
  SNP_LAUNCH_UPDATE,
  SNP_LAUNCH_FINISH,
];
