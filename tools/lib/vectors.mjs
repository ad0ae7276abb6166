// The test vectors, which are not in this repository: in $CLOISTER_VECTORS, or beside the checkout.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './workspace.mjs';

export const vectors = process.env.CLOISTER_VECTORS ?? join(root, '..', 'shared', 'vectors');

/** Why what is at `path` in the vectors is not used, for a test's title, or ''. */
export function vectorsAbsent(path) {
  return existsSync(join(vectors, path)) ? '' : ` (skipped: no vectors at ${vectors})`;
}
