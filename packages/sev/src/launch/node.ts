/**
 * `@cloister/sev/launch` in Node: the same names, over `node:crypto` ciphers and hashes, and with
 * curves that are loaded when they are needed.
 */
import { nodeCiphers } from '../cipher/node-cipher.js';
import { useCiphers } from '../cipher/port.js';
import { offerCurves } from '../firmware/curves.js';
import { nodeCurves } from '../firmware/node-curves.js';
import { nodeHashes } from '../hash/node-hash.js';
import { useHashes } from '../hash/port.js';

useHashes(nodeHashes);
useCiphers(nodeCiphers);
offerCurves(nodeCurves);

export * from './api.js';
