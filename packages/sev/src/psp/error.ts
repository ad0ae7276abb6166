/**
 * What the firmware refuses, as the error of its driver: the command, the status, and its name.
 */
import { VmmError } from '@cloister/core';
import { STATUS, type StatusName, statusName } from '../abi/status.js';

/** What a host can do about the refusals that it meets most. */
const REMEDIES: Partial<Record<StatusName, string>> = {
  INVALID_PLATFORM_STATE: 'initialize the platform first, or shut it down',
  POLICY_FAILURE: 'the guest policy forbids it, or asks for a newer firmware',
  UNSUPPORTED: 'SEV-ES needs a platform that was initialized for it',
  ASID_OWNED: 'give the guest another ASID',
  DFFLUSH_REQUIRED: 'flush by WBINVD on every CPU and DF_FLUSH before the ASID is used again',
  WBINVD_REQUIRED: 'execute WBINVD on every CPU before DF_FLUSH',
  ACTIVE: 'deactivate the guest first',
  INACTIVE: 'activate the guest first',
  BAD_MEASUREMENT: 'the session, secret or stream was changed, or is for another platform',
  SECURE_DATA_INVALID: 'its keys could not be read and were erased; initialize it again',
};

/** A command that the firmware answered with a status other than SUCCESS. */
export class SevFirmwareError extends VmmError {
  /** e.g. `LAUNCH_START`. */
  readonly command: string;
  readonly status: number;
  /** e.g. `POLICY_FAILURE`; undefined for a status that no manual has. */
  readonly statusName: StatusName | undefined;

  constructor(command: string, status: number) {
    const name = statusName(status);
    const text = `${name ?? 'an unknown status'} (0x${status.toString(16)})`;
    const remedy = name === undefined ? undefined : REMEDIES[name];
    super('io-failed', `the secure processor refuses ${command}: ${text}`, {
      ...(remedy !== undefined && { remedy }),
    });
    this.command = command;
    this.status = status;
    this.statusName = name;
  }
}

/** Refuses every status but SUCCESS. */
export function expectSuccess(command: string, status: number): void {
  if (status !== STATUS.SUCCESS) throw new SevFirmwareError(command, status);
}
