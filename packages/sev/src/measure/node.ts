/**
 * `@cloister/sev/measure` in Node: the same names, over `node:crypto` hashes.
 */
import { nodeHashes } from '../hash/node-hash.js';
import { useHashes } from '../hash/port.js';

useHashes(nodeHashes);

export * from './index.js';
