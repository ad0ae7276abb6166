/**
 * What differs between the package in Node and in a browser, for tests that must pass in both.
 */
import { nodeHashes } from '../hash/node-hash.js';
import { type Hashes, useHashes } from '../hash/port.js';
import { pureHashes } from '../hash/pure-hash.js';
import { nodeSignatures } from '../signature/node-signatures.js';
import { type Signatures, useSignatures } from '../signature/port.js';
import { webSignatures } from '../signature/web-signatures.js';

export interface Build {
  readonly name: string;
  readonly hashes: Hashes;
  readonly signatures: Signatures;
}

export const BUILDS: readonly Build[] = [
  { name: 'the browser build', hashes: pureHashes, signatures: webSignatures },
  { name: 'the Node build', hashes: nodeHashes, signatures: nodeSignatures },
];

/** Puts a build's implementations in place; returns what puts the former ones back. */
export function useBuild({ hashes, signatures }: Omit<Build, 'name'>): () => void {
  const [formerHashes, formerSignatures] = [useHashes(hashes), useSignatures(signatures)];
  return () => {
    useHashes(formerHashes);
    useSignatures(formerSignatures);
  };
}
