/**
 * `@cloister/sev/psp` in Node: the same names, over `node:crypto` ciphers and hashes.
 */
import { nodeCiphers } from '../cipher/node-cipher.js';
import { useCiphers } from '../cipher/port.js';
import { nodeHashes } from '../hash/node-hash.js';
import { useHashes } from '../hash/port.js';

useHashes(nodeHashes);
useCiphers(nodeCiphers);

export * from './index.js';
