/**
 * `@cloister/sev/attest` in Node: the same names, with `node:crypto` for hashes and signatures.
 */
import { nodeHashes } from '../hash/node-hash.js';
import { useHashes } from '../hash/port.js';
import { nodeSignatures } from '../signature/node-signatures.js';
import { useSignatures } from '../signature/port.js';

useHashes(nodeHashes);
useSignatures(nodeSignatures);

export * from './index.js';
