/**
 * `@cloister/sev/launch`: protects VMs with SEV and SEV-ES.
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

export * from './api.js';
