/**
 * The ioctls of OpenBSD's psp(4): numbers, structs, and what a pledged process may still do.
 *
 * Source: OpenBSD sys/dev/ic/pspvar.h and psp.c (1.20, as of 7.8), sys/sys/ioccom.h.
 */
import { struct } from '../abi/struct.js';

const packed = { packed: true } as const;
const handleOnly = (name: string) => struct(name, { handle: 'u32' }, packed);

/** Structs that ioctls take, in the order of their numbers. */
export const PSP_STRUCTS = {
  GET_PSTATUS: struct(
    'psp_platform_status',
    {
      api_major: 'u8',
      api_minor: 'u8',
      state: 'u8',
      owner: 'u8',
      cfges_build: 'u32',
      guest_count: 'u32',
    },
    packed,
  ),
  DF_FLUSH: null,
  DECOMMISSION: handleOnly('psp_decommission'),
  GET_GSTATUS: struct(
    'psp_guest_status',
    { handle: 'u32', policy: 'u32', asid: 'u32', state: 'u8' },
    packed,
  ),
  LAUNCH_START: struct(
    'psp_launch_start',
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
  LAUNCH_UPDATE_DATA: struct(
    'psp_launch_update_data',
    { handle: 'u32', reserved: 'u32', paddr: 'u64', length: 'u32' },
    packed,
  ),
  LAUNCH_MEASURE: struct(
    'psp_launch_measure',
    {
      handle: 'u32',
      reserved: 'u32',
      measure_paddr: 'u64',
      measure_len: 'u32',
      padding: 'u32',
      measure: 32,
      measure_nonce: 16,
    },
    packed,
  ),
  LAUNCH_FINISH: handleOnly('psp_launch_finish'),
  ATTESTATION: struct(
    'psp_attestation',
    {
      handle: 'u32',
      reserved: 'u32',
      attest_paddr: 'u64',
      attest_nonce: 16,
      attest_len: 'u32',
      padding: 'u32',
      report: 0xd0,
    },
    packed,
  ),
  ACTIVATE: struct('psp_activate', { handle: 'u32', asid: 'u32' }, packed),
  DEACTIVATE: handleOnly('psp_deactivate'),
  SNP_GET_PSTATUS: struct(
    'psp_snp_platform_status',
    {
      api_major: 'u8',
      api_minor: 'u8',
      state: 'u8',
      is_rmp_init: 'u8',
      build: 'u32',
      features: 'u32',
      guest_count: 'u32',
      current_tcb: 'u64',
      reported_tcb: 'u64',
    },
    packed,
  ),
  INIT: null,
  SHUTDOWN: null,
  ENCRYPT_STATE: struct(
    'psp_encrypt_state',
    { handle: 'u32', asid: 'u32', vmid: 'u32', vcpuid: 'u32' },
    packed,
  ),
  GUEST_SHUTDOWN: handleOnly('psp_guest_shutdown'),
} as const;

export type PspIoctlName = keyof typeof PSP_STRUCTS;

const VOID = 0x2000_0000;
const OUT = 0x4000_0000;
const IN = 0x8000_0000;
const GROUP = 0x50;

/** `_IO`, `_IOR`, `_IOW` and `_IOWR` of group 'P'. */
function request(direction: number, nr: number, name: PspIoctlName): number {
  const size = PSP_STRUCTS[name]?.size ?? 0;
  return (direction | (size << 16) | (GROUP << 8) | nr) >>> 0;
}

/** The request numbers. */
export const PSP_IOC: Readonly<Record<PspIoctlName, number>> = {
  GET_PSTATUS: request(OUT, 0, 'GET_PSTATUS'),
  DF_FLUSH: request(VOID, 1, 'DF_FLUSH'),
  DECOMMISSION: request(IN, 2, 'DECOMMISSION'),
  GET_GSTATUS: request(IN | OUT, 3, 'GET_GSTATUS'),
  LAUNCH_START: request(IN | OUT, 4, 'LAUNCH_START'),
  LAUNCH_UPDATE_DATA: request(IN, 5, 'LAUNCH_UPDATE_DATA'),
  LAUNCH_MEASURE: request(IN | OUT, 6, 'LAUNCH_MEASURE'),
  LAUNCH_FINISH: request(IN, 7, 'LAUNCH_FINISH'),
  ATTESTATION: request(IN | OUT, 8, 'ATTESTATION'),
  ACTIVATE: request(IN, 9, 'ACTIVATE'),
  DEACTIVATE: request(IN, 10, 'DEACTIVATE'),
  SNP_GET_PSTATUS: request(OUT, 11, 'SNP_GET_PSTATUS'),
  INIT: request(VOID, 12, 'INIT'),
  SHUTDOWN: request(VOID, 13, 'SHUTDOWN'),
  ENCRYPT_STATE: request(IN, 254, 'ENCRYPT_STATE'),
  GUEST_SHUTDOWN: request(IN, 255, 'GUEST_SHUTDOWN'),
};

/** What a process may still do that has pledged "vmm": launch a guest, end it, ask how it is. */
export const PLEDGE_VMM: ReadonlySet<PspIoctlName> = new Set<PspIoctlName>([
  'GET_PSTATUS',
  'DF_FLUSH',
  'GET_GSTATUS',
  'LAUNCH_START',
  'LAUNCH_UPDATE_DATA',
  'LAUNCH_MEASURE',
  'LAUNCH_FINISH',
  'ACTIVATE',
  'ENCRYPT_STATE',
  'GUEST_SHUTDOWN',
]);

/** OpenBSD's numbers (sys/sys/errno.h). */
export const ERRNO = {
  OK: 0,
  EPERM: 1,
  EIO: 5,
  ENXIO: 6,
  EBUSY: 16,
  EINVAL: 22,
  ENOTTY: 25,
  ERANGE: 34,
} as const;
export type Errno = (typeof ERRNO)[keyof typeof ERRNO];

const NAMES = new Map(Object.entries(PSP_IOC).map(([name, nr]) => [nr, name as PspIoctlName]));

/** Which ioctl a request number is; undefined for none of psp(4)'s. */
export function pspIoctlName(requestNumber: number): PspIoctlName | undefined {
  return NAMES.get(requestNumber >>> 0);
}
