/**
 * The state machines of platform and guest, as tables: in which states a command may come, and
 * where it leads (SEV API 55766, 5.1.2 "Platform state machine", 6.1.1 "Guest state machine").
 */
import type { CommandName, GuestStateName, PlatformStateName } from '../abi/commands.js';

const ANY = ['UNINIT', 'INIT', 'WORKING'] as const;
const READY = ['INIT', 'WORKING'] as const;

/** Platform states in which a command is taken; in others it is INVALID_PLATFORM_STATE. */
export const PLATFORM_STATES: Readonly<Record<CommandName, readonly PlatformStateName[]>> = {
  INIT: ['UNINIT'],
  SHUTDOWN: ANY,
  PLATFORM_RESET: ['UNINIT'],
  PLATFORM_STATUS: ANY,
  PEK_GEN: ['INIT'],
  PEK_CSR: READY,
  PEK_CERT_IMPORT: ['INIT'],
  PDH_CERT_EXPORT: READY,
  PDH_GEN: READY,
  DF_FLUSH: READY,
  DOWNLOAD_FIRMWARE: ['UNINIT'],
  GET_ID: ANY,
  INIT_EX: ['UNINIT'],
  NOP: ANY,
  DECOMMISSION: ['WORKING'],
  ACTIVATE: ['WORKING'],
  DEACTIVATE: ['WORKING'],
  GUEST_STATUS: READY,
  COPY: ['WORKING'],
  ACTIVATE_EX: ['WORKING'],
  LAUNCH_START: READY,
  LAUNCH_UPDATE_DATA: ['WORKING'],
  LAUNCH_UPDATE_VMSA: ['WORKING'],
  LAUNCH_MEASURE: ['WORKING'],
  LAUNCH_SECRET: ['WORKING'],
  LAUNCH_FINISH: ['WORKING'],
  ATTESTATION: ['WORKING'],
  SEND_START: ['WORKING'],
  SEND_UPDATE_DATA: ['WORKING'],
  SEND_UPDATE_VMSA: ['WORKING'],
  SEND_FINISH: ['WORKING'],
  SEND_CANCEL: ['WORKING'],
  RECEIVE_START: READY,
  RECEIVE_UPDATE_DATA: ['WORKING'],
  RECEIVE_UPDATE_VMSA: ['WORKING'],
  RECEIVE_FINISH: ['WORKING'],
  DBG_DECRYPT: ['WORKING'],
  DBG_ENCRYPT: ['WORKING'],
};

/** A guest that there is: every state but UNINIT. */
export type LiveGuestState = Exclude<GuestStateName, 'UNINIT'>;

const LIVE = ['LUPDATE', 'LSECRET', 'RUNNING', 'SUPDATE', 'RUPDATE', 'SENT'] as const;
const NOT_SENT = ['LUPDATE', 'LSECRET', 'RUNNING', 'SUPDATE', 'RUPDATE'] as const;

/**
 * Guest states in which a command on a guest is taken; in others it is INVALID_GUEST_STATE. A
 * command that is not here names no guest, or, as GUEST_STATUS, one that need not be there.
 */
export const GUEST_STATES = {
  DECOMMISSION: LIVE,
  ACTIVATE: NOT_SENT,
  DEACTIVATE: LIVE,
  COPY: LIVE,
  ACTIVATE_EX: NOT_SENT,
  LAUNCH_UPDATE_DATA: ['LUPDATE'],
  LAUNCH_UPDATE_VMSA: ['LUPDATE'],
  LAUNCH_MEASURE: ['LUPDATE'],
  LAUNCH_SECRET: ['LSECRET'],
  LAUNCH_FINISH: ['LSECRET'],
  ATTESTATION: ['LSECRET', 'RUNNING', 'SUPDATE', 'SENT'],
  SEND_START: ['RUNNING'],
  SEND_UPDATE_DATA: ['SUPDATE'],
  SEND_UPDATE_VMSA: ['SUPDATE'],
  SEND_FINISH: ['SUPDATE'],
  SEND_CANCEL: ['SUPDATE'],
  RECEIVE_UPDATE_DATA: ['RUPDATE'],
  RECEIVE_UPDATE_VMSA: ['RUPDATE'],
  RECEIVE_FINISH: ['RUPDATE'],
  DBG_DECRYPT: LIVE,
  DBG_ENCRYPT: LIVE,
} as const satisfies Partial<Record<CommandName, readonly LiveGuestState[]>>;

export type GuestCommand = keyof typeof GUEST_STATES;

/** Where a command that succeeds takes its guest; the others leave the state as it is. */
export const NEXT_GUEST_STATE = {
  LAUNCH_START: 'LUPDATE',
  LAUNCH_MEASURE: 'LSECRET',
  LAUNCH_FINISH: 'RUNNING',
  SEND_START: 'SUPDATE',
  SEND_FINISH: 'SENT',
  SEND_CANCEL: 'RUNNING',
  RECEIVE_START: 'RUPDATE',
  RECEIVE_FINISH: 'RUNNING',
} as const satisfies Partial<Record<CommandName, LiveGuestState>>;
