/**
 * `@cloister/sev/psp`: the host's driver of the secure processor, over each way to reach it.
 */
import { offerCiphers } from '../cipher/port.js';
import { pureCiphers } from '../cipher/pure-cipher.js';
import { offerCurves } from '../firmware/curves.js';
import { nobleCurves } from '../firmware/noble-curves.js';
import { offerHashes } from '../hash/port.js';
import { pureHashes } from '../hash/pure-hash.js';

offerHashes(pureHashes);
offerCiphers(pureCiphers);
offerCurves(nobleCurves);

export { POLICY } from '../abi/policy.js';
export { STATUS, type Status, type StatusName, statusName } from '../abi/status.js';
export { AsidPool } from './asid-pool.js';
export { DevSev, type SevDevice, type SevDevicePointer } from './dev-sev.js';
export {
  type GuestStatus,
  type OwnerSession,
  type PlatformCertificates,
  type PlatformStatus,
  PspDriver,
  type SevPacket,
} from './driver.js';
export { type EmulatedPsp, emulatedPsp } from './emulated-psp.js';
export { SevFirmwareError } from './error.js';
export { type GuestRange, KvmSevDriver, SEV_VM_TYPE } from './kvm-driver.js';
export {
  type MailboxRegisters,
  type MailboxTransportParts,
  mailboxTransport,
  type PspTransport,
} from './mailbox-transport.js';
export {
  ERRNO,
  type Errno,
  PLEDGE_VMM,
  PSP_IOC,
  PSP_STRUCTS,
  type PspIoctlName,
  pspIoctlName,
} from './openbsd-ioctls.js';
export { OpenBsdPsp, type OpenBsdPspPorts } from './openbsd-psp.js';
