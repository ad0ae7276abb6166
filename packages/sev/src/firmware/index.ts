/**
 * `@cloister/sev/firmware`: an emulated secure processor and its memory.
 */
import { offerCiphers } from '../cipher/port.js';
import { pureCiphers } from '../cipher/pure-cipher.js';
import { offerHashes } from '../hash/port.js';
import { pureHashes } from '../hash/pure-hash.js';
import { offerCurves } from './curves.js';
import { nobleCurves } from './noble-curves.js';

offerHashes(pureHashes);
offerCiphers(pureCiphers);
offerCurves(nobleCurves);

export {
  CIPHER_PAGE_SIZE,
  type Ciphers,
  ciphers,
  PAGE_KEY_SIZE,
  type PageCipher,
  useCiphers,
} from '../cipher/port.js';
export { pureCiphers } from '../cipher/pure-cipher.js';
export type { AsidLimits, CoreLayout } from './asids.js';
export { type Entropy, freshEntropy, seededEntropy } from './entropy.js';
export { firmwareImage } from './firmware-image.js';
export { HOST_MEMORY_BASE, HostMemory, withHostMemory } from './host-memory.js';
export { KeyedMemory } from './keyed-memory.js';
export {
  CAP_SEV,
  INT_CMD_DONE,
  MAILBOX_OFFSETS,
  Mailbox,
  type MailboxOffsets,
  type MailboxPorts,
  type MailboxVersion,
} from './mailbox.js';
export type { EncryptedMemory, KeyTag, MemoryKeys, PlatformMemory } from './memory-port.js';
export { memoryStore, type Store } from './persistent.js';
export type { Hardware } from './platform.js';
export {
  authorityChain,
  type ChipIdentity,
  certifiedCek,
  chipId,
  decodeChip,
  type EmulatedRoot,
  encodeChip,
  makeChip,
  makeRoot,
  ROOT_KEY_ID,
  SIGNING_KEY_ID,
} from './root.js';
export {
  DEFAULT_ASIDS,
  DEFAULT_VERSION,
  SecureProcessor,
  type SecureProcessorParts,
} from './secure-processor.js';
export {
  GUEST_STATES,
  NEXT_GUEST_STATE,
  PLATFORM_STATES,
} from './states.js';
